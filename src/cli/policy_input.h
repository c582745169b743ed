// What `fairway policy` works on: manifests, the objects of a cluster, or the one applied over the other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policycheck/check.h"

namespace fairway::cli {

struct PolicyInput {
  bool live = false;
  std::string kubeconfig, ns = "default", pod_range;
};

// Nothing: the manifests are broken, and what is wrong was said on standard error.
Result<std::unique_ptr<policycheck::Check>> load_check(const PolicyInput& input, const std::vector<std::string>& paths);

}  // namespace fairway::cli
