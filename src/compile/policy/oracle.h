// The naive evaluator: the verdict for one connection, straight from the API's text, without classes, indexes or caches.
// Slow and plain on purpose: it is what the compiler and the kernel are tested against, and what explains a verdict in words.
// Pure. Source: networking.k8s.io/v1 NetworkPolicySpec; policy.networking.k8s.io/v1alpha2.
#pragma once

#include <vector>

#include "compile/policy/rows.h"
#include "model/policy.h"
#include "model/rows.h"

namespace fairway::compile::policy {

struct ClusterState {
  std::vector<model::Namespace> namespaces;
  std::vector<model::Pod> pods;
  std::vector<model::Node> nodes;
  std::vector<model::Policy> policies;
  std::vector<net::Prefix> pod_ranges;  // addresses there that nobody has are pods' that are not known yet
};

struct OracleVerdict {
  bool allowed = true;
  RuleName rule;  // empty policies: no policy looks at this direction, or nothing matched
};

// May `subject` receive from (ingress) or send to (egress) `peer` on this protocol and destination port?
// For ingress the port is the subject's, for egress the peer's. Replies are not asked about: they always pass.
OracleVerdict judge_naively(const ClusterState& state, const model::Pod& subject, Direction direction, const net::IpAddr& peer,
                            std::uint8_t protocol, std::uint16_t port);

}  // namespace fairway::compile::policy
