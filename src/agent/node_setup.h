// NodeSetup: this node's own side of the network, from its Node object: uplink, overlay device, service veth, attachments,
// config row. Every step is idempotent; run() does all of them, tells what failed, and is called again.
//
// Place: beside the flow; the one user of hostnet's node_network.h. Belongs to the control thread.
#pragma once

#include <string>
#include <vector>

#include "agent/options.h"
#include "datapath/datapath.h"
#include "hostnet/node_network.h"
#include "model/problems.h"
#include "model/rows.h"

namespace fairway::agent {

class NodeSetup {
 public:
  NodeSetup(const Options& options, datapath::Datapath& datapath) : options_(options), datapath_(datapath) {}

  // An adopted datapath goes on rejecting unknown Services until this agent knows better.
  void adopt_services_synced(bool synced) { services_synced_ = synced; }
  // What needs no Node object: the DNS addresses, the socket programs. Answers the problems.
  std::vector<model::Problem> run_early();
  // All of it, for this Node.
  std::vector<model::Problem> run(const model::Node& node);
  // The config row, also when only `services_synced` changed.
  Status write_config(bool services_synced);

  bool ready() const { return local_.uplink_ifindex != 0; }
  const compile::routing::Local& local() const { return local_; }
  const hostnet::Uplink& uplink() const { return uplink_; }
  std::uint32_t pod_mtu(bool any_overlay) const;

 private:
  void overlay(std::vector<model::Problem>& problems);
  void service_veth(std::vector<model::Problem>& problems);

  const Options& options_;
  datapath::Datapath& datapath_;
  compile::routing::Local local_;
  hostnet::Uplink uplink_;
  bool services_synced_ = false;
};

// The folder where cgroup2 is mounted, or empty.
std::string find_cgroup2();

}  // namespace fairway::agent
