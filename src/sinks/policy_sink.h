// PolicySink: a Delta of the policy compiler into the kernel's tables, as one step of which no packet sees a half.
//
// Place: compile/policy Engine -> Delta -> [PolicySink] -> `pol_*` maps (bpf/abi/policy.h, design section 5). One step:
//
//   idle -> measure (does it fit?) -> track what becomes isolated -> fill the idle bank -> flip: one store
//        -> wait for packets that began before -> repeat in the other bank, remove what neither has, track less -> idle
//
// Invariants: between steps both banks say the same; before the flip only the idle bank is written, so an error leaves the
// old state in force, and the step is tried again with backoff, whatever came meanwhile merged into it; after the flip the
// step is in force, and what is left to do is owed until done. A table that would not fit is found before anything is written.
// A pod is tracked from before the flip that isolates it until after the one that opens it.
// Restart: adopt() counts all that is pinned as to be removed by the first step, which holds the new agent's whole state; so
// the pinned bank is in force until everything is in the other one.
// Belongs to the control thread. Time is the caller's.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "abi/policy.h"
#include "compile/policy/rows.h"
#include "datapath/policy_tables.h"
#include "datapath/room.h"
#include "reconcile/reconciler.h"

namespace fairway::sinks {

// What the step needs of the node. `done` is called once, on the control thread, perhaps before the call returns.
class PolicyHost {
 public:
  virtual ~PolicyHost() = default;
  // Until no packet is judged any more that read the generation before the call.
  virtual void wait_for_readers(std::function<void()> done) = 0;
  // The pods behind these interfaces are tracked from now on (set_tracked), and there are rows for the connections that they
  // have already. A pod that is gone is no error.
  virtual void begin_tracking(std::vector<std::uint32_t> ifindexes, std::function<void(Status)> done) = 0;
  // Makes the tables large enough for so many rows, where it can; what is too small then is found out by the caller.
  virtual Status make_room(const datapath::Room& rows) = 0;
  // Those that are tracked, also by an earlier agent.
  virtual Result<std::vector<std::uint32_t>> tracked() = 0;
};

class PolicySink {
 public:
  using Delta = compile::policy::Delta;
  using TimePoint = reconcile::TimePoint;

  // `wake` is called when something that run() waited for has come: call run() again.
  PolicySink(datapath::PolicyTables& tables, PolicyHost& host, std::function<void()> wake);

  // Reads what is pinned. Once, first. Returns whether an earlier agent has judged by it.
  Result<bool> adopt();

  // To be applied; the first one is the whole state. Returns its ticket: in force once in_force() has reached it.
  std::uint64_t add(Delta delta);
  // Goes on as far as it can without waiting.
  void run(TimePoint now);

  std::uint64_t in_force() const { return in_force_; }
  // A step is under way: a Delta added now would wait.
  bool busy() const { return phase_ != Phase::kIdle; }
  bool idle() const { return !busy() && !error_ && submitted_ == taken_; }
  std::optional<TimePoint> next_due() const;

  struct Failure {
    std::string table;
    Error error;
  };
  const std::optional<Failure>& failure() const { return error_; }
  std::uint64_t flips() const { return flips_; }

  // The rule behind a number in the kernel; nothing: an earlier agent's, whose names are gone (FW_RULE_TURN).
  std::optional<compile::policy::RuleId> rule_of(std::uint32_t number) const;

 private:
  enum class Phase { kIdle, kTracking, kFill, kReaders, kRepeat };
  template <typename K, typename V>
  struct Rows {
    std::vector<K> keys;  // before the flip
    std::vector<V> fill;
    std::vector<K> repeat_keys;  // after it
    std::vector<V> repeat;
    std::vector<K> gone;
    std::size_t added = 0, removed = 0;
  };
  struct Counts {
    std::size_t subjects = 0, peers = 0, cidrs = 0, verdicts = 0;
  };
  using PeerClass = compile::policy::PeerClass;

  void number_rules(Delta& delta) const;
  Status advance();
  Status fail(std::string_view table, Status status);
  Status count();
  void take();
  Status measure();
  void measure_cidrs(unsigned bank);
  Status make_room();
  std::optional<PeerClass> own(const net::Prefix& prefix) const;
  std::optional<PeerClass> own_after(const net::Prefix& prefix) const;
  Status begin_tracking();
  Status fill();
  void flip();
  Status repeat();
  Status write_ports(unsigned bank);
  unsigned idle_bank() const { return (tables_.policy_generation() + 1) & 1; }

  datapath::PolicyTables& tables_;
  PolicyHost& host_;
  std::function<void()> wake_;
  Phase phase_ = Phase::kIdle;
  bool waiting_ = false, running_ = false, recount_ = false;
  bool retry_ = false;                 // a step failed before its flip
  Delta step_, next_;                  // under way; came meanwhile
  std::optional<std::uint32_t> turn_;  // of this agent's rules: FW_RULE_TURN or 0
  std::uint64_t submitted_ = 0, taken_ = 0, in_force_ = 0, flips_ = 0;
  Status outcome_;  // of what was waited for
  Rows<std::uint32_t, fw_subject> subjects_;
  Rows<fw_addr, fw_peer_class> peers_;
  Rows<fw_cidr_key, fw_peer_class> cidrs_;
  Rows<fw_verdict_key, fw_verdict_row> verdicts_;
  Counts counts_;
  std::map<net::Prefix, PeerClass> own_;                         // prefixes with a class of their own, in force
  std::map<net::Prefix, std::optional<PeerClass>> own_changes_;  // by this step
  std::set<net::Prefix> cidr_rows_;                              // that `pol_cidrs` has
  std::set<std::uint32_t> tracked_;
  std::optional<Failure> error_;
  unsigned failures_ = 0;
  TimePoint due_{};
  std::string failed_table_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace fairway::sinks
