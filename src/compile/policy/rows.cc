#include "compile/policy/rows.h"

namespace fairway::compile::policy {

std::string RuleName::to_string() const {
  const std::string way = direction == Direction::kIngress ? "ingress" : "egress";
  if (policies.empty()) return "no policy (" + way + ")";
  const auto kind = [](const Of& of) { return of.tier == model::PolicyTier::kNetworkPolicy ? "NetworkPolicy " : "ClusterNetworkPolicy "; };
  if (rule >= 0) {
    std::string out = kind(policies[0]) + policies[0].policy.to_string() + " " + way + "[" + std::to_string(rule) + "]";
    return rule_name.empty() ? out : out + " \"" + rule_name + "\"";
  }
  std::string out = std::string("default deny of ") + kind(policies[0]);
  for (std::size_t i = 0; i < policies.size(); ++i) out += (i > 0 ? ", " : "") + policies[i].policy.to_string();
  return out + " (" + way + ")";
}

}  // namespace fairway::compile::policy
