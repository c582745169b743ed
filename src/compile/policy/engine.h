// Engine: policies, pods, namespaces and nodes to the rows by which the kernel judges, incrementally.
//
// Place: rows -> [Engine] -> Delta -> sinks/policy_sink. Pure: no clock, log, random or I/O. Work is proportional to what a change
// touches; the result is that of a fresh Engine fed with the same state, but for the numbers given (a property test).
// Method (design section 5): each peer of each rule that holds for a local pod is a predicate on addresses; addresses with the
// same truth vector share a peer class; the port ranges in force cut each protocol's ports into classes; local pods with the
// same rules (and the same numbers behind named ports) share a subject. Policies that select no local pod cost nothing here.
// A local pod is one that add_local() named.
// Numbers are given once and not used again for another meaning while a packet may still read it: not before the
// second Delta after the one that freed them; a rule's, by which packets are counted, not before reuse_rules().
// Belongs to the control thread.
#pragma once

#include <cstddef>
#include <memory>
#include <optional>
#include <string_view>
#include <vector>

#include "compile/policy/rows.h"
#include "model/policy.h"
#include "model/rows.h"

namespace fairway::compile::policy {

class Engine {
 public:
  // `first_rule`: where another engine's numbers were shown to somebody, from its rules_end() on.
  // `pod_ranges`: an address there that nobody has is a pod's that is not known yet, and might be any: rules that allow pods do not
  // match it, rules that deny pods do (where they name a port by name, every port of its protocol).
  explicit Engine(RuleId first_rule = 1, std::vector<net::Prefix> pod_ranges = {});
  ~Engine();
  Engine(const Engine&) = delete;
  Engine& operator=(const Engine&) = delete;

  // State in. An object replaces the one of its name; equal ones change nothing. Order does not matter: a pod may come before
  // its namespace (then it has no namespace labels, and no namespaceSelector but the empty one matches it).
  void set_namespace(const model::Namespace& row);
  void remove_namespace(std::string_view name);
  void set_pod(const model::Pod& row);    // terminated and host network pods may be given: they count for nothing
  void remove_pod(std::string_view key);  // "ns/name"
  void set_node(const model::Node& row);
  void remove_node(std::string_view name);
  void set_policy(const model::Policy& row);
  // At once, also in a namespace that is being removed: that its policies outlive its pods is the caller's business.
  void remove_policy(model::PolicyTier tier, std::string_view key);  // Admin and Baseline: either, by name

  // A pod of this node, by the interface that its packets come from. Its labels are those of set_pod(), which may come later: until
  // then it is judged as `unknown` says.
  enum class Unknown { kOpen, kClosed };
  void add_local(std::uint32_t ifindex, const model::Name& pod, Unknown unknown);
  void remove_local(std::uint32_t ifindex);

  // What changed since the last call.
  Delta compile();
  // Everything, as a fresh datapath needs it.
  Delta whole() const;

  // The name behind a number that is in use, or was until reuse_rules().
  const RuleName* find_rule(RuleId id) const;
  // Numbers that no rule has any more.
  std::vector<RuleId> freed_rules() const;
  // They may be given again: every Delta is in force, and what was counted under them is read.
  void reuse_rules();
  RuleId rules_end() const;  // no number so far is this or larger
  // Local pods that the policy selects: the sum over nodes is shown in status.
  std::size_t subjects_of(std::string_view policy_key) const;

  // The verdict as the kernel reaches it. `port` 0 and a protocol without ports: IPPROTO numbers.
  struct Judgement {
    bool allowed = true;
    bool own = false;  // the pod's own address or its node's: nothing is asked (of a pod that is not known, this cannot be told)
    RuleId rule = 0;   // 0: no policy looks at this direction, or nothing matched
    SubjectId subject = 0;
    PeerClass peer = 0;
    PortClass port_class = 0;
  };
  Judgement judge(std::uint32_t ifindex, Direction direction, const net::IpAddr& peer, std::uint8_t protocol, std::uint16_t port) const;

  struct Sizes {
    std::size_t policies = 0, subjects = 0, peer_classes = 0, peers = 0, cidrs = 0, port_classes = 0, verdicts = 0, rules = 0;
  };
  Sizes sizes() const;
  std::size_t objects() const;  // pods, namespaces and nodes that it knows, local pods by their name alone too

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::compile::policy
