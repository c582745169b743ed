#include "k8s/api_servers.h"

#include <algorithm>

namespace fairway::k8s {
namespace {

constexpr std::size_t kMaxServers = 64;

std::string name_of(const io::Origin& origin) {
  return origin.unix_path.empty() ? origin.host + ":" + std::to_string(origin.port) : origin.unix_path;
}

}  // namespace

Result<std::unique_ptr<ApiServers>> ApiServers::create(io::Loop& loop, io::Origin first, std::string token_file) {
  std::unique_ptr<ApiServers> out(new ApiServers(loop, std::move(first), std::move(token_file)));
  FW_ASSIGN(auto client, io::HttpClient::create(loop, out->first_));
  out->servers_.push_back({name_of(out->first_), std::move(client), true});
  return out;
}

void ApiServers::learn(const std::vector<net::SocketAddr>& addrs) {
  if (!first_.unix_path.empty()) return;
  for (std::size_t i = 1; i < servers_.size(); ++i) servers_[i].known = false;
  for (const auto& addr : addrs) {
    io::Origin origin = first_;
    origin.host = addr.addr.to_string();
    origin.port = addr.port;
    // Its certificate holds for the name by which the kubeconfig knows the cluster.
    if (origin.tls && origin.tls->server_name.empty()) origin.tls->server_name = first_.host;
    const std::string name = name_of(origin);
    const auto known = std::find_if(servers_.begin(), servers_.end(), [&](const Server& s) { return s.name == name; });
    if (known != servers_.end()) {
      known->known = true;
      continue;
    }
    if (servers_.size() >= kMaxServers) continue;
    auto client = io::HttpClient::create(loop_, origin);
    if (client.ok()) servers_.push_back({name, std::move(*client), true});
  }
}

void ApiServers::failed(std::size_t number) {
  if (number != current_) return;
  for (std::size_t step = 1; step <= servers_.size(); ++step) {
    const std::size_t next = (current_ + step) % servers_.size();
    if (!servers_[next].known) continue;
    current_ = next;
    return;
  }
}

std::vector<std::string> ApiServers::names() const {
  std::vector<std::string> out;
  for (const Server& server : servers_)
    if (server.known) out.push_back(server.name);
  return out;
}

}  // namespace fairway::k8s
