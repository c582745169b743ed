// Probes of one running container: startup, then readiness and liveness (pkg/kubelet/prober).
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

 private:
  struct Probe;
  void start(Probe& probe);
  void run(Probe& probe);
  void result(Probe& probe, const Status& status);
  void passed(Probe& probe);
  void failed(Probe& probe);

  Node& node_;
  Container& container_;
  std::unique_ptr<Probe> startup_, readiness_, liveness_;
};

}  // namespace fairway::runtime
