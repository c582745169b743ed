#include "policycheck/dns_lint.h"

#include <algorithm>

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;

struct KnownDns {
  const char* ns;
  model::Labels labels;
  std::uint16_t port;
};
const std::vector<KnownDns>& known_dns() {
  static const std::vector<KnownDns> kKnown{{"kube-system", {{"k8s-app", "kube-dns"}}, 53},
                                            {"kube-system", {{"app.kubernetes.io/name", "coredns"}, {"k8s-app", "coredns"}}, 53},
                                            {"openshift-dns", {{"dns.operator.openshift.io/daemonset-dns", "default"}}, 5353}};
  return kKnown;
}

// Of those of the manifests, one of the labels will do.
const KnownDns* known_as(const model::Pod& pod) {
  for (const KnownDns& known : known_dns())
    if (pod.id.ns == known.ns && std::any_of(known.labels.begin(), known.labels.end(), [&](const auto& label) {
          const auto at = pod.labels.find(label.first);
          return at != pod.labels.end() && at->second == label.second;
        }))
      return &known;
  return nullptr;
}

// Whether a rule of egress selects the namespace by its name: only there are DNS pods with a port of their own looked for.
bool is_named(const ClusterState& state, const std::string& ns) {
  for (const auto& policy : state.policies)
    for (const auto& rule : policy.egress)
      for (const auto& peer : rule.peers)
        if (peer.pods.namespaces)
          for (const auto& requirement : peer.pods.namespaces->requirements)
            if (std::find(requirement.values.begin(), requirement.values.end(), ns) != requirement.values.end()) return true;
  return false;
}

// Where a node's own resolver answers (docs/decisions/0011-dns-is-judged.md).
std::vector<net::IpAddr> service_addresses(const Inventory& inventory) {
  for (const Service& service : inventory.services)
    if (service.id == model::Name{"kube-system", "kube-dns"} && !service.addresses.empty()) return service.addresses;
  std::vector<net::IpAddr> out;
  for (const auto& range : inventory.service_ranges)
    if (const auto tenth = range.nth(10)) out.push_back(*tenth);
  return out;
}

bool is_udp(const model::PolicyPort& port) { return !port.protocol || *port.protocol == net::Protocol::kUdp; }
// Of a rule that is meant for DNS: port 53 alone, or a port named so.
bool names_dns(const model::PolicyPort& port) {
  return port.name.empty() ? port.first == 53 && port.last == 53 : port.name.starts_with("dns");
}
bool covers_dns(const model::PolicyRule& rule) {
  return rule.all_ports || std::any_of(rule.ports.begin(), rule.ports.end(), [](const model::PolicyPort& port) {
           return is_udp(port) && port.name.empty() && port.first <= 53 && 53 <= port.last;
         });
}

}  // namespace

DnsLint::DnsLint(const Check& check) : check_(check), policies_(check.parties().groups()) {
  for (std::uint32_t i = 0; i < check.inventory().state.policies.size(); ++i)
    for (const GroupId group : check.reachability().subjects_of(i)) policies_[group].push_back(i);
  find_servers();
  if (servers_.empty()) expect_servers();
  for (const auto& row : check.inventory().state.namespaces)
    if (std::any_of(servers_.begin(), servers_.end(), [&](const Server& one) { return one.pod.id.ns == row.name; }))
      namespaces_.push_back(row);
  for (const Server& server : servers_)
    if (std::none_of(namespaces_.begin(), namespaces_.end(), [&](const auto& row) { return row.name == server.pod.id.ns; }))
      namespaces_.push_back({server.pod.id.ns, {{"kubernetes.io/metadata.name", server.pod.id.ns}}, false});
}

void DnsLint::find_servers() {
  for (GroupId group = 0; group < check_.parties().groups(); ++group)
    if (const auto* known = known_as(check_.parties().pod_of(group))) servers_.push_back({check_.parties().pod_of(group), known->port});
}

void DnsLint::expect_servers() {
  expected_ = true;
  auto addresses = check_.inventory().dns_addresses;
  for (const auto& addr : service_addresses(check_.inventory())) addresses.push_back(addr);
  for (const KnownDns& known : known_dns()) {
    if (known.port != 53 && !is_named(check_.inventory().state, known.ns)) continue;
    Server out{.pod = {}, .port = known.port};
    out.pod.id = {known.ns, "dns"};
    out.pod.ips = addresses;
    out.pod.labels = known.labels;
    out.pod.ports = {
        {"dns", net::Protocol::kUdp, known.port}, {"dns-tcp", net::Protocol::kTcp, known.port}, {"metrics", net::Protocol::kTcp, 9153}};
    servers_.push_back(std::move(out));
  }
}

bool DnsLint::expects(const model::Policy& policy, const model::PolicyPeer& peer) const {
  if (!expected_ || peer.kind != model::PolicyPeer::Kind::kPods) return false;
  return std::any_of(servers_.begin(), servers_.end(), [&](const Server& server) {
    const auto row = std::find_if(namespaces_.begin(), namespaces_.end(), [&](const auto& one) { return one.name == server.pod.id.ns; });
    return (peer.pods.namespaces ? model::matches(*peer.pods.namespaces, row->labels) : policy.id.ns == row->name) &&
           model::matches(peer.pods.pods, server.pod.labels);
  });
}

bool DnsLint::expects_port(const std::string& name) const {
  return expected_ && std::any_of(servers_.begin(), servers_.end(), [&](const Server& server) {
           return std::any_of(server.pod.ports.begin(), server.pod.ports.end(), [&](const auto& port) { return port.name == name; });
         });
}

// What the naive evaluator needs to know of one subject.
compile::policy::ClusterState DnsLint::state_for(GroupId group) const {
  const auto& all = check_.inventory().state;
  compile::policy::ClusterState out;
  out.namespaces = namespaces_;
  for (const auto& row : all.namespaces)
    if (row.name == check_.parties().pod_of(group).id.ns) out.namespaces.push_back(row);
  for (const std::uint32_t policy : policies_[group]) out.policies.push_back(all.policies[policy]);
  return out;
}

std::optional<Finding> DnsLint::find(const End& end) const {
  const PartyId own = end.parties.front();
  const GroupId group = check_.parties()[own].group;
  if (!check_.reachability().judged(own, Direction::kEgress) || known_as(check_.parties().pod_of(group)) != nullptr) return std::nullopt;
  const model::Pod& subject = check_.parties().pod_of(group);
  auto state = state_for(group);
  std::optional<Verdict> denied;
  bool by_tcp = false;
  for (const Server& server : servers_)
    for (const auto& addr : server.pod.ips) {
      if (std::none_of(subject.ips.begin(), subject.ips.end(), [&](const auto& ip) { return ip.family() == addr.family(); })) continue;
      state.pods = {server.pod};
      const auto ask = [&](net::Protocol protocol) {
        return judge_naively(state, subject, Direction::kEgress, addr, static_cast<std::uint8_t>(protocol), server.port);
      };
      auto verdict = ask(net::Protocol::kUdp);
      if (verdict.allowed) return std::nullopt;
      by_tcp |= ask(net::Protocol::kTcp).allowed;
      if (!denied) denied = std::move(verdict);
    }
  if (!denied || asks_elsewhere(own, group)) return std::nullopt;
  return finding(end, *denied, by_tcp);
}

// A rule made for DNS whose peer is no pod that we know as DNS: a resolver of one's own, outside, or on the node.
bool DnsLint::asks_elsewhere(PartyId own, GroupId group) const {
  for (const std::uint32_t index : policies_[group]) {
    const model::Policy& policy = check_.inventory().state.policies[index];
    for (const auto& rule : policy.egress)
      if (rule.action == model::PolicyAction::kAllow && allows_dns(own, policy, rule)) return true;
  }
  return false;
}

bool DnsLint::allows_dns(PartyId own, const model::Policy& policy, const model::PolicyRule& rule) const {
  const net::Prefix link_local(net::IpAddr::v4(0xa9fe0000U), 16);  // NodeLocal DNSCache
  const auto passes = [&](PartyId party, std::uint16_t port) {
    return check_.reachability().allowed(own, Direction::kEgress, party).has(net::Protocol::kUdp, port);
  };
  for (const auto& peer : rule.peers) {
    const auto parts =
        peer.kind == model::PolicyPeer::Kind::kNetwork ? check_.parties().outside_within(peer.network) : std::vector<PartyId>{};
    const bool open = parts.empty() || std::any_of(parts.begin(), parts.end(), [&](PartyId part) { return passes(part, 53); });
    if (peer.kind == model::PolicyPeer::Kind::kNetwork && link_local.contains(peer.network.addr()) && covers_dns(rule) && open) return true;
    for (const auto& port : rule.ports) {
      if (!is_udp(port) || !names_dns(port)) continue;
      if (peer.kind == model::PolicyPeer::Kind::kNodes && port.name.empty()) return true;
      if (peer.kind == model::PolicyPeer::Kind::kNetwork && port.name.empty() && open) return true;
      if (peer.kind != model::PolicyPeer::Kind::kPods) continue;
      for (const GroupId group : check_.parties().select(peer.pods, policy.id.ns))
        for (const PartyId party : check_.parties().of_group(group)) {
          if (port.name.empty() && passes(party, 53)) return true;
          for (const auto& own_port : check_.parties().pod_of(group).ports)
            if (own_port.name == port.name && own_port.protocol == net::Protocol::kUdp && passes(party, own_port.port)) return true;
        }
    }
  }
  return false;
}

Finding DnsLint::finding(const End& end, const Verdict& verdict, bool by_tcp) const {
  const auto& rule = verdict.rule;
  const bool meant = std::any_of(rule.policies.begin(), rule.policies.end(), [&](const auto& of) {
    const auto& all = check_.inventory().state.policies;
    return std::any_of(all.begin(), all.end(), [&](const model::Policy& policy) {
      return policy.id == of.policy && std::any_of(policy.egress.begin(), policy.egress.end(), [](const model::PolicyRule& one) {
               return std::any_of(one.ports.begin(), one.ports.end(), [](const auto& port) { return is_udp(port) && names_dns(port); });
             });
    });
  });
  std::string message = "may not ask the cluster's DNS: " + rule.to_string(),
              advice = "allow egress to pods k8s-app: kube-dns of namespace kube-system, ports 53 of UDP and TCP";
  if (rule.rule >= 0) {
    message += " denies port 53 of UDP";
    advice = "let that rule spare DNS";
  } else if (by_tcp) {
    message += ", and port 53 is allowed over TCP alone";
    advice = "add protocol: UDP, by which names are asked first: a port without a protocol is TCP";
  } else if (meant) {
    message += ", and the rule for port 53 has no peer that DNS's pods match";
    advice = "select them by the label that each namespace has, kubernetes.io/metadata.name: kube-system, and k8s-app: kube-dns";
  } else {
    message += ", and no rule allows port 53 of UDP";
  }
  Place at;
  if (!rule.policies.empty())
    at = check_.place_of(rule.policies.front().policy, rule.rule < 0 ? "spec.egress" : "spec.egress[" + std::to_string(rule.rule) + "]");
  return {Severity::kWarning, "dns-denied", end.name, "spec.egress", message, advice, at};
}

}  // namespace fairway::policycheck
