#include "compile/policy/engine.h"

#include "abi/policy.h"
#include "compile/policy/engine_impl.h"

namespace fairway::compile::policy {

static_assert(kNoClass == FW_PEER_NONE && kAnyPort == FW_PORT_ANY);

Engine::Engine(RuleId first_rule, std::vector<net::Prefix> pod_ranges) : impl_(std::make_unique<Impl>(first_rule, std::move(pod_ranges))) {}
Engine::~Engine() = default;

void Engine::set_policy(const model::Policy& row) { impl_->set_policy(row); }
void Engine::remove_policy(model::PolicyTier tier, std::string_view key) {
  const auto at = impl_->policy_numbers.find(key);
  if (at == impl_->policy_numbers.end()) return;
  const bool of_namespace = tier == model::PolicyTier::kNetworkPolicy;
  if (of_namespace == (impl_->policies[at->second].origin->tier == model::PolicyTier::kNetworkPolicy)) impl_->remove_policy(key);
}
Delta Engine::compile() { return impl_->compile(); }

Delta Engine::whole() const {
  const auto& m = *impl_;
  Delta out;
  for (const auto& [ifindex, row] : m.told_locals) out.subjects.emplace_back(ifindex, row);
  for (const auto& addr : m.named) out.peers.emplace_back(addr, m.addresses.at(addr).told);
  m.block_tree.for_each([&](const net::Prefix& prefix, const BlockTree::Cut& cut) {
    if (cut.value != 0) out.cidrs.emplace_back(prefix, cut.value);
  });
  out.ports = m.ports.all();
  out.overflow = m.ports.full();
  for (SubjectId s = 0; s < m.subjects.size(); ++s)
    for (const auto& r : m.subjects[s].rows)
      out.verdicts.emplace_back(VerdictKey{s, r.peer, r.port, r.direction}, VerdictRow{r.verdict, r.rule});
  return out;
}

const RuleName* Engine::find_rule(RuleId id) const {
  const auto& m = *impl_;
  if (id == 0 || !m.rules.readable(id)) return nullptr;
  const auto [at, fresh] = m.rule_names.try_emplace(id);
  if (fresh) {
    const RuleKey& key = m.rules[id];
    at->second = {{}, key.direction, key.rule, key.rule_name};
    for (const auto& o : key.origins) at->second.policies.push_back(*o);
  }
  return &at->second;
}

std::vector<RuleId> Engine::freed_rules() const {
  std::vector<RuleId> out;
  impl_->rules.for_each_kept([&](RuleId id) { out.push_back(id); });
  return out;
}

void Engine::reuse_rules() { impl_->rules.tick(), impl_->rules.tick(); }

RuleId Engine::rules_end() const { return static_cast<RuleId>(impl_->rules.limit()); }

std::size_t Engine::subjects_of(std::string_view policy_key) const {
  const auto& m = *impl_;
  const auto at = m.policy_numbers.find(policy_key);
  if (at == m.policy_numbers.end()) return 0;
  std::size_t out = 0;
  m.subject_selectors.for_each_group(m.policies[at->second].subject, [&](GroupId g) { out += m.groups[g].locals.size(); });
  return out;
}

// What stands between a pod and itself or its node: nothing (fw_judge_from_pod in bpf/lib/policy.h; docs/decisions/0006).
bool Engine::Impl::is_own(const PodRow& pod, const net::IpAddr& addr) const {
  if (std::binary_search(pod.ips.begin(), pod.ips.end(), addr)) return true;
  const auto at = addresses.find(addr);
  return pod.group != 0 && pod.node != 0 && at != addresses.end() &&
         std::any_of(at->second.nodes.begin(), at->second.nodes.end(), [&](std::uint32_t n) {
           return nodes[n].name == pod.node && std::binary_search(nodes[n].own.begin(), nodes[n].own.end(), addr);
         });
}

Engine::Judgement Engine::judge(std::uint32_t ifindex, Direction direction, const net::IpAddr& peer, std::uint8_t protocol,
                                std::uint16_t port) const {
  const auto& m = *impl_;
  Judgement out;
  const auto local = m.told_locals.find(ifindex);
  const auto pod = m.locals.find(ifindex);
  out.own = pod != m.locals.end() && m.is_own(m.pods[pod->second.pod], peer);
  if (out.own || local == m.told_locals.end()) return out;
  const SubjectRow& subject = local->second;
  const Fallback fallback = direction == Direction::kIngress ? subject.ingress : subject.egress;
  out.subject = subject.id;
  if (fallback == Fallback::kOpen) return out;
  const auto named = m.addresses.find(peer);
  const auto* cut = m.block_tree.find(peer);
  out.peer = named != m.addresses.end() && named->second.told != 0 ? named->second.told : cut != nullptr ? cut->value : kNoClass;
  out.port_class = m.ports.class_of(protocol, port);
  const auto decided = [&](PeerClass peer_class, PortClass port_class) {
    if (subject.id == kClosedSubject) return false;
    const auto& rows = m.subjects[subject.id].rows;
    const SubjectVerdict wanted{peer_class, direction, port_class};
    const auto at = std::lower_bound(rows.begin(), rows.end(), wanted, [](const auto& a, const auto& b) { return a.place() < b.place(); });
    if (at == rows.end() || at->place() != wanted.place()) return false;
    out.allowed = at->verdict == Verdict::kAllow, out.rule = at->rule;
    return true;
  };
  if (decided(out.peer, out.port_class) || decided(out.peer, kAnyPort) || decided(FW_PEER_ANY, out.port_class)) return out;
  out.allowed = fallback == Fallback::kAllow;
  out.rule = direction == Direction::kIngress ? subject.ingress_rule : subject.egress_rule;
  return out;
}

std::size_t Engine::objects() const { return impl_->pod_numbers.size() + impl_->namespaces.size() + impl_->node_numbers.size(); }

Engine::Sizes Engine::sizes() const {
  const auto& m = *impl_;
  Sizes out{m.policy_numbers.size(), m.subject_keys.size(), m.classes.size(), m.named.size(), m.block_tree.size(), m.ports.classes(), 0,
            m.rules.size()};
  for (const auto& s : m.subjects) out.verdicts += s.rows.size();
  return out;
}

}  // namespace fairway::compile::policy
