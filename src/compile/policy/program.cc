#include "compile/policy/program.h"

#include <set>

namespace fairway::compile::policy {

using model::PolicyAction;

// What is known of one port class, or of the ports that no rule names.
struct Program::State {
  enum Stage : std::uint8_t { kOpen, kPassed, kDecided } stage = kOpen;
  Decision decision;
};

void Program::add_rule(Tier tier, PolicyAction action, RuleId id) {
  rules_.push_back({tier, action, id});
  rule_ids_.push_back(id);
}
void Program::add_way(PredicateId a, PredicateId b, bool all_ports, const std::vector<RangeId>& ranges) {
  const auto first = static_cast<std::uint32_t>(ranges_.size());
  if (!all_ports) ranges_.insert(ranges_.end(), ranges.begin(), ranges.end());
  ways_.push_back({static_cast<std::uint32_t>(rules_.size() - 1), a, b, all_ports, first, static_cast<std::uint32_t>(ranges_.size())});
}
// Of ways by the same predicate in the same tier, one that can match only where an earlier one has is never heard: many policies
// that say the same cost like one.
void Program::finish() {
  if (default_deny_ != 0) rule_ids_.push_back(default_deny_);
  for (std::uint32_t i = 0; i < ways_.size(); ++i) by_predicate_.emplace_back(ways_[i].a, i);
  std::sort(by_predicate_.begin(), by_predicate_.end());
  std::vector<std::pair<PredicateId, std::uint32_t>> heard;
  using Said = std::tuple<Tier, PredicateId, bool, std::vector<RangeId>>;
  std::set<Said> said;
  for (std::size_t i = 0; i < by_predicate_.size(); ++i) {
    const auto& [a, index] = by_predicate_[i];
    const bool first = i == 0 || by_predicate_[i - 1].first != a;
    const bool last = i + 1 == by_predicate_.size() || by_predicate_[i + 1].first != a;
    if (first) said.clear();
    if (!first || !last) {
      const Way& w = ways_[index];
      const Tier tier = rules_[w.rule].tier;
      if (said.contains({tier, 0, true, {}})) continue;
      if (!said.emplace(tier, w.b, w.all_ports, std::vector(ranges_.begin() + w.first_range, ranges_.begin() + w.end_range)).second)
        continue;
    }
    heard.emplace_back(a, index);
  }
  by_predicate_.clear();
  for (const auto& way : heard) {
    if (way.first == 0) always_.push_back(way.second);
    else by_predicate_.push_back(way);
  }
  by_predicate_.shrink_to_fit();
}
void Program::append_predicates(std::vector<PredicateId>& out) const {
  for (const Way& w : ways_) {
    if (w.a != 0) out.push_back(w.a);
    if (w.b != 0) out.push_back(w.b);
  }
}

void Program::expand(const PortCuts& cuts) {
  classes_.clear();
  for (Way& w : ways_) {
    w.first_class = static_cast<std::uint32_t>(classes_.size());
    for (std::uint32_t i = w.first_range; i < w.end_range; ++i) cuts.append_classes(ranges_[i], classes_);
    w.end_class = static_cast<std::uint32_t>(classes_.size());
  }
  base_ = evaluate({});
}

const Decision& Program::Outcome::at(PortClass port) const {
  const auto found = std::lower_bound(ports.begin(), ports.end(), port, [](const auto& p, PortClass wanted) { return p.first < wanted; });
  return found != ports.end() && found->first == port ? found->second : rest;
}

// The ways that hold for such a peer, in the order of their rules.
std::vector<const Program::Way*> Program::matched(const std::vector<PredicateId>& truth) const {
  std::vector<std::uint32_t> indexes = always_;
  const auto take = [&](PredicateId p) {
    auto at = std::lower_bound(by_predicate_.begin(), by_predicate_.end(), std::pair(p, 0U));
    for (; at != by_predicate_.end() && at->first == p; ++at) indexes.push_back(at->second);
  };
  const auto holds = [&](PredicateId p) { return p == 0 || std::binary_search(truth.begin(), truth.end(), p); };
  if (truth.size() <= by_predicate_.size()) {
    for (const PredicateId p : truth) take(p);
  } else {
    for (const auto& [p, way] : by_predicate_)
      if (holds(p)) indexes.push_back(way);
  }
  std::sort(indexes.begin(), indexes.end());
  std::vector<const Way*> out;
  for (const std::uint32_t i : indexes)
    if (holds(ways_[i].b)) out.push_back(&ways_[i]);
  return out;
}

void Program::apply(const Way& way, std::vector<State>& states, const std::vector<PortClass>& ports) const {
  const Rule& rule = rules_[way.rule];
  const auto decide = [&](State& s) {
    if (s.stage != State::kOpen) return;
    if (rule.action == PolicyAction::kPass && rule.tier == Tier::kAdmin) {
      s.stage = State::kPassed;
      return;
    }
    s.stage = State::kDecided;
    if (rule.tier == Tier::kUnion) s.decision = {Verdict::kAllow, rule.id, true};
    else if (rule.action == PolicyAction::kPass) s.decision = {};  // of the last tier: nothing is left to ask
    else s.decision = {rule.action == PolicyAction::kAllow ? Verdict::kAllow : Verdict::kDeny, rule.id, false};
  };
  if (way.all_ports) {
    for (State& s : states) decide(s);
    return;
  }
  for (std::uint32_t i = way.first_class; i < way.end_class; ++i)
    decide(states[static_cast<std::size_t>(std::lower_bound(ports.begin(), ports.end(), classes_[i]) - ports.begin())]);
}

Program::Outcome Program::evaluate(const std::vector<PredicateId>& truth) const {
  const auto ways = matched(truth);
  std::vector<PortClass> ports;
  for (const Way* w : ways) ports.insert(ports.end(), classes_.begin() + w->first_class, classes_.begin() + w->end_class);
  std::sort(ports.begin(), ports.end());
  ports.erase(std::unique(ports.begin(), ports.end()), ports.end());
  std::vector<State> states(ports.size() + 1);  // the last: the rest
  auto at = ways.begin();
  const auto run = [&](Tier tier) {
    for (; at != ways.end() && rules_[(*at)->rule].tier == tier; ++at) apply(**at, states, ports);
    for (State& s : states)
      if (s.stage == State::kPassed) s.stage = State::kOpen;
  };
  run(Tier::kAdmin);
  run(Tier::kUnion);
  if (isolated_) {
    for (State& s : states)
      if (s.stage == State::kOpen) s = {State::kDecided, {Verdict::kDeny, default_deny_, false}};
  }
  run(Tier::kBaseline);
  Outcome out;
  out.rest = states.back().decision;
  for (std::size_t i = 0; i < ports.size(); ++i) out.ports.emplace_back(ports[i], states[i].decision);
  return out;
}

void Program::append_base(Direction direction, std::vector<SubjectVerdict>& out) const {
  for (const auto& [port, d] : base_.ports)
    if (!d.same(base_.rest)) out.push_back({0, direction, port, d.verdict, d.rule});
}

// Rows by which {peer, port}, {peer, any}, {any, port}, default gives this class its due: exact rows beside the unnamed rest's where the
// class is like the rest on ports that no rule names; else one for any port, and exact ones where a port differs from it.
void Program::append_rows(Direction direction, PeerClass peer, const std::vector<PredicateId>& truth,
                          std::vector<SubjectVerdict>& out) const {
  if (!looked_ || ways_.empty()) return;
  const Outcome mine = evaluate(truth);
  const bool like_rest = mine.rest.same(base_.rest);
  for (const auto& [port, d] : mine.ports)
    if (!d.same(like_rest ? base_.at(port) : mine.rest)) out.push_back({peer, direction, port, d.verdict, d.rule});
  if (!like_rest) out.push_back({peer, direction, kAnyPort, mine.rest.verdict, mine.rest.rule});
}

}  // namespace fairway::compile::policy
