// What `fairway policy` works on: manifests, the objects of a cluster, or the one applied over the other.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "policycheck/check.h"

namespace fairway::cli {

struct PolicyInput {
  bool live = false;
  std::string kubeconfig, ns = "default";
  std::vector<std::string> pod_ranges;  // one of a family, or none: as the manifests want
  std::vector<std::string> service_ranges = {"10.96.0.0/16", "fd00:10:96::/112"};
};

// The files' objects; or the cluster's.
Result<policycheck::Manifests> read_manifests(const PolicyInput& input, const std::vector<std::string>& paths);
Result<policycheck::Manifests> read_cluster(const PolicyInput& input);
// Nothing: the manifests are broken, and what is wrong was said on standard error.
Result<std::unique_ptr<policycheck::Check>> make_check(const PolicyInput& input, policycheck::Manifests manifests);
struct Checks {
  std::unique_ptr<policycheck::Check> before, after;
};
Result<Checks> make_checks(const PolicyInput& input, policycheck::Manifests before, policycheck::Manifests after);

}  // namespace fairway::cli
