// ApiServers: the cluster's API servers, one of which is in use; a failure moves on to the next.
//
// The first comes from the kubeconfig; the others are the endpoints of the Service default/kubernetes, learned from the
// API and kept with the last known state, so that an agent comes up while the first is away. Never a ClusterIP: the
// datapath that would carry it may be what is missing.
// Belongs to the control thread.
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "io/http_client.h"
#include "io/loop.h"
#include "k8s/token_file.h"
#include "net/ip.h"

namespace fairway::k8s {

class ApiServers {
 public:
  static Result<std::unique_ptr<ApiServers>> create(io::Loop& loop, io::Origin first, std::string token_file = "");

  // Replaces what was learned before. The one in use stays in use.
  void learn(const std::vector<net::SocketAddr>& addrs);
  struct Current {
    io::HttpClient* client = nullptr;
    std::size_t number = 0;
  };
  Current current() const { return {servers_[current_].client.get(), current_}; }
  // By the token file, if there is one; else the client does what its origin says.
  void authorize(io::HttpRequest& request) { token_.authorize(request); }
  // Moves on, unless another caller has done so already.
  void failed(std::size_t number);
  std::string current_name() const { return servers_[current_].name; }
  std::vector<std::string> names() const;

 private:
  struct Server {
    std::string name;
    std::unique_ptr<io::HttpClient> client;
    bool known = true;  // false: no longer an endpoint; kept, as a request may be under way
  };
  ApiServers(io::Loop& loop, io::Origin first, std::string token_file)
      : loop_(loop), first_(std::move(first)), token_(std::move(token_file)) {}

  io::Loop& loop_;
  io::Origin first_;
  TokenFile token_;
  std::vector<Server> servers_;
  std::size_t current_ = 0;
};

}  // namespace fairway::k8s
