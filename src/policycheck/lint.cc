#include "policycheck/lint.h"

#include <algorithm>

#include "policycheck/dns_lint.h"
#include "policycheck/shadow_lint.h"

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;
using model::PolicyTier;

std::string name_of(const model::Policy& policy) {
  return (policy.tier == PolicyTier::kNetworkPolicy ? "NetworkPolicy " : "ClusterNetworkPolicy ") + policy.id.to_string();
}

class Linter {
 public:
  explicit Linter(const Check& check)
      : check_(check), state_(check.inventory().state), dns_(check), findings_(check.inventory().findings) {}
  std::vector<Finding> run() {
    for (std::size_t i = 0; i < state_.policies.size(); ++i) policy(i);
    for (Finding& one : find_shadowed(check_)) findings_.push_back(std::move(one));
    for (const Service& one : check_.inventory().services) service(one);
    for (const End& end : check_.ends())
      if (end.kind == End::Kind::kWorkload)
        if (auto denied = dns_.find(end)) findings_.push_back(std::move(*denied));
    std::stable_sort(findings_.begin(), findings_.end(), [](const Finding& a, const Finding& b) { return a.severity > b.severity; });
    return std::move(findings_);
  }

 private:
  void say(const std::string& id, const std::string& object, const std::string& field, const std::string& message,
           const std::string& advice, const Source& source, Severity severity = Severity::kWarning) {
    findings_.push_back({severity, id, object, field, message, advice, source.place(field)});
  }
  const Source& source_of(std::size_t policy) const { return check_.inventory().policy_sources[policy]; }
  const std::vector<model::PolicyRule>& rules(const model::Policy& policy, Direction direction) const {
    return direction == Direction::kIngress ? policy.ingress : policy.egress;
  }

  void policy(std::size_t index) {
    const model::Policy& row = state_.policies[index];
    if (check_.reachability().subjects_of(index).empty()) return selects_nothing(index);
    for (const auto direction : {Direction::kIngress, Direction::kEgress})
      for (std::size_t r = 0; r < rules(row, direction).size(); ++r) rule(index, direction, r);
  }

  void selects_nothing(std::size_t index) {
    const model::Policy& row = state_.policies[index];
    const bool host = std::any_of(state_.pods.begin(), state_.pods.end(), [&](const model::Pod& pod) {
      return pod.host_network && (row.subject.namespaces || pod.id.ns == row.id.ns) && model::matches(row.subject.pods, pod.labels);
    });
    const std::string field = row.tier == PolicyTier::kNetworkPolicy ? "spec.podSelector" : "spec.subject";
    if (host)
      say("host-network", name_of(row), field, "selects only pods of the host's network, to which policies never apply",
          "give the pods a network of their own, or filter at the host", source_of(index));
    else say("selects-nothing", name_of(row), field, "selects no pod", "compare its labels with those of the workloads", source_of(index));
  }

  void rule(std::size_t index, Direction direction, std::size_t number) {
    const model::Policy& row = state_.policies[index];
    const model::PolicyRule& one = rules(row, direction)[number];
    const bool in = direction == Direction::kIngress;
    const std::string field = std::string(in ? "spec.ingress[" : "spec.egress[") + std::to_string(number) + "]";
    for (std::size_t k = 0; k < one.peers.size(); ++k) {
      const auto& peer = one.peers[k];
      const std::string at = field + (in ? ".from[" : ".to[") + std::to_string(k) + "]";
      if (peer.kind == model::PolicyPeer::Kind::kPods && check_.parties().select(peer.pods, row.id.ns).empty() &&
          (in || !dns_.expects(row, peer)))
        say("peer-selects-nothing", name_of(row), at, "matches no pod", "compare its labels with those of the workloads and namespaces",
            source_of(index));
    }
    const bool to_dns = !in && (one.all_peers ||
                                std::any_of(one.peers.begin(), one.peers.end(), [&](const auto& peer) { return dns_.expects(row, peer); }));
    for (const auto& port : one.ports)
      if (!port.name.empty() && !has_port(index, direction, port.name) && !(to_dns && dns_.expects_port(port.name)))
        say("unknown-port-name", name_of(row), field + ".ports",
            "no pod " + std::string(in ? "that the policy selects" : "anywhere") + " has a port named \"" + port.name + "\"",
            "name the containers' port so, or give its number", source_of(index));
  }
  bool has_port(std::size_t index, Direction direction, const std::string& name) const {
    const auto& with = check_.parties().with_port(name);
    if (direction == Direction::kEgress) return !with.empty();
    const auto& subjects = check_.reachability().subjects_of(index);
    return std::any_of(subjects.begin(), subjects.end(), [&](GroupId g) { return std::binary_search(with.begin(), with.end(), g); });
  }

  void service(const Service& one) {
    if (one.selector.empty()) return;
    model::PodSelector selector;
    for (const auto& [key, value] : one.selector) selector.pods.requirements.push_back({key, model::LabelRequirement::Op::kIn, {value}});
    model::canonicalize(selector.pods);
    const auto groups = check_.parties().select(selector, one.id.ns);
    const std::string object = "Service " + one.id.to_string();
    if (groups.empty()) {
      const bool host = std::any_of(state_.pods.begin(), state_.pods.end(), [&](const model::Pod& pod) {
        return pod.host_network && pod.id.ns == one.id.ns && model::matches(selector.pods, pod.labels);
      });
      if (!host)
        say("service-selects-nothing", object, "spec.selector", "selects no pod", "compare it with the labels of the workloads",
            one.source);
      return;
    }
    for (std::size_t i = 0; i < one.ports.size(); ++i) service_port(one, i, groups);
  }

  void service_port(const Service& service, std::size_t index, const std::vector<GroupId>& groups) {
    const ServicePort& port = service.ports[index];
    const std::string object = "Service " + service.id.to_string(), field = "spec.ports[" + std::to_string(index) + "]";
    bool named = false;
    for (const GroupId group : groups) {
      std::vector<std::uint16_t> numbers;
      if (port.target != 0) numbers.push_back(port.target);
      else
        for (const auto& p : check_.parties().pod_of(group).ports)
          if (p.name == port.target_name && p.protocol == port.protocol) numbers.push_back(p.port);
      named |= !numbers.empty();
      for (const std::uint16_t number : numbers)
        if (somebody_reaches(group, port.protocol, number)) return;
    }
    if (!named)
      say("unknown-port-name", object, field + ".targetPort", "no pod that it selects has a port named \"" + port.target_name + "\"",
          "name the containers' port so, or give its number", service.source);
    else
      say("service-unreachable", object, field, "no policy lets anybody in to the pods behind it",
          "allow its clients in a policy that selects these pods: ingress on port " +
              (port.target != 0 ? std::to_string(port.target) : "\"" + port.target_name + "\""),
          service.source);
  }
  bool somebody_reaches(GroupId group, net::Protocol protocol, std::uint16_t number) const {
    for (const PartyId own : check_.parties().of_group(group)) {
      if (!check_.reachability().judged(own, Direction::kIngress)) return true;
      for (PartyId peer = 0; peer < check_.parties().all().size(); ++peer)
        if (check_.reachability().allowed(own, Direction::kIngress, peer).has(protocol, number)) return true;
    }
    return false;
  }

  const Check& check_;
  const compile::policy::ClusterState& state_;
  const DnsLint dns_;
  std::vector<Finding> findings_;
};

}  // namespace

std::vector<Finding> lint(const Check& check) { return Linter(check).run(); }

}  // namespace fairway::policycheck
