// Which nodes a pod fits on, and why not on the others, in the scheduler's own words: pure.
#pragma once

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "controllers/json.h"

namespace fairway::controllers {

struct NodeView {
  const Json* node = nullptr;
  std::vector<const Json*> pods;  // bound to it and not finished
};

// Why the pod does not fit; empty: it fits. `by_resources`: another pod's end could change that.
struct Misfit {
  std::vector<std::string> reasons;
  bool by_resources = false;
};
Misfit check_node(const Json& pod, const NodeView& view);

// Nodes that inter-pod rules forbid, by index in `views`, with the reason: required affinity and anti-affinity of
// the pod, and the anti-affinity of the pods that run.
std::map<std::size_t, std::string> check_affinity(const Json& pod, const std::vector<NodeView>& views);

struct Choice {
  std::string node;     // empty: none
  std::string message;  // then: "0/2 nodes are available: ..."
};
// The best node: few pods of the same controller, then no untolerated soft taints, then few pods, then free CPU.
Choice choose_node(const Json& pod, const std::vector<NodeView>& views);

}  // namespace fairway::controllers
