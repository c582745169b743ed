#include "compile/policy/oracle.h"

#include <algorithm>
#include <tuple>

namespace fairway::compile::policy {
namespace {

using model::PolicyAction;
using model::PolicyTier;

// The question, and what is at the two ends.
struct Question {
  const ClusterState& state;
  const model::Pod& subject;
  Direction direction;
  net::IpAddr peer;
  std::uint8_t protocol;
  std::uint16_t port;
  std::vector<const model::Pod*> peer_pods;  // live ones that own the address: one, but for a moment as an address is used again
  std::vector<const model::Node*> peer_nodes;
  bool unknown = false;  // nobody's address, in the pods' range
};

bool counts(const model::Pod& pod) { return !pod.host_network && !pod.terminated; }

const model::Namespace* find_namespace(const ClusterState& state, const std::string& name) {
  for (const auto& n : state.namespaces)
    if (n.name == name) return &n;
  return nullptr;
}

// A namespace that is not known has no labels, of which nothing can be said: only the selector that asks for nothing matches.
bool selects(const ClusterState& state, const model::PodSelector& selector, const std::string& own_namespace, const model::Pod& pod) {
  if (!selector.namespaces) {
    if (pod.id.ns != own_namespace) return false;
  } else if (!selector.namespaces->requirements.empty()) {
    const auto* row = find_namespace(state, pod.id.ns);
    if (row == nullptr || !model::matches(*selector.namespaces, row->labels)) return false;
  }
  return model::matches(selector.pods, pod.labels);
}

// Several owners of one address: what opens must hold for all of them, what denies for any.
template <typename Owners, typename Holds>
bool holds_for(const Owners& owners, PolicyAction action, Holds holds) {
  if (owners.empty()) return false;
  return action == PolicyAction::kDeny ? std::any_of(owners.begin(), owners.end(), holds)
                                       : std::all_of(owners.begin(), owners.end(), holds);
}

bool in_network(const model::PolicyPeer& peer, const net::IpAddr& addr) {
  return peer.network.contains(addr) &&
         std::none_of(peer.except.begin(), peer.except.end(), [&](const net::Prefix& p) { return p.contains(addr); });
}

bool has_named_port(const model::Pod& pod, const model::PolicyPort& wanted, const Question& q) {
  return std::any_of(pod.ports.begin(), pod.ports.end(), [&](const model::NamedPort& p) {
    return p.name == wanted.name && (!wanted.protocol || *wanted.protocol == p.protocol) &&
           static_cast<std::uint8_t>(p.protocol) == q.protocol && p.port == q.port;
  });
}

bool has_ports(std::uint8_t protocol) {
  return protocol == static_cast<std::uint8_t>(net::Protocol::kTcp) || protocol == static_cast<std::uint8_t>(net::Protocol::kUdp) ||
         protocol == static_cast<std::uint8_t>(net::Protocol::kSctp);
}

bool of_protocol(const model::PolicyPort& wanted, const Question& q) {
  return has_ports(q.protocol) && (!wanted.protocol || static_cast<std::uint8_t>(*wanted.protocol) == q.protocol);
}

bool in_range(const model::PolicyPort& wanted, const Question& q) {
  return of_protocol(wanted, q) && wanted.first <= q.port && q.port <= wanted.last;
}

// `peer` nullptr: all peers. `port` nullptr: all ports.
bool pair_matches(const Question& q, const model::Policy& policy, PolicyAction action, const model::PolicyPeer* peer,
                  const model::PolicyPort* port) {
  const bool named = port != nullptr && !port->name.empty();
  if (named && q.direction == Direction::kIngress && !has_named_port(q.subject, *port, q)) return false;
  if (port != nullptr && !named && !in_range(*port, q)) return false;
  const bool named_there = named && q.direction == Direction::kEgress;  // the name is one of the peer's pod
  const auto has_name = [&](const model::Pod* pod) { return !named_there || has_named_port(*pod, *port, q); };
  // It might be that pod, and have that name for this port.
  const bool might_be = q.unknown && action == PolicyAction::kDeny && (!named_there || of_protocol(*port, q));
  if (peer == nullptr || peer->kind == model::PolicyPeer::Kind::kNetwork) {
    if (peer != nullptr && !in_network(*peer, q.peer)) return false;
    return !named_there || might_be || holds_for(q.peer_pods, action, has_name);
  }
  if (peer->kind == model::PolicyPeer::Kind::kNodes)
    return !named_there && holds_for(q.peer_nodes, action, [&](const model::Node* n) { return model::matches(peer->nodes, n->labels); });
  if (might_be) return true;
  return holds_for(q.peer_pods, action,
                   [&](const model::Pod* pod) { return selects(q.state, peer->pods, policy.id.ns, *pod) && has_name(pod); });
}

bool rule_matches(const Question& q, const model::Policy& policy, const model::PolicyRule& rule) {
  std::vector<const model::PolicyPeer*> peers;
  std::vector<const model::PolicyPort*> ports;
  if (rule.all_peers) peers.push_back(nullptr);
  else
    for (const auto& p : rule.peers) peers.push_back(&p);
  if (rule.all_ports) ports.push_back(nullptr);
  else
    for (const auto& p : rule.ports) ports.push_back(&p);
  for (const auto* peer : peers)
    for (const auto* port : ports)
      if (pair_matches(q, policy, rule.action, peer, port)) return true;
  return false;
}

RuleName::Of name_of(const model::Policy& policy) { return {policy.tier, policy.id, policy.uid}; }
const std::vector<model::PolicyRule>& rules_of(const model::Policy& policy, Direction direction) {
  return direction == Direction::kIngress ? policy.ingress : policy.egress;
}

// The first rule of the policies, in their order, that matches.
struct Match {
  const model::PolicyRule* rule = nullptr;
  RuleName name;
};
Match first_match(const Question& q, const std::vector<const model::Policy*>& policies) {
  for (const auto* policy : policies) {
    const auto& rules = rules_of(*policy, q.direction);
    for (std::size_t i = 0; i < rules.size(); ++i)
      if (rule_matches(q, *policy, rules[i])) return {&rules[i], {{name_of(*policy)}, q.direction, static_cast<int>(i), rules[i].name}};
  }
  return {};
}

}  // namespace

OracleVerdict judge_naively(const ClusterState& state, const model::Pod& subject, Direction direction, const net::IpAddr& peer,
                            std::uint8_t protocol, std::uint16_t port) {
  if (!counts(subject)) return {};
  if (std::find(subject.ips.begin(), subject.ips.end(), peer) != subject.ips.end()) return {};  // a pod always reaches itself
  Question q{state, subject, direction, peer, protocol, port, {}, {}};
  for (const auto& pod : state.pods)
    if (counts(pod) && std::find(pod.ips.begin(), pod.ips.end(), peer) != pod.ips.end()) q.peer_pods.push_back(&pod);
  for (const auto& node : state.nodes) {
    const auto has = [&](const std::vector<net::IpAddr>& addrs) { return std::find(addrs.begin(), addrs.end(), peer) != addrs.end(); };
    if (!has(node.addresses) && !has(node.other_addresses)) continue;
    if (node.name == subject.node && has(node.addresses)) return {};  // the host always reaches its own pods, and they it
    q.peer_nodes.push_back(&node);
  }
  q.unknown = q.peer_pods.empty() && q.peer_nodes.empty() &&
              std::any_of(state.pod_ranges.begin(), state.pod_ranges.end(), [&](const net::Prefix& range) { return range.contains(peer); });

  std::vector<const model::Policy*> admin, isolating, baseline;
  for (const auto& policy : state.policies) {
    if (!selects(state, policy.subject, policy.id.ns, subject)) continue;
    if (policy.tier == PolicyTier::kAdmin) admin.push_back(&policy);
    else if (policy.tier == PolicyTier::kBaseline) baseline.push_back(&policy);
    else if (direction == Direction::kIngress ? policy.isolates_ingress : policy.isolates_egress) isolating.push_back(&policy);
  }
  const auto in_order = [](const model::Policy* a, const model::Policy* b) {
    return std::tie(a->priority, a->id, a->uid) < std::tie(b->priority, b->id, b->uid);
  };
  for (auto* tier : {&admin, &baseline}) std::sort(tier->begin(), tier->end(), in_order);
  std::sort(isolating.begin(), isolating.end(), [](const model::Policy* a, const model::Policy* b) { return a->id < b->id; });

  if (const Match m = first_match(q, admin); m.rule != nullptr && m.rule->action != PolicyAction::kPass)
    return {m.rule->action == PolicyAction::kAllow, m.name};
  if (!isolating.empty()) {
    if (const Match m = first_match(q, isolating); m.rule != nullptr) return {true, m.name};
    OracleVerdict out{false, {{}, direction, -1, ""}};
    for (const auto* policy : isolating) out.rule.policies.push_back(name_of(*policy));
    return out;
  }
  if (const Match m = first_match(q, baseline); m.rule != nullptr && m.rule->action != PolicyAction::kPass)
    return {m.rule->action == PolicyAction::kAllow, m.name};
  return {};  // Pass of the last tier: nothing is left to ask
}

}  // namespace fairway::compile::policy
