// The rules that hold for a subject in one direction, and what they say of a peer class.
//
// A rule matches by one of its ways: predicate `a` of the peer (0: any peer) and `b` (0: nothing more), on some ports. Pure values;
// predicates and ports are numbers that the engine gave.
#pragma once

#include <tuple>

#include "compile/policy/port_cuts.h"
#include "compile/policy/rows.h"

namespace fairway::compile::policy {

using PredicateId = std::uint32_t;      // 0: always true
constexpr PortClass kAnyPort = 0xffff;  // FW_PORT_ANY

struct Decision {
  Verdict verdict = Verdict::kAllow;
  RuleId rule = 0;
  bool by_union = false;  // one of the NetworkPolicies' rules that allow: any that matches is as good
  bool same(const Decision& o) const { return verdict == o.verdict && (rule == o.rule || (by_union && o.by_union)); }
};

// A subject's row of `pol_verdicts`, in the order in which they are kept.
struct SubjectVerdict {
  PeerClass peer = 0;
  Direction direction = Direction::kIngress;
  PortClass port = 0;
  Verdict verdict = Verdict::kAllow;
  RuleId rule = 0;
  bool operator==(const SubjectVerdict&) const = default;
  auto place() const { return std::tie(peer, direction, port); }
};

class Program {
 public:
  // Building: rules in the order Admin, NetworkPolicy (of those that isolate), Baseline.
  enum class Tier : std::uint8_t { kAdmin, kUnion, kBaseline };
  void add_rule(Tier tier, model::PolicyAction action, RuleId id);
  // Of the rule added last.
  void add_way(PredicateId a, PredicateId b, bool all_ports, const std::vector<RangeId>& ranges);
  void isolate(RuleId default_deny) { isolated_ = true, default_deny_ = default_deny; }
  void look() { looked_ = true; }  // a policy looks at this direction
  void finish();
  void expand(const PortCuts& cuts);
  const std::vector<RangeId>& ranges() const { return ranges_; }
  const std::vector<RuleId>& rule_ids() const { return rule_ids_; }
  void append_predicates(std::vector<PredicateId>& out) const;

  // Asking, once expanded.
  bool looked() const { return looked_; }
  const Decision& rest() const { return base_.rest; }  // of a peer that no rule names, on a port that none names
  void append_base(Direction direction, std::vector<SubjectVerdict>& out) const;
  void append_rows(Direction direction, PeerClass peer, const std::vector<PredicateId>& truth, std::vector<SubjectVerdict>& out) const;

 private:
  struct Rule {
    Tier tier;
    model::PolicyAction action;
    RuleId id;
  };
  struct Way {
    std::uint32_t rule;
    PredicateId a, b;
    bool all_ports;
    std::uint32_t first_range, end_range;  // of ranges_
    std::uint32_t first_class = 0, end_class = 0;
  };
  struct Outcome {
    Decision rest;
    std::vector<std::pair<PortClass, Decision>> ports;  // sorted
    const Decision& at(PortClass port) const;
  };
  struct State;
  Outcome evaluate(const std::vector<PredicateId>& truth) const;
  std::vector<const Way*> matched(const std::vector<PredicateId>& truth) const;
  void apply(const Way& way, std::vector<State>& states, const std::vector<PortClass>& ports) const;

  std::vector<Rule> rules_;
  std::vector<Way> ways_;
  std::vector<RangeId> ranges_;
  std::vector<PortClass> classes_;
  std::vector<RuleId> rule_ids_;
  std::vector<std::pair<PredicateId, std::uint32_t>> by_predicate_;
  std::vector<std::uint32_t> always_;
  Outcome base_;
  RuleId default_deny_ = 0;
  bool isolated_ = false, looked_ = false;
};

}  // namespace fairway::compile::policy
