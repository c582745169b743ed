// Probes of one running container: startup, then readiness and liveness (pkg/kubelet/prober).
// A container that is being stopped is asked for its readiness to the end: terminating pods may still serve.
#pragma once

#include <memory>
#include <string>

#include "io/loop.h"
#include "runtime/handlers.h"

namespace fairway::runtime {

class Container;

class ProbeSet {
 public:
  // Made when the container runs, destroyed when it ends. Sets the container's started and ready.
  ProbeSet(Node& node, Container& container);
  ~ProbeSet();
  ProbeSet(const ProbeSet&) = delete;
  ProbeSet& operator=(const ProbeSet&) = delete;
  void begin();
  void container_stops();  // no more startup and liveness: nothing is restarted now

 private:
  struct Probe;
  void start(Probe& probe);
  void run(Probe& probe);
  void result(Probe& probe, const Status& status);
  void passed(Probe& probe);
  void failed(Probe& probe);

  Node& node_;
  Container& container_;
  bool container_stops_ = false;
  std::unique_ptr<Probe> startup_, readiness_, liveness_;
};

}  // namespace fairway::runtime
