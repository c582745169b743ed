// LocalPods: this node's own pods in the datapath. The CNI server announces them here (cni/endpoint_sink.h).
//
// Order at add: what may come out of the pod (`local_ifs`), the program on its interface, what may go to it
// (`endpoints`), and last its hostPorts; at removal the reverse. When add() returns, all of it is in force; once admit()
// is done, so are the verdicts of its policies (promise 2).
// A hostPort that cannot be honoured fails add() when all else is done: an ADD is then undone by the caller, and a pod that
// was there before the agent keeps its network.
// Belongs to the control thread.
#pragma once

#include <map>
#include <set>
#include <string>

#include "agent/flow.h"
#include "cni/endpoint_sink.h"
#include "compile/services/host_ports.h"
#include "datapath/datapath.h"
#include "sinks/node_sinks.h"

namespace fairway::agent {

class LocalPods final : public cni::EndpointSink {
 public:
  LocalPods(datapath::Datapath& datapath, sinks::EndpointTarget& endpoints, Flow& flow)
      : datapath_(datapath), endpoints_(endpoints), flow_(flow) {}

  Status add(const model::LocalEndpoint& endpoint) override;
  void admit(const model::LocalEndpoint& endpoint, std::function<void(Status)> done) override;
  Status remove(const model::LocalEndpoint& endpoint) override;
  Status check(const model::LocalEndpoint& endpoint) override;

  // The node's addresses and ports were found or changed: all hostPorts are compiled anew. What cannot be honoured.
  std::vector<model::Problem> set_node_ports(const compile::services::NodePorts& node);

  // Removes rows of `local_ifs` and of local `endpoints` that no announced pod has. Once the CNI server has adopted.
  Status prune();
  std::size_t size() const { return by_ifindex_.size(); }
  // "default/web", or empty: whose hostPort this is.
  std::string host_port_owner(const compile::services::FrontendKey& key) const;
  // Null: no such pod, or one that has not run yet.
  const model::LocalEndpoint* find_running(std::uint32_t ifindex) const;
  // "default/web", or empty: whose interface this is.
  std::string pod_of(std::uint32_t ifindex) const;

 private:
  struct Pod {
    model::LocalEndpoint endpoint;
    std::vector<compile::services::Frontend> host_ports;
  };
  Result<std::vector<compile::services::Frontend>> host_ports_of(const model::LocalEndpoint& endpoint) const;
  Status spread_host_ports();
  Status check_host_ports(const Pod& pod);

  datapath::Datapath& datapath_;
  sinks::EndpointTarget& endpoints_;
  Flow& flow_;
  std::map<std::uint32_t, Pod> by_ifindex_;
  compile::services::NodePorts node_ports_;
  bool pruned_ = false;              // before, pinned hostPorts may be a pod's that is still to be announced
  std::set<std::uint32_t> joining_;  // added, not admitted yet
};

}  // namespace fairway::agent
