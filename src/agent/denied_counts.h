// DeniedCounts: how many packets each rule denied to each pod of this node, by name.
//
// Place: beside agent/policy_flow, which says when numbers change their meaning; `fairway drops` shows it.
// Counts in force are rows of `pol_denied`, written by the programs: exact, whatever the rate. Before a rule's number may be given
// again, or once a pod is gone, their rows are taken out and kept here under the names they had ("past"): so no count is ever
// read as another rule's. A new agent has no names for what an older one counted: that is kept without a rule.
// Bounded: kMostPast names, of which the one that was quiet for longest goes first.
// Belongs to the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "compile/policy/rows.h"
#include "datapath/policy_tables.h"

namespace fairway::agent {

struct Denied {
  std::string pod;                                // "ns/name", or empty: not known any more
  std::optional<compile::policy::RuleName> rule;  // nothing: an earlier agent's
  compile::policy::Direction direction = compile::policy::Direction::kIngress;
  bool past = false;                       // the rule or the pod is no more
  std::uint64_t packets = 0, last_ns = 0;  // CLOCK_MONOTONIC
};

class DeniedCounts {
 public:
  static constexpr std::size_t kMostPast = 4096;
  // The names of a row, with its counts left out.
  using Name = std::function<Denied(const fw_denied_key&)>;
  using Which = std::function<bool(const fw_denied_key&)>;
  explicit DeniedCounts(datapath::PolicyTables& tables) : tables_(tables) {}

  // Keeps what these rows count, and removes them. No packet may be counted by them any more.
  Status settle(const Which& which, const Name& name);
  // Removes the rows of single flows (pol_hits) that have these rules' numbers: they are told by the number alone.
  Status forget_flows(const std::function<bool(std::uint32_t rule)>& which);
  // Past ones and those in force, in no order.
  Result<std::vector<Denied>> all(const Name& name) const;

 private:
  using Key = std::tuple<std::string, std::string, compile::policy::Direction>;  // rule's text and owner's uid, pod
  static Key key_of(const Denied& row);

  datapath::PolicyTables& tables_;
  std::map<Key, Denied> past_;
};

}  // namespace fairway::agent
