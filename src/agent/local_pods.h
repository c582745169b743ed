// LocalPods: this node's own pods in the datapath. The CNI server announces them here (cni/endpoint_sink.h).
//
// Order at add: what may come out of the pod (`local_ifs`), the program on its interface, and last what may go to it
// (`endpoints`); at removal the reverse. When add() returns, all of it is in force (promise 2).
// Belongs to the control thread.
#pragma once

#include <map>
#include <string>

#include "agent/flow.h"
#include "cni/endpoint_sink.h"
#include "datapath/datapath.h"
#include "sinks/node_sinks.h"

namespace fairway::agent {

class LocalPods final : public cni::EndpointSink {
 public:
  LocalPods(datapath::Datapath& datapath, sinks::EndpointTarget& endpoints, Flow& flow)
      : datapath_(datapath), endpoints_(endpoints), flow_(flow) {}

  Status add(const model::LocalEndpoint& endpoint) override;
  Status remove(const model::LocalEndpoint& endpoint) override;
  Status check(const model::LocalEndpoint& endpoint) override;

  // Removes rows of `local_ifs` and of local `endpoints` that no announced pod has. Once the CNI server has adopted.
  Status prune();
  std::size_t size() const { return by_ifindex_.size(); }

 private:
  datapath::Datapath& datapath_;
  sinks::EndpointTarget& endpoints_;
  Flow& flow_;
  std::map<std::uint32_t, model::LocalEndpoint> by_ifindex_;
};

}  // namespace fairway::agent
