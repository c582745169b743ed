// NetworkPolicy and ClusterNetworkPolicy -> model::Policy. What cannot be honoured is closed, never open:
// - NetworkPolicy: rules only allow, so a peer or port that cannot be read matches nothing, and the rest holds. A fault of
//   a rule, or of the spec beside its selector, reaches all that it may narrow.
// - ClusterNetworkPolicy: as its API says of a peer without a known field: an Accept rule matches nothing, a Deny or Pass
//   rule denies all. The same is done for protocols, selectors and CIDRs that cannot be read, and for an unknown action.
// - Whom a policy is for, its tier and its priority have no closed reading: the object is bad, the old row stays.
// Source of the checks: pkg/apis/networking/validation, apimachinery's ValidateLabelSelector, the CRD's schema.
#include <algorithm>

#include "reflect/reflect.h"
#include "reflect/words.h"

namespace fairway::reflect {
namespace {

using k8s::SlimObject;
using k8s::SlimPolicyPeer;
using k8s::SlimPolicyPort;
using k8s::SlimPolicyRule;
using k8s::SlimSelector;
using model::LabelRequirement;
using model::LabelSelector;
using model::Policy;
using model::PolicyAction;
using model::PolicyPeer;
using model::PolicyPort;
using model::PolicyRule;

constexpr std::size_t kMaxRules = 4096;    // a direction; what else there may be is bounded by the object's bytes
constexpr std::size_t kMaxProblems = 16;   // told of one object
constexpr std::size_t kMaxRuleName = 100;  // the API's own limit

bool is_alnum(char c) { return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9'); }
// What a label's value and the name in its key are made of.
bool is_label_text(std::string_view text) {
  return !text.empty() && text.size() <= 63 && is_alnum(text.front()) && is_alnum(text.back()) &&
         std::all_of(text.begin(), text.end(), [](char c) { return is_alnum(c) || c == '-' || c == '_' || c == '.'; });
}
bool is_label_value(std::string_view text) { return text.empty() || is_label_text(text); }
bool is_label_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return is_label_text(key);
  std::string_view prefix = key.substr(0, slash);
  if (prefix.empty() || prefix.size() > 253 || !is_label_text(key.substr(slash + 1))) return false;
  for (;;) {  // RFC 1123 subdomain: labels of lower-case letters, digits and '-', joined by dots
    const std::string_view label = prefix.substr(0, prefix.find('.'));
    const auto lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
    if (label.empty() || !lower(label.front()) || !lower(label.back()) ||
        !std::all_of(label.begin(), label.end(), [&](char c) { return lower(c) || c == '-'; }))
      return false;
    if (label.size() == prefix.size()) return true;
    prefix.remove_prefix(label.size() + 1);
  }
}
// IANA_SVC_NAME (RFC 6335).
bool is_port_name(std::string_view name) {
  const auto lower = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  return !name.empty() && name.size() <= 15 && lower(name.front()) && lower(name.back()) && name.find("--") == std::string_view::npos &&
         std::all_of(name.begin(), name.end(), [&](char c) { return lower(c) || c == '-'; }) &&
         std::any_of(name.begin(), name.end(), [](char c) { return c >= 'a' && c <= 'z'; });
}

std::optional<LabelRequirement::Op> parse_op(std::string_view text) {
  if (text == "In") return LabelRequirement::Op::kIn;
  if (text == "NotIn") return LabelRequirement::Op::kNotIn;
  if (text == "Exists") return LabelRequirement::Op::kExists;
  if (text == "DoesNotExist") return LabelRequirement::Op::kDoesNotExist;
  return std::nullopt;
}

// The parts of a policy, each with what is wrong with it. A part that is wrong is nothing.
class PolicyReader {
 public:
  explicit PolicyReader(const SlimObject& object) : slim_(object.policy) {
    policy_.id = {std::string(object.kind == k8s::Kind::kNetworkPolicy ? object.meta.ns : ""), std::string(object.meta.name)};
    policy_.uid = object.meta.uid;
    policy_.generation = slim_.generation;
  }
  Reflected<Policy> network_policy();
  Reflected<Policy> cluster_network_policy();

 private:
  void say(std::string field, std::string reason) {
    if (problems_.size() < kMaxProblems) problems_.push_back({std::move(field), std::move(reason)});
  }
  // `consequence` is told with the fault of a part, which lies at `field`.
  bool faulty(const k8s::SlimFault& fault, const std::string& field, const char* consequence) {
    if (fault) say(field + fault.field, fault.reason + consequence);
    return static_cast<bool>(fault);
  }
  Reflected<Policy> bad(std::string field, std::string reason) {
    return {std::nullopt, {{std::move(field), std::move(reason) + ": the old policy stays in force"}}};
  }
  Reflected<Policy> done() {
    Reflected<Policy> out;
    out.row = std::move(policy_);
    out.problems = std::move(problems_);
    return out;
  }

  std::optional<LabelSelector> selector(const SlimSelector& from, const std::string& field);
  std::optional<net::Prefix> prefix(std::string_view text, const std::string& field);

  std::optional<PolicyPeer> peer(const SlimPolicyPeer& from, const std::string& field);
  std::optional<PolicyPeer> block(const SlimPolicyPeer& from, const std::string& field);
  std::optional<PolicyPort> port(const SlimPolicyPort& from, const std::string& field);
  void rules(const std::vector<SlimPolicyRule>& from, const std::string& field, const char* peers, std::vector<PolicyRule>& to);
  void set_types();

  std::optional<model::PodSelector> pods(const SlimPolicyPeer& from, const std::string& field);
  bool cluster_peer(const SlimPolicyPeer& from, const std::string& field, bool egress, PolicyRule& to);
  bool cluster_port(const SlimPolicyPort& from, const std::string& field, PolicyRule& to);
  bool cluster_rule(const SlimPolicyRule& from, const std::string& field, bool egress, PolicyRule& to);
  void cluster_rules(const std::vector<SlimPolicyRule>& from, bool egress, std::vector<PolicyRule>& to);

  const k8s::SlimPolicy& slim_;
  Policy policy_;
  std::vector<model::Problem> problems_;
  const char* consequence_ = "";  // of a fault of the part that is being read
};

// --- selectors

std::optional<LabelSelector> PolicyReader::selector(const SlimSelector& from, const std::string& field) {
  LabelSelector out;
  const auto refuse = [&](const std::string& where, const std::string& why) {
    say(where, why + consequence_);
    return std::nullopt;
  };
  for (const auto& [key, value] : from.labels) {
    if (!is_label_key(key)) return refuse(field + ".matchLabels", quoted(key) + " is not a label's key");
    if (!is_label_value(value)) return refuse(field + ".matchLabels", quoted(value) + " is not a label's value");
    out.requirements.push_back({std::string(key), LabelRequirement::Op::kIn, {std::string(value)}});
  }
  for (std::size_t i = 0; i < from.expressions.size(); ++i) {
    const auto& one = from.expressions[i];
    const std::string where = indexed(field + ".matchExpressions", i);
    if (!is_label_key(one.key)) return refuse(where + ".key", quoted(one.key) + " is not a label's key");
    const auto op = parse_op(one.op);
    if (!op) return refuse(where + ".operator", quoted(one.op) + " is not a selector's operator");
    const bool listed = *op == LabelRequirement::Op::kIn || *op == LabelRequirement::Op::kNotIn;
    if (listed == one.values.empty())
      return refuse(where + ".values", std::string(listed ? "must" : "must not") + " be given with " + std::string(one.op));
    LabelRequirement r{std::string(one.key), *op, {}};
    for (const std::string_view value : one.values) {
      if (!is_label_value(value)) return refuse(where + ".values", quoted(value) + " is not a label's value");
      r.values.emplace_back(value);
    }
    out.requirements.push_back(std::move(r));
  }
  canonicalize(out);
  return out;
}

std::optional<net::Prefix> PolicyReader::prefix(std::string_view text, const std::string& field) {
  const auto parsed = net::Prefix::parse_masking(text);
  if (parsed.ok()) return *parsed;
  say(field, parsed.error().message + consequence_);
  return std::nullopt;
}

// --- NetworkPolicy

constexpr const char* kNoPeer = ": this peer matches nothing";
constexpr const char* kNoPort = ": this port matches nothing";

std::optional<PolicyPeer> PolicyReader::block(const SlimPolicyPeer& from, const std::string& field) {
  PolicyPeer out;
  out.kind = PolicyPeer::Kind::kNetwork;
  const auto network = prefix(from.cidr, field + ".ipBlock.cidr");
  if (!network) return std::nullopt;
  out.network = *network;
  for (std::size_t i = 0; i < from.except.size(); ++i) {
    const std::string where = indexed(field + ".ipBlock.except", i);
    const auto hole = prefix(from.except[i], where);
    if (!hole) return std::nullopt;  // without the hole it would allow more
    if (!network->contains(hole->addr()) || hole->length() <= network->length()) {
      say(where, hole->to_string() + " is no strict subset of " + network->to_string() + kNoPeer);
      return std::nullopt;
    }
    out.except.push_back(*hole);
  }
  std::sort(out.except.begin(), out.except.end());
  out.except.erase(std::unique(out.except.begin(), out.except.end()), out.except.end());
  return out;
}

std::optional<PolicyPeer> PolicyReader::peer(const SlimPolicyPeer& from, const std::string& field) {
  consequence_ = kNoPeer;
  if (faulty(from.fault, field, kNoPeer)) return std::nullopt;
  if (from.fields == 0) {
    say(field, std::string("must specify a peer") + kNoPeer);
    return std::nullopt;
  }
  if (from.has_block && from.fields > 1) {
    say(field, std::string("may not specify both ipBlock and another peer") + kNoPeer);
    return std::nullopt;
  }
  if (from.has_block) return block(from, field);
  PolicyPeer out;
  if (from.namespaces.present) {
    out.pods.namespaces = selector(from.namespaces, field + ".namespaceSelector");
    if (!out.pods.namespaces) return std::nullopt;
  }
  auto selected = selector(from.pods, field + ".podSelector");
  if (!selected) return std::nullopt;
  out.pods.pods = std::move(*selected);
  return out;
}

std::optional<PolicyPort> PolicyReader::port(const SlimPolicyPort& from, const std::string& field) {
  if (faulty(from.fault, field, kNoPort)) return std::nullopt;
  const auto refuse = [&](const char* where, const std::string& why) {
    say(field + where, why + kNoPort);
    return std::nullopt;
  };
  const auto is_port = [](std::int64_t n) { return n >= 1 && n <= 65535; };
  PolicyPort out;
  out.protocol = net::parse_protocol(from.protocol.empty() ? "TCP" : from.protocol);
  if (!out.protocol) return refuse(".protocol", quoted(from.protocol) + " is not known");
  if (!from.name.empty()) {
    if (from.last) return refuse(".endPort", "must not be given with a named port");
    if (!is_port_name(from.name)) return refuse(".port", quoted(from.name) + " is not a port's name");
    out.name = from.name;
    return out;
  }
  if (!from.first) {
    if (from.last) return refuse(".endPort", "must not be given without a port");
    return out;
  }
  if (!is_port(*from.first)) return refuse(".port", std::to_string(*from.first) + " is not within 1 and 65535");
  if (from.last && !is_port(*from.last)) return refuse(".endPort", std::to_string(*from.last) + " is not within 1 and 65535");
  if (from.last && *from.last < *from.first) return refuse(".endPort", std::to_string(*from.last) + " is less than the port");
  out.first = static_cast<std::uint16_t>(*from.first);
  out.last = static_cast<std::uint16_t>(from.last.value_or(*from.first));
  return out;
}

void PolicyReader::rules(const std::vector<SlimPolicyRule>& from, const std::string& field, const char* peers,
                         std::vector<PolicyRule>& to) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::string where = indexed(field, i);
    PolicyRule& rule = to.emplace_back();  // one that matches nothing keeps its place: rules are known by their index
    if (slim_.fault || faulty(from[i].fault, where, ": this rule matches nothing")) continue;
    rule.all_peers = from[i].peers.empty();
    rule.all_ports = from[i].ports.empty();
    for (std::size_t k = 0; k < from[i].peers.size(); ++k)
      if (auto one = peer(from[i].peers[k], indexed(where + "." + peers, k))) rule.peers.push_back(std::move(*one));
    for (std::size_t k = 0; k < from[i].ports.size(); ++k)
      if (auto one = port(from[i].ports[k], indexed(where + ".ports", k))) rule.ports.push_back(std::move(*one));
  }
}

// The API: without policyTypes, Ingress always, and Egress where there are egress rules.
void PolicyReader::set_types() {
  for (std::size_t i = 0; i < slim_.types.size(); ++i) {
    if (slim_.types[i] == "Ingress") policy_.isolates_ingress = true;
    else if (slim_.types[i] == "Egress") policy_.isolates_egress = true;
    else say(indexed("spec.policyTypes", i), quoted(slim_.types[i]) + " is not known");
  }
  if (policy_.isolates_ingress || policy_.isolates_egress) return;
  policy_.isolates_ingress = true;
  policy_.isolates_egress = !slim_.egress.empty();
}

Reflected<Policy> PolicyReader::network_policy() {
  if (slim_.fault && slim_.fault.field.empty()) return bad("spec", slim_.fault.reason);
  if (slim_.subject.fault) return bad("spec.podSelector" + slim_.subject.fault.field, slim_.subject.fault.reason);
  if (slim_.ingress.size() > kMaxRules || slim_.egress.size() > kMaxRules)
    return bad(slim_.ingress.size() > kMaxRules ? "spec.ingress" : "spec.egress", "has more than 4096 rules");
  auto subject = selector(slim_.subject.pods, "spec.podSelector");
  if (!subject) return bad(problems_.front().field, problems_.front().reason);
  policy_.subject.pods = std::move(*subject);
  faulty(slim_.fault, "spec", ": no rule of this policy matches anything");
  set_types();
  // Rules of a direction that the policy is not about mean nothing.
  if (policy_.isolates_ingress) rules(slim_.ingress, "spec.ingress", "from", policy_.ingress);
  if (policy_.isolates_egress) rules(slim_.egress, "spec.egress", "to", policy_.egress);
  return done();
}

// --- ClusterNetworkPolicy

std::optional<model::PodSelector> PolicyReader::pods(const SlimPolicyPeer& from, const std::string& field) {
  model::PodSelector out;
  const std::string prefix = field + (from.has_pods ? ".pods" : "");
  if (from.has_pods && !from.pods.present) {
    say(prefix + ".podSelector", std::string("is missing") + consequence_);
    return std::nullopt;
  }
  out.namespaces = selector(from.namespaces, prefix + (from.has_pods ? ".namespaceSelector" : ".namespaces"));
  auto selected = selector(from.pods, prefix + ".podSelector");
  if (!out.namespaces || !selected) return std::nullopt;
  out.pods = std::move(*selected);
  return out;
}

bool PolicyReader::cluster_peer(const SlimPolicyPeer& from, const std::string& field, bool egress, PolicyRule& to) {
  if (faulty(from.fault, field, consequence_)) return false;
  const bool outside = from.nodes.present || !from.networks.empty() || !from.domain_names.empty();
  if (from.fields != 1 || (outside && !egress)) {
    say(field, std::string("must have exactly one field that is known") + consequence_);
    return false;
  }
  PolicyPeer peer;
  if (from.namespaces.present || from.has_pods) {
    auto selected = pods(from, field);
    if (!selected) return false;
    peer.pods = std::move(*selected);
    to.peers.push_back(std::move(peer));
    return true;
  }
  if (from.nodes.present) {
    auto selected = selector(from.nodes, field + ".nodes");
    if (!selected) return false;
    peer.kind = PolicyPeer::Kind::kNodes;
    peer.nodes = std::move(*selected);
    to.peers.push_back(std::move(peer));
    return true;
  }
  if (!from.domain_names.empty()) {
    const bool accept = to.action == PolicyAction::kAllow;
    say(field + ".domainNames", std::string("is not supported") + (accept ? kNoPeer : consequence_));
    return accept;
  }
  if (from.networks.empty()) {
    say(field, std::string("has no peer") + consequence_);
    return false;
  }
  peer.kind = PolicyPeer::Kind::kNetwork;
  for (std::size_t i = 0; i < from.networks.size(); ++i) {
    const auto network = prefix(from.networks[i], indexed(field + ".networks", i));
    if (!network) return false;
    peer.network = *network;
    to.peers.push_back(peer);
  }
  return true;
}

bool PolicyReader::cluster_port(const SlimPolicyPort& from, const std::string& field, PolicyRule& to) {
  if (faulty(from.fault, field, consequence_)) return false;
  const auto refuse = [&](const std::string& why) {
    say(field, why + consequence_);
    return false;
  };
  if (from.fields != 1) return refuse("must have exactly one field that is known");
  PolicyPort out;
  if (from.protocol.empty()) {
    if (!is_port_name(from.name)) return refuse("destinationNamedPort " + quoted(from.name) + " is not a port's name");
    out.name = from.name;
    to.ports.push_back(std::move(out));
    return true;
  }
  out.protocol = net::parse_protocol(from.protocol);
  const std::int64_t first = from.first.value_or(0), last = from.last.value_or(first);
  if (first < 1 || last > 65535) return refuse("destinationPort is not within 1 and 65535");
  out.first = static_cast<std::uint16_t>(first);
  out.last = static_cast<std::uint16_t>(last);
  to.ports.push_back(std::move(out));
  return true;
}

// False: the rule cannot be read, and that was said.
bool PolicyReader::cluster_rule(const SlimPolicyRule& from, const std::string& field, bool egress, PolicyRule& to) {
  if (faulty(from.fault, field, consequence_)) return false;
  if (from.peers.empty()) {
    say(field + (egress ? ".to" : ".from"), std::string("is missing") + consequence_);
    return false;
  }
  for (std::size_t i = 0; i < from.peers.size(); ++i)
    if (!cluster_peer(from.peers[i], indexed(field + (egress ? ".to" : ".from"), i), egress, to)) return false;
  to.all_ports = from.ports.empty();
  for (std::size_t i = 0; i < from.ports.size(); ++i)
    if (!cluster_port(from.ports[i], indexed(field + ".protocols", i), to)) return false;
  const bool named = std::any_of(to.ports.begin(), to.ports.end(), [](const PolicyPort& p) { return !p.name.empty(); });
  const bool nameless = std::any_of(from.peers.begin(), from.peers.end(), [](const SlimPolicyPeer& p) {
    return p.nodes.present || !p.networks.empty() || !p.domain_names.empty();
  });
  if (named && nameless) {
    say(field + ".protocols", std::string("networks, nodes and domainNames have no named ports") + consequence_);
    return false;
  }
  return true;
}

void PolicyReader::cluster_rules(const std::vector<SlimPolicyRule>& from, bool egress, std::vector<PolicyRule>& to) {
  for (std::size_t i = 0; i < from.size(); ++i) {
    const std::string field = indexed(egress ? "spec.egress" : "spec.ingress", i);
    PolicyRule& rule = to.emplace_back();
    rule.name = from[i].name.substr(0, kMaxRuleName);
    const bool accept = from[i].action == "Accept", pass = from[i].action == "Pass";
    rule.action = accept ? PolicyAction::kAllow : pass ? PolicyAction::kPass : PolicyAction::kDeny;
    consequence_ = accept ? ": this rule matches nothing" : ": this rule denies all";
    const bool known = accept || pass || from[i].action == "Deny";
    if (!known && !from[i].fault) say(field + ".action", quoted(from[i].action) + " is not known" + consequence_);
    if (known && !slim_.fault && cluster_rule(from[i], field, egress, rule)) continue;
    rule.peers.clear();
    rule.ports.clear();
    rule.all_peers = rule.all_ports = !accept;
    if (!accept) rule.action = PolicyAction::kDeny;
    if (!known) faulty(from[i].fault, field, consequence_);
  }
}

Reflected<Policy> PolicyReader::cluster_network_policy() {
  if (slim_.fault.wrong_type) return bad("spec" + slim_.fault.field, slim_.fault.reason);  // rules may be missing, and a Deny among them
  if (slim_.tier == "Admin") policy_.tier = model::PolicyTier::kAdmin;
  else if (slim_.tier == "Baseline") policy_.tier = model::PolicyTier::kBaseline;
  else return bad("spec.tier", quoted(slim_.tier) + " is not known");
  if (!slim_.priority || *slim_.priority < 0 || *slim_.priority > 1000) return bad("spec.priority", "is not a number from 0 to 1000");
  policy_.priority = static_cast<std::int32_t>(*slim_.priority);
  const SlimPolicyPeer& subject = slim_.subject;
  if (subject.fault) return bad("spec.subject" + subject.fault.field, subject.fault.reason);
  if (subject.fields != 1 || (!subject.has_pods && !subject.namespaces.present))
    return bad("spec.subject", "must have exactly one of namespaces and pods");
  if (slim_.ingress.size() > kMaxRules || slim_.egress.size() > kMaxRules)
    return bad(slim_.ingress.size() > kMaxRules ? "spec.ingress" : "spec.egress", "has more than 4096 rules");
  auto selected = pods(subject, "spec.subject");
  if (!selected) return bad(problems_.front().field, problems_.front().reason);
  policy_.subject = std::move(*selected);
  faulty(slim_.fault, "spec", ": Accept rules of this policy match nothing, its other rules deny all");
  cluster_rules(slim_.ingress, false, policy_.ingress);
  cluster_rules(slim_.egress, true, policy_.egress);
  return done();
}

}  // namespace

Reflected<Policy> reflect_network_policy(const SlimObject& object) { return PolicyReader(object).network_policy(); }
Reflected<Policy> reflect_cluster_network_policy(const SlimObject& object) { return PolicyReader(object).cluster_network_policy(); }

}  // namespace fairway::reflect
