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
  std::string service_range;  // one or more, by commas
};

// The files' objects; or the cluster's.
Result<policycheck::Manifests> read_manifests(const PolicyInput& input, const std::vector<std::string>& paths);
Result<policycheck::Manifests> read_cluster(const PolicyInput& input);
// Nothing: the manifests are broken, and what is wrong was said on standard error.
Result<std::unique_ptr<policycheck::Check>> make_check(const PolicyInput& input, policycheck::Manifests manifests);

}  // namespace fairway::cli
