// PolicyReporter: tells on each policy when it is in force on all nodes, and why not (docs/decisions/0008).
//
// Place: every agent has one and follows the changes of policies; one at a time writes. It gathers what the nodes' Leases say
// (agent/policy_report) and writes an Event, and on a ClusterNetworkPolicy a condition.
// Which one: the holder of Lease kube-system/fairway-policy-status. Nothing is renewed at rest. As policies change, the last holder goes
// on at once; the others look after 3 s and in the order of their names, and take over where it is silent. They hold what it has
// not reported yet (its Lease says up to where it has), so a change is lost only with all agents. Two that write for a while do no
// harm: what they write has one name.
// Bounded, whatever the cluster's size: a change costs the holder a list of Leases at growing distances (0.1 s to 30 s) until it is in
// force everywhere, and one Event; 2 Events a second after the first 50; kMostPending changes are followed, the oldest are let go.
// Belongs to the control thread; callbacks come on the loop. Time is the loop's and the wall's.
#pragma once

#include <chrono>
#include <functional>
#include <map>
#include <optional>
#include <set>
#include <span>
#include <string>
#include <vector>

#include "agent/policy_event.h"
#include "agent/policy_report.h"
#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::agent {

class PolicyReporter {
 public:
  static constexpr std::size_t kMostPending = 4096;
  struct Config {
    std::string node;
    std::function<std::vector<std::string>()> nodes;  // of the cluster, sorted
    std::chrono::milliseconds patience{3000};         // of those that do not hold the Lease
    std::chrono::milliseconds warn_after{10'000};
    // One that began within this time does not know what was changed before; who was there has its turn to tell that.
    std::chrono::milliseconds young{120'000};
    std::chrono::milliseconds look_again{15'000};  // after a look at the Lease, while there is something to tell
  };
  PolicyReporter(io::Loop& loop, k8s::ApiClient& api, Config config);

  void changed(PolicyChange change);
  void removed(k8s::Kind kind, const model::Name& id);

  bool holds() const { return holds_; }
  std::size_t pending() const { return pending_.size() + outbox_.size(); }
  std::size_t let_go() const { return let_go_; }
  const std::string& last_error() const { return failure_; }

 private:
  using Clock = std::chrono::steady_clock;
  using Key = std::pair<k8s::Kind, std::string>;
  struct Pending {
    PolicyChange change;
    Clock::time_point seen;
    std::string warned;  // of these nodes, for these reasons
  };
  using Reached = std::pair<std::uint64_t, std::string>;  // up to which version a node is, and its name
  struct NodeState {
    PolicyVersions in_force;
    std::string error, renewed;
    std::chrono::milliseconds took{};  // 0: not told
  };
  static Key key_of(const PolicyChange& change) { return {change.kind, change.id.to_string()}; }

  void plan();  // the next step, if none is under way
  void step();
  void later(std::chrono::milliseconds delay);
  void fail(const Error& error);
  std::chrono::milliseconds first_delay() const;
  std::chrono::milliseconds until_next_look() const;

  void ask_lease();
  void on_lease(Result<k8s::Json> answer);
  void take_lease(const k8s::Json* old);
  void finish();
  k8s::Json lease_body(const k8s::Json* old, std::chrono::seconds held) const;
  PolicyVersions reported() const;
  void drop_reported(const PolicyVersions& by_holder);

  void gather();
  void on_leases(k8s::Json list);
  void ask_nodes();
  void evaluate();
  void warn(Pending& pending, std::span<const Reached> lag, std::size_t nodes, std::chrono::milliseconds age);
  void rank_nodes();
  std::span<const Reached> lacking(const Pending& pending) const;
  std::optional<std::chrono::milliseconds> slowest(const PolicyChange& change) const;
  std::string reason_of(const std::string& node) const;
  void say(PolicyNews news);
  void send();
  void sent(const Key& key, bool condition_follows, Result<k8s::Json> answer);

  io::Loop& loop_;
  k8s::ApiClient& api_;
  Config config_;
  std::map<Key, Pending> pending_;
  PolicyVersions latest_;      // of all changes that were seen
  PolicyVersions first_;       // and the first of them; 0: none
  PolicyVersions lease_says_;  // up to where all was told, by whoever wrote the Lease last
  Clock::time_point began_ = Clock::now();
  std::size_t let_go_ = 0;
  bool holds_ = false;
  std::string lease_version_;
  Clock::time_point renewed_{};
  std::map<std::string, NodeState> leases_;
  std::map<k8s::Kind, std::vector<Reached>> reached_;  // all nodes, those that lag most first
  std::map<std::string, std::string> unready_;         // nodes that were asked for: why, or empty
  std::vector<std::string> to_ask_;
  std::string failure_;
  unsigned failures_ = 0;
  k8s::CallPtr call_;
  io::Loop::Timer timer_;

  std::map<Key, PolicyNews> outbox_;
  std::set<Key> half_sent_;  // the Event is, the condition is not
  double tokens_;
  Clock::time_point filled_{};
  unsigned send_failures_ = 0;
  k8s::CallPtr send_call_;
  io::Loop::Timer send_timer_;
};

}  // namespace fairway::agent
