// Policies in, and their rules as the programs of subjects.
#include "compile/policy/engine_impl.h"

namespace fairway::compile::policy {

using model::PolicyTier;
using Kind = Predicate::Kind;

std::size_t RuleKey::hash() const {
  std::uint64_t h = mix(static_cast<std::uint64_t>(direction), static_cast<std::uint64_t>(rule + 1));
  for (const auto& o : origins) h = mix(h, reinterpret_cast<std::uintptr_t>(o.get()));
  return mix(h, std::hash<std::string>{}(rule_name));
}
bool CompiledPolicy::asks_port_names() const {
  return std::any_of(rules[0].begin(), rules[0].end(), [](const CompiledRule& r) { return !r.port_names.empty(); });
}

void Engine::Impl::compile_ports(const model::Policy& policy, const model::PolicyRule& rule, Direction direction, CompiledRule& out) {
  for (const auto& p : rule.ports) {
    const auto protocol = p.protocol ? static_cast<std::uint8_t>(*p.protocol) : std::uint8_t{0};
    if (p.name.empty()) {
      if (p.first > p.last) continue;
      for (const auto each : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp})
        if (!p.protocol || *p.protocol == each) out.ranges.push_back({static_cast<std::uint8_t>(each), p.first, p.last});
      continue;
    }
    if (direction == Direction::kIngress) {
      out.port_names.push_back({selectors.acquire_string(p.name), protocol});
      continue;
    }
    static const model::PodSelector anyone{model::LabelSelector{}, {}};
    const auto add = [&](const model::PodSelector& who, BlockId block) {
      out.named.push_back({selectors.acquire(who, policy.id.ns, p.name, protocol), block});
    };
    if (rule.all_peers) add(anyone, 0);
    for (const auto& peer : rule.peers) {
      if (peer.kind == model::PolicyPeer::Kind::kPods) add(peer.pods, 0);
      if (peer.kind != model::PolicyPeer::Kind::kNetwork) continue;
      if (auto block = make_block(peer.network, peer.except)) add(anyone, blocks.acquire(*block).first);
    }
  }
}

CompiledRule Engine::Impl::compile_rule(const model::Policy& policy, const model::PolicyRule& rule, Direction direction) {
  CompiledRule out;
  out.action = policy.tier == PolicyTier::kNetworkPolicy ? model::PolicyAction::kAllow : rule.action;
  out.all_peers = rule.all_peers, out.all_ports = rule.all_ports;
  out.name = rule.name;
  if (!rule.all_peers) {
    for (const auto& peer : rule.peers) {
      if (peer.kind == model::PolicyPeer::Kind::kPods) out.peers.push_back({Kind::kPods, selectors.acquire(peer.pods, policy.id.ns)});
      if (peer.kind == model::PolicyPeer::Kind::kNodes) out.peers.push_back({Kind::kNodes, selectors.acquire_selector(peer.nodes)});
      if (peer.kind != model::PolicyPeer::Kind::kNetwork) continue;
      if (auto block = make_block(peer.network, peer.except)) out.peers.push_back({Kind::kBlock, blocks.acquire(*block).first});
    }
  }
  if (!rule.all_ports) compile_ports(policy, rule, direction, out);
  return out;
}

CompiledPolicy Engine::Impl::compile_policy(const model::Policy& row, OriginPtr origin) {
  CompiledPolicy out;
  out.origin = std::move(origin);
  out.priority = row.tier == PolicyTier::kNetworkPolicy ? 0 : row.priority;
  out.subject = selectors.acquire(row.subject, row.id.ns);
  const bool isolating = row.tier == PolicyTier::kNetworkPolicy;
  out.isolates[0] = isolating && row.isolates_ingress, out.isolates[1] = isolating && row.isolates_egress;
  // Of a NetworkPolicy, rules of a direction that its policyTypes do not name say nothing.
  if (!isolating || row.isolates_ingress)
    for (const auto& r : row.ingress) out.rules[0].push_back(compile_rule(row, r, Direction::kIngress));
  if (!isolating || row.isolates_egress)
    for (const auto& r : row.egress) out.rules[1].push_back(compile_rule(row, r, Direction::kEgress));
  return out;
}

void Engine::Impl::release_policy(const CompiledPolicy& policy) {
  selectors.release(policy.subject);
  for (const auto& rules_of : policy.rules) {
    for (const auto& rule : rules_of) {
      for (const auto& peer : rule.peers) {
        if (peer.kind == Kind::kPods) selectors.release(peer.id);
        else if (peer.kind == Kind::kBlock) blocks.release(peer.id);
        else selectors.release_selector(peer.id);
      }
      for (const auto& p : rule.port_names) selectors.release_string(p.name);
      for (const auto& n : rule.named) {
        selectors.release(n.pods);
        if (n.block != 0) blocks.release(n.block);
      }
    }
  }
}

// The order in which rules are asked, and of NetworkPolicies that in which the first that allows is named.
bool Engine::Impl::before(std::uint32_t a, std::uint32_t b) const {
  const auto& x = policies[a];
  const auto& y = policies[b];
  return std::tie(x.origin->tier, x.priority, x.origin->policy) < std::tie(y.origin->tier, y.priority, y.origin->policy);
}

void Engine::Impl::list_policy(std::uint32_t number, bool add) {
  const SelectorId id = policies[number].subject;
  auto& row = at(selector_rows, id);
  auto& list = row.policies;
  const auto place = std::lower_bound(list.begin(), list.end(), number, [this](std::uint32_t a, std::uint32_t b) { return before(a, b); });
  if (policies[number].asks_port_names()) {
    row.ask_port_names += add ? 1U : ~0U;
    if (row.ask_port_names == (add ? 1U : 0U)) subject_selectors.touch(id);
  }
  if (add) list.insert(place, number);
  else list.erase(place);
  if (add && list.size() == 1) subject_selectors.add_selector(id);
  if (!add && list.empty()) subject_selectors.remove_selector(id);
  for (const SubjectId s : row.subjects.maybe())
    if (selected_by(s, id)) dirty_subject(s, SubjectState::kRules);
}

void Engine::Impl::set_policy(const model::Policy& row) {
  const auto [at, fresh] = policy_numbers.try_emplace(row.id.to_string(), 0);
  Origin origin{row.tier, row.id, row.uid};
  if (!fresh) {
    auto& old = policies[at->second];
    auto now = compile_policy(row, *old.origin == origin ? old.origin : std::make_shared<const Origin>(std::move(origin)));
    if (now == old) {
      release_policy(now);
      return;
    }
    list_policy(at->second, false);
    std::swap(policies[at->second], now);
    list_policy(at->second, true);
    release_policy(now);
    return;
  }
  if (free_policies.empty()) {
    at->second = static_cast<std::uint32_t>(policies.size());
    policies.emplace_back();
  } else {
    at->second = free_policies.back();
    free_policies.pop_back();
  }
  policies[at->second] = compile_policy(row, std::make_shared<const Origin>(std::move(origin)));
  list_policy(at->second, true);
}

void Engine::Impl::remove_policy(std::string_view key) {
  const auto at = policy_numbers.find(key);
  if (at == policy_numbers.end()) return;
  list_policy(at->second, false);
  release_policy(policies[at->second]);
  policies[at->second] = {};
  free_policies.push_back(at->second);
  policy_numbers.erase(at);
}

std::vector<std::uint32_t> Engine::Impl::policies_of(SubjectId id) const {
  std::vector<std::uint32_t> out;
  for (const std::uint32_t selector : subject_keys[id]) {
    if (selector == kPortsFollow) break;
    const auto& list = selector_rows[selector].policies;
    const auto middle = static_cast<std::ptrdiff_t>(out.size());
    out.insert(out.end(), list.begin(), list.end());
    std::inplace_merge(out.begin(), out.begin() + middle, out.end(), [this](std::uint32_t a, std::uint32_t b) { return before(a, b); });
  }
  return out;
}

// All predicates that the rules of the subject name; a selector with a port name stands for the predicates of the numbers behind it.
std::vector<Predicate> Engine::Impl::asked_by(SubjectId id) const {
  std::vector<Predicate> out;
  for (const std::uint32_t number : policies_of(id)) {
    for (const auto& rules_of : policies[number].rules) {
      for (const auto& rule : rules_of) {
        const bool any = rule.action == model::PolicyAction::kDeny;
        if (rule.all_ports || !rule.ranges.empty() || !rule.port_names.empty())
          for (const auto& peer : rule.peers) out.push_back({peer.kind, any, peer.id, 0});
        for (const auto& n : rule.named) {
          out.push_back({Kind::kPods, any, n.pods, 0});
          if (n.block != 0) out.push_back({Kind::kBlock, any, n.block, 0});
        }
      }
    }
  }
  return out;
}

void Engine::Impl::add_ways(const CompiledRule& rule, const std::vector<NamedPort>& port_set, Program& out) {
  const bool any = rule.action == model::PolicyAction::kDeny;
  std::vector<RangeId> held;
  for (const auto& r : rule.ranges) held.push_back(ports.acquire(r.protocol, r.first, r.last));
  for (const auto& wanted : rule.port_names) {
    for (const NamedPort p : port_set) {
      const auto number = number_of(p);
      if (name_of(p) == wanted.name && (wanted.protocol == 0 || wanted.protocol == number.protocol))
        held.push_back(ports.acquire(number.protocol, number.port, number.port));
    }
  }
  if (rule.all_ports || !held.empty()) {
    if (rule.all_peers) out.add_way(0, 0, rule.all_ports, held);
    for (const auto& peer : rule.peers) out.add_way(predicates.find(Predicate{peer.kind, any, peer.id, 0}), 0, rule.all_ports, held);
  }
  for (const auto& n : rule.named) {
    const PredicateId block = n.block == 0 ? 0 : predicates.find(Predicate{Kind::kBlock, any, n.block, 0});
    for (const PredicateId p : selector_rows[n.pods].numbers[any ? 1 : 0]) {
      const std::uint32_t number = predicates[p].number;
      const RangeId range =
          ports.acquire(static_cast<std::uint8_t>(number >> 16), static_cast<std::uint16_t>(number), static_cast<std::uint16_t>(number));
      out.add_way(p, block, false, {range});
      held.push_back(range);
    }
    if (!any) continue;
    // Of a pod that is not known any port may have the name. The selector itself, without a number, holds for no other pod.
    std::vector<RangeId> every;
    for (const auto each : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp}) {
      const auto protocol = static_cast<std::uint8_t>(each), wanted = selectors[n.pods].protocol;
      if (wanted == 0 || wanted == protocol) every.push_back(ports.acquire(protocol, 0, 0xffff));
    }
    out.add_way(predicates.find(Predicate{Kind::kPods, true, n.pods, 0}), block, false, every);
    held.insert(held.end(), every.begin(), every.end());
  }
  new_ranges.insert(new_ranges.end(), held.begin(), held.end());
}

void Engine::Impl::build_direction(Direction direction, const std::vector<std::uint32_t>& ordered, const std::vector<NamedPort>& port_set,
                                   Program& out) {
  const auto d = static_cast<std::size_t>(direction);
  RuleKey deny{{}, direction, -1, ""};
  for (const std::uint32_t number : ordered) {
    const auto& policy = policies[number];
    const PolicyTier tier = policy.origin->tier;
    if (tier == PolicyTier::kNetworkPolicy && !policy.isolates[d]) continue;
    if (tier == PolicyTier::kNetworkPolicy) deny.origins.push_back(policy.origin);
    if (tier == PolicyTier::kNetworkPolicy || !policy.rules[d].empty()) out.look();
    for (std::size_t i = 0; i < policy.rules[d].size(); ++i) {
      const auto& rule = policy.rules[d][i];
      const auto program_tier = tier == PolicyTier::kAdmin           ? Program::Tier::kAdmin
                                : tier == PolicyTier::kNetworkPolicy ? Program::Tier::kUnion
                                                                     : Program::Tier::kBaseline;
      out.add_rule(program_tier, rule.action, acquire_rule({{policy.origin}, direction, static_cast<int>(i), rule.name}));
      add_ways(rule, port_set, out);
    }
  }
  if (!deny.origins.empty()) out.isolate(acquire_rule(std::move(deny)));
  out.finish();
}

void Engine::Impl::release_ranges(const std::vector<RangeId>& gone) {
  for (const RangeId r : gone) {
    ports.users(r).removed([&](SubjectId s) { return has_range(s, r); });
    ports.release(r);
  }
}

RuleId Engine::Impl::acquire_rule(RuleKey key) {
  const auto [id, fresh] = rules.acquire(std::move(key));
  if (fresh) rule_names.erase(id);
  new_rules.push_back(id);
  return id;
}

// Takes new ranges and rules before it gives up the old.
void Engine::Impl::build_program(SubjectId id) {
  auto& subject = subjects[id];
  const auto& key = subject_keys[id];
  static const std::vector<NamedPort> none;
  const bool with_ports = key.size() >= 2 && key[key.size() - 2] == kPortsFollow;
  const auto& port_set = with_ports ? selectors.ports(key.back()) : none;
  const auto ordered = policies_of(id);
  new_ranges.clear(), new_rules.clear();
  std::vector<PredicateId> uses = subject.asked;
  for (const auto direction : {Direction::kIngress, Direction::kEgress}) {
    Program program;
    build_direction(direction, ordered, port_set, program);
    program.append_predicates(uses);
    subject.program[static_cast<std::size_t>(direction)] = std::move(program);
  }
  std::swap(subject.ranges, new_ranges);
  std::swap(subject.rules, new_rules);
  std::sort(subject.ranges.begin(), subject.ranges.end());
  for (const RangeId r : subject.ranges) ports.users(r).add(id);
  for (const RuleId r : new_rules) rules.release(r);
  release_ranges(new_ranges);
  std::sort(uses.begin(), uses.end());
  uses.erase(std::unique(uses.begin(), uses.end()), uses.end());
  const auto before_uses = std::exchange(subject.uses, std::move(uses));
  for (const PredicateId p : subject.uses)
    if (!std::binary_search(before_uses.begin(), before_uses.end(), p)) predicate_rows[p].users.add(id);
  for (const PredicateId p : before_uses)
    if (!std::binary_search(subject.uses.begin(), subject.uses.end(), p))
      predicate_rows[p].users.removed([&](SubjectId s) { return this->uses(s, p); });
}

}  // namespace fairway::compile::policy
