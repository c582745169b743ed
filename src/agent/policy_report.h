// PolicyReport: up to which version all policies are in force on this node, said in one Lease (docs/decisions/0008).
//
// Place: arrow back of the flow: watch -> rows -> maps -> [PolicyReport] -> Lease kube-system/fairway-NODE -> PolicyReporter, of any node.
// Policies come into force in the order of the watch and as one switch, so one number of each kind says it of all of them: the highest
// resourceVersion of a change of it that the datapath has switched to (its growth within a kind: KEP-5504). If a switch fails, the
// number stays and the reason stands beside it. Beside the number stands how long the node took: by its own clock, from the watch's word
// to the switch; where several changes came since the last report, the longest of them.
// Bounded: written only as a number grows or the reason changes, at most once in two seconds; nothing at rest.
// Belongs to the control thread; callbacks come on the loop.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "io/loop.h"
#include "k8s/api_client.h"
#include "k8s/objects.h"

namespace fairway::agent {

// Of NetworkPolicies and ClusterNetworkPolicies.
struct PolicyVersions {
  std::uint64_t network = 0, cluster = 0;
  std::uint64_t& of(k8s::Kind kind) { return kind == k8s::Kind::kNetworkPolicy ? network : cluster; }
  std::uint64_t of(k8s::Kind kind) const { return kind == k8s::Kind::kNetworkPolicy ? network : cluster; }
  bool operator==(const PolicyVersions&) const = default;
  // "12/34", as it stands in an annotation. parse: 0/0 for what is no such text.
  std::string to_string() const;
  static PolicyVersions parse(std::string_view text);
};

constexpr char kReportNamespace[] = "kube-system";
constexpr char kReportLabel[] = "fairway.io/policy-report";         // on nodes' Leases, with the node's name as value
constexpr char kVersionAnnotation[] = "fairway.io/policy-version";  // PolicyVersions in force
constexpr char kTookAnnotation[] = "fairway.io/policy-took-ms";     // from a change's coming to its being in force
constexpr char kErrorAnnotation[] = "fairway.io/policy-error";      // why no higher ones are
k8s::ResourceRef lease_ref(const std::string& name);
std::string lease_of_node(const std::string& node);

class PolicyReport {
 public:
  PolicyReport(io::Loop& loop, k8s::ApiClient& api, std::string node);

  // A policy's row changed, or a list ended: all of the kind is known up to this version.
  void seen(k8s::Kind kind, std::uint64_t version);
  // After the flow has run. `in_force`: all that was seen; else `error` says why not, where it is known.
  void step(bool in_force, const std::string& error);
  const PolicyVersions& seen() const { return seen_; }
  const std::string& last_error() const { return failure_; }  // of writing; empty while all is well

 private:
  struct State {
    PolicyVersions in_force;
    std::string error;
    std::chrono::milliseconds took{};  // 0: not measured
    bool operator==(const State&) const = default;
  };
  void write();
  void ask_own_node();
  void again(std::chrono::milliseconds delay);

  io::Loop& loop_;
  k8s::ApiClient& api_;
  std::string node_, node_uid_;  // the Lease goes with the Node
  PolicyVersions seen_;
  std::optional<std::chrono::steady_clock::time_point> came_;  // the first change that is not in force yet
  State now_;
  std::optional<State> written_;
  std::string failure_;
  unsigned failures_ = 0;
  k8s::CallPtr call_;
  io::Loop::Timer timer_;
};

}  // namespace fairway::agent
