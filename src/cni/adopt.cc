// Start-up and tidying: what an earlier agent left, what the plugin spooled, what failed before.
#include <dirent.h>
#include <unistd.h>

#include <cerrno>
#include <memory>
#include <utility>

#include "cni/netns_probe.h"
#include "cni/server_impl.h"
#include "cni/spool_name.h"
#include "sys/file.h"

namespace fairway::cni {
namespace {

constexpr auto kTidyPeriod = std::chrono::seconds(5);

Result<std::vector<std::string>> spooled_files(const std::string& dir) {
  struct Close {
    void operator()(DIR* open_dir) const { ::closedir(open_dir); }
  };
  const std::unique_ptr<DIR, Close> open_dir(::opendir(dir.c_str()));
  if (!open_dir) return errno_error(errno, "read " + dir);
  std::vector<std::string> out;
  while (const dirent* entry = ::readdir(open_dir.get())) {
    const std::string name = entry->d_name;
    if (name.ends_with(kSpoolSuffix)) out.push_back(dir + "/" + name);
  }
  return out;
}

}  // namespace

Status ServerImpl::adopt() {
  Status status = adopt_links();
  process_spool();
  adopted_ = true;
  if (!store_.ranges().empty()) spread_mtu();
  tidy_timer_ = loop_.every(kTidyPeriod, [this] { tidy(); });
  return status;
}

Status ServerImpl::adopt_links() {
  FW_ASSIGN(io::Netlink node, io::Netlink::open());
  FW_ASSIGN(const std::vector<io::LinkInfo> links, hostnet::dump_pod_links(node));
  std::map<std::string, std::uint32_t> alive;
  for (const auto& link : links)
    if (link.group == hostnet::kPodLinkGroup) alive.emplace(link.name, link.index);
  std::vector<Attachment> dead;
  for (const auto& [key, row] : store_.all()) {
    if (!row.finished) continue;
    const auto link = alive.find(row.endpoint.host_ifname);
    if (link != alive.end() && link->second == row.endpoint.host_ifindex) announce(row);
    else if (is_dead(row.endpoint)) dead.push_back(key);
    else lost_.insert(key);
  }
  for (const auto& key : dead) FW_TRY(withdraw(key));
  FW_TRY(undo_unfinished(node, alive));
  std::vector<std::string> names;
  for (const auto& link : links) names.push_back(link.name);
  remove_orphans(names);
  return {};
}

// Two proofs again: no interface, and no namespace.
bool ServerImpl::is_dead(const model::LocalEndpoint& endpoint) const {
  return probe_netns(endpoint.netns_path, endpoint.netns_cookie) == NetnsLife::kGone;
}

void ServerImpl::announce(const StoredEndpoint& row) {
  const Attachment key{row.endpoint.sandbox_id, row.endpoint.ifname};
  if (Status status = sink_.add(row.endpoint); status.ok()) unannounced_.erase(key);
  else unannounced_[key] = status.error().message;
}

// ADDs that a crash cut off. They were never answered with success, so the runtime does not use them.
Status ServerImpl::undo_unfinished(io::Netlink& node, const std::map<std::string, std::uint32_t>& alive) {
  std::vector<std::string> names;
  for (const auto& key : unfinished_) {
    const StoredEndpoint* row = store_.find(key);
    if (row == nullptr) continue;
    model::LocalEndpoint endpoint = row->endpoint;
    // The index was not known when the intention was written.
    if (const auto link = alive.find(endpoint.host_ifname); link != alive.end()) endpoint.host_ifindex = link->second;
    FW_TRY(sink_.remove(endpoint));
    names.push_back(endpoint.host_ifname);
  }
  if (!names.empty()) FW_TRY(hostnet::delete_pod_links(node, names));
  for (const auto& key : std::set<Attachment>(unfinished_)) {
    FW_TRY(store_.free(key, wall_now(), true));
    unfinished_.erase(key);
  }
  return {};
}

Status ServerImpl::settle_spooled(const Attachment& key) {
  char name[kSpoolNameBytes];
  spool_name(key.container_id, key.ifname, name);
  const std::string path = config_.spool_dir + "/" + name;
  if (::access(path.c_str(), F_OK) != 0) return {};
  FW_TRY(withdraw(key));
  ++stats_.spooled;
  if (::unlink(path.c_str()) < 0 && errno != ENOENT) return errno_error(errno, "remove " + path);
  return {};
}

void ServerImpl::process_spool() {
  auto files = spooled_files(config_.spool_dir);
  spool_warning_ = files.ok() ? "" : "spooled DELs cannot be read: " + files.error().message;
  if (!files.ok()) return;
  for (const auto& path : *files) process_spooled(path);
}

void ServerImpl::process_spooled(const std::string& path) {
  if (spool_under_way_.contains(path)) return;
  auto body = sys::read_file(path, kMaxRequestBytes);
  if (!body.ok()) {
    if (body.error().code != Code::kNotFound) spool_warning_ = "a spooled DEL cannot be read: " + body.error().message;
    return;
  }
  auto parsed = parse_request(*body);
  auto* request = std::get_if<CniRequest>(&parsed);
  if (request == nullptr || request->command != Command::kDel) {
    spool_warning_ = path + " is not a spooled DEL, it is kept as " + path + ".bad";
    ::rename(path.c_str(), (path + ".bad").c_str());
    return;
  }
  spool_under_way_.insert(path);
  ++stats_.spooled;
  dispatch(std::move(*request), [this, path](const CniReply& reply) {
    spool_under_way_.erase(path);
    if (reply.http_status == 200 && ::unlink(path.c_str()) < 0 && errno != ENOENT)
      spool_warning_ = errno_error(errno, "remove " + path).message;
  });
}

void ServerImpl::spread_mtu() {
  mtu_warning_.clear();
  std::vector<Attachment> keys;
  for (const auto& [key, row] : store_.all()) {
    if (row.finished && row.endpoint.mtu != network_.mtu && !busy_.contains(key) && !lost_.contains(key)) keys.push_back(key);
  }
  for (const auto& key : keys) (void)exclusive(key, [this, key] { spread_mtu_to(key); });  // one that is refused waits for tidy()
}

void ServerImpl::spread_mtu_to(const Attachment& key) {
  const StoredEndpoint* row = store_.find(key);
  if (row == nullptr) return release(key);
  workers_->post([this, key, endpoint = row->endpoint, mtu = network_.mtu](io::Netlink& node) {
    auto change = [&]() -> Status {
      FW_ASSIGN(const sys::Fd netns, open_pod_netns(endpoint.netns_path));
      FW_ASSIGN(io::Netlink pod, io::Netlink::open_in(netns));
      FW_ASSIGN(const std::uint64_t cookie, pod.netns_cookie());
      if (cookie != endpoint.netns_cookie) return make_error(Code::kConflict, endpoint.netns_path + " is another namespace now");
      return hostnet::set_pod_link_mtu(node, pod, pod_link_of(endpoint), mtu);
    };
    Status status = change();
    post([this, key, endpoint, mtu, outcome = std::move(status)]() mutable {
      endpoint.mtu = mtu;
      if (outcome.ok()) outcome = store_.finish(endpoint);
      if (!outcome.ok()) mtu_warning_ = "sandbox " + key.container_id + " keeps an old MTU: " + outcome.error().message;
      else announce({endpoint, true});
      release(key);
    });
  });
}

// Retries what failed, and takes up DELs that were spooled while this agent was starting.
void ServerImpl::tidy() {
  process_spool();
  for (const auto& [key, why] : std::map<Attachment, std::string>(unannounced_)) {
    const StoredEndpoint* row = store_.find(key);
    if (row == nullptr) unannounced_.erase(key);
    else if (!busy_.contains(key)) announce(*row);
  }
  for (const auto& name : std::exchange(unreaped_, {})) reap(name);
  if (!store_.ranges().empty()) spread_mtu();
  for (const auto& key : std::set<Attachment>(unfreed_)) {
    if (busy_.contains(key)) continue;  // that call settles it
    const StoredEndpoint* row = store_.find(key);
    const std::string host_ifname = row != nullptr ? row->endpoint.host_ifname : "";
    if (!store_.free(key, wall_now(), true).ok()) continue;
    forget(key);
    if (!host_ifname.empty()) reap(host_ifname);
  }
}

}  // namespace fairway::cni
