// Reachability: for each pod group and direction, which ports of which parties its policies let through.
//
// Place: parties.h -> [Reachability] -> tables, lint, assertions, diff. Exact, and without a question a pair: pods of equal policies share
// a subject; a subject's rules cut the ports into few parts; for each part one row of bits says which parties pass. A connection passes
// where the row of its source's egress and that of its destination's ingress both have the bit. The naive evaluator
// (compile/policy/oracle.h) says the same (a property test), and says why. As with it, the verdicts are those of the policies: that a pod
// reaches itself, and its own node reaches it, whatever they say, is the caller's business. Pure. `state` and `parties` outlive it.
#pragma once

#include <memory>

#include "policycheck/parties.h"
#include "policycheck/port_set.h"

namespace fairway::policycheck {

class Reachability {
 public:
  using Direction = compile::policy::Direction;
  Reachability(const ClusterState& state, const Parties& parties);
  ~Reachability();
  Reachability(const Reachability&) = delete;
  Reachability& operator=(const Reachability&) = delete;

  // Ports on which `subject` may receive from (ingress), or send to (egress), `peer`; all where the subject is no pod.
  PortSet allowed(PartyId subject, Direction direction, PartyId peer) const;
  // Both ends agree. Nothing between two families.
  PortSet between(PartyId source, PartyId destination) const;
  bool judged(PartyId subject, Direction direction) const;  // a policy looks at this direction

  struct Rule {
    std::size_t policy = 0;  // of ClusterState::policies
    Direction direction = Direction::kIngress;
    std::size_t index = 0;
    bool matches = false;  // some connection, by selectors and ports
    bool decides = false;  // and for one of them no Admin rule has decided before
  };
  const std::vector<Rule>& rules() const;
  const std::vector<GroupId>& subjects_of(std::size_t policy) const;

  struct Sizes {
    std::size_t groups = 0, parties = 0, subjects = 0, rows = 0, row_bytes = 0;
  };
  Sizes sizes() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::policycheck
