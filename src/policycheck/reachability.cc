#include "policycheck/reachability.h"

#include <algorithm>
#include <deque>
#include <tuple>

#include "policycheck/masks.h"

namespace fairway::policycheck {
namespace {

using model::PolicyAction;
using model::PolicyTier;
using Key = PortSet::Key;
using Range = std::pair<Key, Key>;

struct Way {  // one by which a rule matches: parties, and ports
  std::size_t rule = 0;
  std::uint32_t mask = 0;
  bool all_ports = false;
  std::vector<Range> ranges;
  const model::PolicyPort* name = nullptr;  // of an ingress rule: its number is the subject's
};

struct CompiledPolicy {
  const model::Policy* row = nullptr;
  std::size_t index = 0;
  std::vector<Way> ways[2];
  bool asks_names = false;
};

struct Part {
  Key begin = 0, end = 0;
  std::uint32_t row = 0;
};
struct DirectionState {
  bool judged = false;
  std::vector<Part> parts;  // of ports that some rule names, sorted
  std::uint32_t other = 0;  // the row of all else
};

}  // namespace

struct Reachability::Impl {
  Impl(const ClusterState& s, const Parties& p) : state(s), parties(p), masks(p, s) {}
  void compile();
  CompiledPolicy compile(std::size_t index);
  void compile_rule(const model::PolicyRule& rule, Direction direction, CompiledPolicy& out);
  void assign_subjects();
  void build(GroupId group, const std::vector<std::uint32_t>& policies);
  DirectionState build(Direction direction, GroupId group, const std::vector<std::uint32_t>& policies);
  std::uint32_t evaluate(const std::vector<const Way*>& ways, bool isolated);
  std::optional<Row> evaluate_lists(const std::vector<const Way*>& ways);
  void evaluate_tier(const std::vector<const Way*>& ways, PolicyTier tier, Words& rest, Words& allowed, Words& passed);
  bool decides(const Way& way, Words& rest, Words& to, bool take);
  PolicyTier tier_of(const Way& way) const { return state.policies[rules[way.rule].policy].tier; }
  std::uint32_t store(Row row) {
    rows.push_back(std::move(row));
    return static_cast<std::uint32_t>(rows.size() - 1);
  }

  const ClusterState& state;
  const Parties& parties;
  Masks masks;
  std::vector<CompiledPolicy> policies;  // in the order in which they are asked
  std::vector<std::vector<GroupId>> subjects_of;
  std::vector<Rule> rules;
  std::vector<std::uint32_t> subject_of_group;
  std::vector<std::array<DirectionState, 2>> subjects;
  std::vector<Row> rows;
  Words everyone;
};

namespace {

void rule_ranges(const model::PolicyPort& port, std::vector<Range>& out) {
  for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp})
    if (!port.protocol || *port.protocol == protocol)
      if (port.first <= port.last) out.emplace_back(PortSet::key_of(protocol, port.first), PortSet::key_of(protocol, port.last) + 1);
}

}  // namespace

void Reachability::Impl::compile_rule(const model::PolicyRule& rule, Direction direction, CompiledPolicy& out) {
  auto& ways = out.ways[static_cast<int>(direction)];
  Way way{.rule = rules.size() - 1, .mask = 0, .all_ports = rule.all_ports, .ranges = {}, .name = nullptr};
  const bool nameless = rule.all_ports || std::any_of(rule.ports.begin(), rule.ports.end(), [](const auto& p) { return p.name.empty(); });
  const bool mask_wanted = nameless || (direction == Direction::kIngress && !rule.ports.empty());
  if (mask_wanted) way.mask = masks.of_rule(*out.row, rule);
  for (const auto& port : rule.ports)
    if (port.name.empty()) rule_ranges(port, way.ranges);
  if (nameless) ways.push_back(way);
  for (const auto& port : rule.ports) {
    if (port.name.empty() || rule.all_ports) continue;
    if (direction == Direction::kIngress) {
      ways.push_back({way.rule, way.mask, false, {}, &port});
      out.asks_names = true;
      continue;
    }
    for (const auto& number : masks.numbers(port)) {
      const Key key = PortSet::key_of(number.protocol, number.port);
      ways.push_back({way.rule, masks.of_rule(*out.row, rule, &number), false, {{key, key + 1}}, nullptr});
    }
  }
}

CompiledPolicy Reachability::Impl::compile(std::size_t index) {
  CompiledPolicy out;
  out.row = &state.policies[index];
  out.index = index;
  for (const auto direction : {Direction::kIngress, Direction::kEgress}) {
    const auto& list = direction == Direction::kIngress ? out.row->ingress : out.row->egress;
    for (std::size_t i = 0; i < list.size(); ++i) {
      rules.push_back({.policy = index, .direction = direction, .index = i});
      compile_rule(list[i], direction, out);
    }
  }
  return out;
}

void Reachability::Impl::compile() {
  everyone.assign((parties.all().size() + 63) / 64, ~0ULL);
  if (const auto rest = parties.all().size() % 64; rest != 0) everyone.back() = (1ULL << rest) - 1;
  std::vector<std::size_t> order(state.policies.size());
  for (std::size_t i = 0; i < order.size(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(), [this](std::size_t a, std::size_t b) {
    const auto &x = state.policies[a], &y = state.policies[b];
    return std::tie(x.tier, x.priority, x.id, x.uid) < std::tie(y.tier, y.priority, y.id, y.uid);
  });
  policies.reserve(order.size());
  for (const std::size_t index : order) policies.push_back(compile(index));
  assign_subjects();
}

void Reachability::Impl::assign_subjects() {
  std::vector<std::vector<std::uint32_t>> of_group(parties.groups());
  subjects_of.resize(state.policies.size());
  for (std::uint32_t i = 0; i < policies.size(); ++i) {
    auto& groups = subjects_of[policies[i].index] = parties.select(policies[i].row->subject, policies[i].row->id.ns);
    for (const GroupId group : groups) of_group[group].push_back(i);
  }
  boost::unordered_flat_map<std::string, std::uint32_t> known;
  rows.reserve(2 * of_group.size());
  subject_of_group.resize(of_group.size());
  for (GroupId group = 0; group < of_group.size(); ++group) {
    const auto& list = of_group[group];
    std::string key(reinterpret_cast<const char*>(list.data()), list.size() * sizeof(list[0]));
    if (std::any_of(list.begin(), list.end(), [this](std::uint32_t i) { return policies[i].asks_names; }))
      for (const auto& port : parties.pod_of(group).ports)
        key += "|" + port.name + "|" + std::to_string(PortSet::key_of(port.protocol, port.port));
    const auto [at, fresh] = known.try_emplace(std::move(key), static_cast<std::uint32_t>(subjects.size()));
    subject_of_group[group] = at->second;
    if (fresh) build(group, list);
  }
}

void Reachability::Impl::build(GroupId group, const std::vector<std::uint32_t>& list) {
  subjects.push_back({build(Direction::kIngress, group, list), build(Direction::kEgress, group, list)});
}

// Ports between two ends of ranges, and which ways hold for them: equal ones share a row.
DirectionState Reachability::Impl::build(Direction direction, GroupId group, const std::vector<std::uint32_t>& list) {
  DirectionState out;
  bool isolated = false;
  std::deque<Way> named;
  std::vector<const Way*> ways, always;
  for (const std::uint32_t i : list) {
    const model::Policy& row = *policies[i].row;
    const bool isolates = direction == Direction::kIngress ? row.isolates_ingress : row.isolates_egress;
    if (row.tier == PolicyTier::kNetworkPolicy && !isolates) continue;
    isolated |= isolates && row.tier == PolicyTier::kNetworkPolicy;
    for (const Way& way : policies[i].ways[static_cast<int>(direction)]) {
      ways.push_back(&way);
      if (way.name == nullptr) continue;
      ways.back() = &named.emplace_back(way);
      for (const auto& p : parties.pod_of(group).ports)
        if (p.name == way.name->name && (!way.name->protocol || *way.name->protocol == p.protocol))
          named.back().ranges.emplace_back(PortSet::key_of(p.protocol, p.port), PortSet::key_of(p.protocol, p.port) + 1);
    }
  }
  out.judged = isolated || !ways.empty();
  if (!out.judged) return out;
  std::vector<Key> cuts;
  for (const Way* way : ways) {
    if (way->all_ports) always.push_back(way);
    else
      for (const auto& [begin, end] : way->ranges) cuts.push_back(begin), cuts.push_back(end);
  }
  std::sort(cuts.begin(), cuts.end());
  cuts.erase(std::unique(cuts.begin(), cuts.end()), cuts.end());
  out.other = evaluate(always, isolated);
  std::map<std::vector<const Way*>, std::uint32_t> known{{always, out.other}};
  for (std::size_t i = 0; i + 1 < cuts.size(); ++i) {
    std::vector<const Way*> here;
    for (const Way* way : ways)
      if (way->all_ports ||
          std::any_of(way->ranges.begin(), way->ranges.end(), [&](const Range& r) { return r.first <= cuts[i] && cuts[i] < r.second; }))
        here.push_back(way);
    auto at = known.find(here);
    if (at == known.end()) {
      const std::uint32_t row = evaluate(here, isolated);
      at = known.emplace(std::move(here), row).first;
    }
    if (at->second != out.other) out.parts.push_back({cuts[i], cuts[i + 1], at->second});
  }
  return out;
}

bool Reachability::Impl::decides(const Way& way, Words& rest, Words& to, bool take) {
  const bool any = masks[way.mask].move(rest, to, take);
  rules[way.rule].matches |= !masks[way.mask].empty();
  rules[way.rule].decides |= any;
  return any;
}

// The first rule that matches decides; `passed` gets what a Pass rule leaves to the next tier.
void Reachability::Impl::evaluate_tier(const std::vector<const Way*>& ways, PolicyTier tier, Words& rest, Words& allowed, Words& passed) {
  Words denied(rest.size());
  for (const Way* way : ways) {
    if (tier_of(*way) != tier) continue;
    const auto& policy = state.policies[rules[way->rule].policy];
    const auto& rule = rules[way->rule];
    const auto action = (rule.direction == Direction::kIngress ? policy.ingress : policy.egress)[rule.index].action;
    decides(*way, rest, action == PolicyAction::kAllow ? allowed : action == PolicyAction::kPass ? passed : denied, true);
  }
}

// The usual case: NetworkPolicies alone, that name few.
std::optional<Row> Reachability::Impl::evaluate_lists(const std::vector<const Way*>& ways) {
  std::vector<PartyId> allowed;
  for (const Way* way : ways) {
    const Mask& mask = masks[way->mask];
    if (tier_of(*way) != PolicyTier::kNetworkPolicy) {
      if (tier_of(*way) == PolicyTier::kAdmin) return std::nullopt;
      continue;
    }
    if (!mask.bits.empty() || allowed.size() + mask.list.size() > everyone.size()) return std::nullopt;
    allowed.insert(allowed.end(), mask.list.begin(), mask.list.end());
  }
  for (const Way* way : ways)
    if (tier_of(*way) == PolicyTier::kNetworkPolicy && !masks[way->mask].empty())
      rules[way->rule].matches = rules[way->rule].decides = true;
  return Row::of_list(std::move(allowed));
}

std::uint32_t Reachability::Impl::evaluate(const std::vector<const Way*>& ways, bool isolated) {
  if (isolated)
    if (auto row = evaluate_lists(ways)) return store(std::move(*row));
  const std::size_t count = parties.all().size();
  Words rest = everyone, allowed(rest.size());
  const auto has = [&](PolicyTier tier) {
    return std::any_of(ways.begin(), ways.end(), [&](const Way* w) { return tier_of(*w) == tier; });
  };
  const auto add = [](const Words& from, Words& to) {
    for (std::size_t i = 0; i < to.size(); ++i) to[i] |= from[i];
  };
  if (has(PolicyTier::kAdmin)) {
    Words passed(rest.size());
    evaluate_tier(ways, PolicyTier::kAdmin, rest, allowed, passed);
    add(passed, rest);
  }
  if (isolated) {
    for (const Way* way : ways)
      if (tier_of(*way) == PolicyTier::kNetworkPolicy) decides(*way, rest, allowed, false);
    return store(Row::of_bits(std::move(allowed), count));
  }
  if (has(PolicyTier::kBaseline)) {
    Words passed(rest.size());
    evaluate_tier(ways, PolicyTier::kBaseline, rest, allowed, passed);
    add(passed, rest);
  }
  add(rest, allowed);  // nothing denies it
  return store(Row::of_bits(std::move(allowed), count));
}

Reachability::Reachability(const ClusterState& state, const Parties& parties) : impl_(std::make_unique<Impl>(state, parties)) {
  impl_->compile();
}
Reachability::~Reachability() = default;

PortSet Reachability::allowed(PartyId subject, Direction direction, PartyId peer) const {
  if (!judged(subject, direction)) return PortSet::all();
  const auto& state = impl_->subjects[impl_->subject_of_group[impl_->parties[subject].group]][static_cast<int>(direction)];
  PortSet out;
  const bool other = impl_->rows[state.other].has(peer);
  Key at = 0;
  for (const Part& part : state.parts) {
    if (other) out.append(at, part.begin);
    if (impl_->rows[part.row].has(peer)) out.append(part.begin, part.end);
    at = part.end;
  }
  if (other) out.append(at, PortSet::kEnd);
  out.set_other(other);
  return out;
}

bool Reachability::judged(PartyId subject, Direction direction) const {
  const GroupId group = impl_->parties[subject].group;
  return group != kNobody && impl_->subjects[impl_->subject_of_group[group]][static_cast<int>(direction)].judged;
}

PortSet Reachability::between(PartyId source, PartyId destination) const {
  if (impl_->parties[source].addr.family() != impl_->parties[destination].addr.family()) return {};
  const PortSet in = allowed(destination, Direction::kIngress, source);  // first, as it denies most
  return in.empty() || !judged(source, Direction::kEgress) ? in : in & allowed(source, Direction::kEgress, destination);
}

const std::vector<Reachability::Rule>& Reachability::rules() const { return impl_->rules; }
const std::vector<GroupId>& Reachability::subjects_of(std::size_t policy) const { return impl_->subjects_of[policy]; }

Reachability::Sizes Reachability::sizes() const {
  Sizes out{impl_->parties.groups(), impl_->parties.all().size(), impl_->subjects.size(), impl_->rows.size(), 0};
  for (const Row& row : impl_->rows) out.row_bytes += row.bytes();
  return out;
}

}  // namespace fairway::policycheck
