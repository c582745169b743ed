#include "policycheck/shadow_lint.h"

#include <algorithm>

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;
using model::PolicyTier;

ClusterState admin_tier(const ClusterState& state) {
  ClusterState out;
  out.nodes = state.nodes;
  for (const auto& policy : state.policies)
    if (policy.tier == PolicyTier::kAdmin) out.policies.push_back(policy);
  return out;
}

struct Told {  // of what a rule matches
  bool some_open = false, some_denied = false;
  bool mixed() const { return some_open && some_denied; }
};

class Shadows {
 public:
  explicit Shadows(const Check& check)
      : check_(check), parties_(check.parties()), admin_(admin_tier(check.inventory().state)), admin_reach_(admin_, check.parties()) {}

  void rule(const Reachability::Rule& rule, std::vector<Finding>& out) const {
    const model::Policy& policy = check_.inventory().state.policies[rule.policy];
    const auto& groups = check_.reachability().subjects_of(rule.policy);
    if (policy.tier != PolicyTier::kNetworkPolicy || !rule.matches || groups.empty()) return;
    const bool in = rule.direction == Direction::kIngress;
    const model::PolicyRule& row = (in ? policy.ingress : policy.egress)[rule.index];
    const std::string field = (in ? "spec.ingress[" : "spec.egress[") + std::to_string(rule.index) + "]";
    const auto say = [&](const std::string& at, const std::string& message) {
      out.push_back({Severity::kWarning, "shadowed", "NetworkPolicy " + policy.id.to_string(), at, message,
                     "remove it, or let the Admin tier Pass", check_.inventory().policy_sources[rule.policy].place(at)});
    };
    if (!rule.decides) return say(field, whole(told(rule, policy, row)));
    constexpr const char* kPart = "allows nothing: ClusterNetworkPolicies of tier Admin deny all of it; the rest of the rule counts";
    for (std::size_t k = 0; row.peers.size() > 1 && k < row.peers.size(); ++k) {
      model::PolicyRule part = row;
      part.peers = {row.peers[k]};
      if (is_denied(told(rule, policy, part))) say(field + (in ? ".from[" : ".to[") + std::to_string(k) + "]", kPart);
    }
    for (std::size_t k = 0; row.ports.size() > 1 && k < row.ports.size(); ++k) {
      model::PolicyRule part = row;
      part.ports = {row.ports[k]};
      if (is_denied(told(rule, policy, part))) say(field + ".ports[" + std::to_string(k) + "]", kPart);
    }
  }

 private:
  static bool is_denied(const Told& told) { return told.some_denied && !told.some_open; }
  static std::string whole(const Told& told) {
    if (told.mixed()) return "changes nothing: of all that it matches, ClusterNetworkPolicies of tier Admin allow a part and deny the rest";
    return told.some_open ? "changes nothing: ClusterNetworkPolicies of tier Admin allow all that it matches already"
                          : "allows nothing: ClusterNetworkPolicies of tier Admin deny all that it matches";
  }

  // Ends with the first open connection of a rule that decides something: no part of it is denied as a whole then.
  Told told(const Reachability::Rule& rule, const model::Policy& policy, const model::PolicyRule& row) const {
    Told out;
    const auto peers = peers_of(policy, row);
    for (const GroupId group : check_.reachability().subjects_of(rule.policy)) {
      const PartyId own = parties_.of_group(group).front();
      for (const PartyId peer : peers) {
        const PortSet ports = ports_of(row, rule.direction == Direction::kIngress ? group : parties_[peer].group);
        const PortSet open = admin_reach_.allowed(own, rule.direction, peer) & ports;
        out.some_open |= !open.empty();
        out.some_denied |= open != ports;
        if (rule.decides ? out.some_open : out.mixed()) return out;
      }
    }
    return out;
  }

  std::vector<PartyId> peers_of(const model::Policy& policy, const model::PolicyRule& row) const {
    std::vector<PartyId> out;
    for (std::size_t i = 0; row.all_peers && i < parties_.all().size(); ++i) out.push_back(static_cast<PartyId>(i));
    for (const auto& peer : row.peers) {
      if (peer.kind == model::PolicyPeer::Kind::kNetwork) add_network(peer, out);
      if (peer.kind != model::PolicyPeer::Kind::kPods) continue;  // nodes are the Admin tier's peers alone
      for (const GroupId group : parties_.select(peer.pods, policy.id.ns)) {
        const auto& own = parties_.of_group(group);
        out.insert(out.end(), own.begin(), own.end());
      }
    }
    return out;
  }
  void add_network(const model::PolicyPeer& peer, std::vector<PartyId>& out) const {
    for (std::size_t i = parties_.interval_of(peer.network.addr()); i <= parties_.interval_of(last_of(peer.network)); ++i) {
      const auto& first = parties_.first_of(i);
      if (!peer.network.contains(first) ||
          std::any_of(peer.except.begin(), peer.except.end(), [&](const net::Prefix& hole) { return hole.contains(first); }))
        continue;
      out.insert(out.end(), parties_.in_interval(i).begin(), parties_.in_interval(i).end());
    }
  }

  // `receiver`: whose named ports count; kNobody has none.
  PortSet ports_of(const model::PolicyRule& row, GroupId receiver) const {
    if (row.all_ports) return PortSet::all();
    PortSet out;
    for (const auto& port : row.ports) {
      if (port.name.empty()) {
        for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp})
          if (!port.protocol || *port.protocol == protocol) out = out | PortSet::range(protocol, port.first, port.last);
      } else if (receiver != kNobody) {
        for (const auto& own : parties_.pod_of(receiver).ports)
          if (own.name == port.name && (!port.protocol || *port.protocol == own.protocol))
            out = out | PortSet::port(own.protocol, own.port);
      }
    }
    return out;
  }

  const Check& check_;
  const Parties& parties_;
  const ClusterState admin_;
  const Reachability admin_reach_;  // what the Admin tier alone leaves open
};

}  // namespace

std::vector<Finding> find_shadowed(const Check& check) {
  std::vector<Finding> out;
  const auto& policies = check.inventory().state.policies;
  if (std::none_of(policies.begin(), policies.end(), [](const auto& policy) { return policy.tier == PolicyTier::kAdmin; })) return out;
  const Shadows shadows(check);
  for (const auto& rule : check.reachability().rules()) shadows.rule(rule, out);
  return out;
}

}  // namespace fairway::policycheck
