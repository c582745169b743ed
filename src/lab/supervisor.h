// Supervisor: the lab's first process. Makes the fabric and the nodes, starts their processes and restarts them,
// holds the DNS sockets of every node (so that a killed agent loses no query) and the API server's on 127.0.0.1 (so that its
// port is nobody else's meanwhile), and serves the lab's control socket:
//
//   GET /v1/lab                       what runs: nodes, processes, restarts
//   POST /v1/nodes {"name":"…"}       adds a node
//   DELETE /v1/nodes/NAME
//   POST /v1/nodes/NAME/cut, /heal    takes the node off the fabric, and back
//
// The lab's life is the supervisor's: it keeps the machine's lab lock. `lab down` (teardown.h) needs none of it.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "lab/child.h"
#include "lab/fabric.h"
#include "lab/layout.h"
#include "lab/spec.h"
#include "sys/fd.h"

namespace fairway::lab {

class Supervisor {
 public:
  // `api_listener`: of spec.api_port.
  Supervisor(io::Loop& loop, Layout layout, LabSpec spec, std::string bin_dir, sys::Fd api_listener);
  Status start();

 private:
  struct Node {
    std::unique_ptr<Child> agent;
    std::unique_ptr<Child> runtime;
    std::vector<std::pair<std::string, sys::Fd>> dns_sockets;
    bool cut = false;
  };
  Status enter_cgroup();
  Status start_server();
  Status start_node(const NodeSpec& node);
  Status prepare_node_files(const NodeSpec& node);
  Status open_dns_sockets(const NodeSpec& node, Node& state);
  ChildSpec agent_spec(const NodeSpec& node, const Node& state) const;
  ChildSpec runtime_spec(const NodeSpec& node) const;
  void handle(io::ServerRequest request, std::unique_ptr<io::Responder> responder);
  Result<std::string> answer(const io::ServerRequest& request);  // the JSON body
  Result<std::string> add_node(const std::string& body);
  Result<std::string> remove_node(const std::string& name);
  Result<std::string> set_cut(const std::string& name, bool cut);
  std::string describe() const;

  io::Loop& loop_;
  Layout layout_;
  LabSpec spec_;
  std::string bin_dir_;  // where fairway, fairway-agent and fairway-cni are
  std::string cgroup_;   // <cgroup2>/fairway-lab
  sys::Fd lock_, api_listener_;
  std::unique_ptr<Child> server_;
  std::map<std::string, Node> nodes_;
  std::unique_ptr<io::HttpServer> control_;
};

}  // namespace fairway::lab
