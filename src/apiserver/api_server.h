// ApiServer: the lab's Kubernetes API, table-driven over resource kinds (docs/api-server.md).
//
// Place: an io::HttpServer's handler calls handle(); controllers in the same process use local_client().
// Both go through the same verbs: admission, validation, storage and watches are the same for all.
// Invariants: every acknowledged write is in the database before it is answered, so kill -9 loses nothing;
// resourceVersions only grow, over restarts too. All on one loop's thread; nothing here blocks but SQLite's write.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "net/ip.h"

namespace fairway::k8s {
class ApiClient;
}

namespace fairway::apiserver {

struct ApiServerConfig {
  std::string db_path;                      // SQLite file; empty: in memory only
  std::vector<net::Prefix> service_ranges;  // the first is the primary family's; at most one a family
  std::uint16_t node_port_first = 30000;
  std::uint16_t node_port_last = 32767;
  // kubectl compares minors and, as a dispatcher, picks the binary of this one: keep 1.32 (kubectl-wire.md 0.3).
  std::string git_version = "v1.32.5";
  std::map<std::string, std::string> bearer_tokens;  // token -> user name
  bool trust_unix_peers = true;                      // uid 0 on a unix socket is "system:admin"
  // The runtime's stream socket of a node (exec, logs, port-forward); empty: not known.
  std::function<std::string(const std::string& node)> runtime_socket;
  // How many events of one resource a watch may lie behind before it is answered 410 Expired.
  std::size_t watch_history = 8192;
  std::size_t max_watch_backlog_bytes = 16 << 20;  // a watcher that reads no faster is cut
  std::chrono::milliseconds bookmark_period{30'000};
  std::chrono::milliseconds event_ttl{3'600'000};
  std::string fault_injector;  // the user that may POST /debug/faults (http_streams.cc); empty: nobody
};

class ApiServer {
 public:
  // Opens or makes the database, repairs allocations, and creates the namespaces that every cluster has.
  static Result<std::unique_ptr<ApiServer>> create(io::Loop& loop, ApiServerConfig config);
  ~ApiServer();
  ApiServer(const ApiServer&) = delete;
  ApiServer& operator=(const ApiServer&) = delete;

  void handle(io::ServerRequest request, std::unique_ptr<io::Responder> responder);
  // Acts as system:masters, unauthenticated, on the same loop. Lives as long as the server.
  k8s::ApiClient& local_client();

 private:
  struct Impl;
  explicit ApiServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::apiserver
