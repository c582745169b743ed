// EndpointSink: where the CNI server announces this node's pods. The agent implements it with the BPF maps.
//
// Called on the control thread only. All calls are idempotent. The order at ADD: the interface exists, its host side
// still down -> add() -> admit() -> host side up -> the answer; at DEL: remove() -> the answer -> the interface goes. So no
// packet of a pod is seen before its rows and the policies that hold for it are in force, and no row outlives its address.
#pragma once

#include <functional>

#include "base/result.h"
#include "model/local_endpoint.h"

namespace fairway::cni {

class EndpointSink {
 public:
  virtual ~EndpointSink() = default;
  // Returns once the datapath has every row of this endpoint, programs attached. A failure fails the ADD.
  virtual Status add(const model::LocalEndpoint& endpoint) = 0;
  // At ADD alone, once add() has returned: calls `done` once, on the control thread, perhaps at once, when the verdicts for this
  // pod are in force, or with why they are not, which fails the ADD. remove() meanwhile: never.
  virtual void admit(const model::LocalEndpoint& endpoint, std::function<void(Status)> done) = 0;
  // Rows that are not there are no error. May be called for an endpoint whose add() failed or never came; after a
  // crash during ADD, host_ifindex is 0 where the interface went before we came: pruning finds what is keyed by it.
  virtual Status remove(const model::LocalEndpoint& endpoint) = 0;
  // For CHECK: is every row there and right? The error says which is not.
  virtual Status check(const model::LocalEndpoint& endpoint) = 0;
};

}  // namespace fairway::cni
