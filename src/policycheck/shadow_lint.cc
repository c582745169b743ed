#include "policycheck/shadow_lint.h"

#include <algorithm>

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;
using model::PolicyTier;

ClusterState admin_tier(const ClusterState& state) {
  ClusterState out;
  out.namespaces = state.namespaces;
  out.nodes = state.nodes;
  for (const auto& policy : state.policies)
    if (policy.tier == PolicyTier::kAdmin) out.policies.push_back(policy);
  return out;
}

struct Told {  // of what a rule matches
  bool some_open = false, some_denied = false;
  PartyId own = kNobody, peer = kNobody;  // the first of it
  Port port;
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
    if (!rule.decides) return say(field, whole(told(rule, policy, row), rule.direction));
    const auto say_part = [&](const std::string& at, const model::PolicyRule& part) {
      if (const Told one = told(rule, policy, part); one.some_denied && !one.some_open)
        say(at, "allows nothing: the Admin tier denies all of it (" + decided_by(one, rule.direction) + "); the rest of the rule counts");
    };
    for (std::size_t k = 0; row.peers.size() > 1 && k < row.peers.size(); ++k) {
      model::PolicyRule part = row;
      part.peers = {row.peers[k]};
      say_part(field + (in ? ".from[" : ".to[") + std::to_string(k) + "]", part);
    }
    for (std::size_t k = 0; row.ports.size() > 1 && k < row.ports.size(); ++k) {
      model::PolicyRule part = row;
      part.ports = {row.ports[k]};
      say_part(field + ".ports[" + std::to_string(k) + "]", part);
    }
  }

 private:
  std::string whole(const Told& told, Direction direction) const {
    const std::string by = decided_by(told, direction);
    if (told.mixed()) return "changes nothing: of all that it matches, the Admin tier allows a part and denies the rest (" + by + " first)";
    return told.some_open ? "changes nothing: the Admin tier allows all that it matches already (" + by + ")"
                          : "allows nothing: the Admin tier denies all that it matches (" + by + ")";
  }

  // The rule that decides the first of it.
  std::string decided_by(const Told& told, Direction direction) const {
    if (told.own == kNobody) return "none";
    const auto& pods = check_.inventory().state.pods;
    ClusterState state = admin_;
    const Party& peer = parties_[told.peer];
    if (peer.pod != kNobody) state.pods = {pods[peer.pod]};
    model::Pod subject = pods[parties_[told.own].pod];
    subject.ips.clear(), subject.node.clear();  // another of its pods, on another node
    return judge_naively(state, subject, direction, peer.addr, told.port.protocol, told.port.number).rule.to_string();
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
        if (ports.empty()) continue;
        if (out.own == kNobody) out.own = own, out.peer = peer, out.port = some_port(open != ports ? ports - open : open);
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
