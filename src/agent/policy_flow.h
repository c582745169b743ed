// PolicyFlow: the policies' own step of the flow, and what must wait for it.
//
// Place: changes of the Cluster and this node's pods (LocalPods) -> Engine -> Delta -> sinks/policy_sink; Flow::run() calls it.
// The gate is the flow's: before all sources have synced nothing is compiled, and what is pinned stays in force. One
// exception: a pod that CNI adds meanwhile opens it, where the last known objects are a whole cluster.
// What a pod has here outlives its object (CVE-2024-7598): the Cluster is told which pods run here, and keeps their rows.
// Where there is no policy the engine knows no objects: they are fed to it from the tables when the first one comes.
// Belongs to the control thread.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <vector>

#include "agent/denied_counts.h"
#include "compile/policy/engine.h"
#include "model/local_endpoint.h"
#include "model/problems.h"
#include "reflect/cluster.h"
#include "sinks/policy_sink.h"

namespace fairway::agent {

struct PolicyTargets {
  datapath::PolicyTables& tables;
  sinks::PolicyHost& host;
  std::function<void()> wake;    // run() has something to do: called later, never from within run()
  std::function<bool()> online;  // what the API has reaches us now
};

// What policies meet that no object of the API tells of.
struct PolicyConfig {
  std::optional<model::Pod> resolver;   // the cluster's DNS where the agent serves it, as the pod that policies select for it
  std::vector<net::Prefix> pod_ranges;  // of the whole cluster
};

class PolicyFlow {
 public:
  using TimePoint = reconcile::TimePoint;
  using Done = std::function<void(Status)>;
  PolicyFlow(reflect::Cluster& cluster, model::Problems& problems, PolicyTargets targets, PolicyConfig config = {});

  // Reads the pinned tables. Once, first. Returns whether an earlier agent has judged by them.
  Result<bool> adopt();
  // The cluster holds the last known objects, all of them.
  void set_restored() { restored_ = true; }

  // From the first call on the gate is open.
  void run(const reflect::Cluster::Changes& changes, TimePoint now);
  // Without changes of objects: goes on with what was waited for or is due.
  void run(TimePoint now);
  std::optional<TimePoint> next_due() const;
  bool idle() const { return waiting_.empty() && sink_.idle() && compiled_ == fed_; }
  // All that run() was told is in force. Not while the policies do not fit: the old ones are.
  bool in_force() const { return open_ && in_force_ >= fed_; }
  // This policy has changed, and the change is not in force yet.
  bool awaits(const std::string& key) const { return awaited_.contains(key); }

  // This node's pods, as CNI makes and removes them.
  void add_local(const model::LocalEndpoint& pod);
  void remove_local(const model::LocalEndpoint& pod);
  // `done` is called once the verdicts for a pod that add_local() named are in force, perhaps at once; or with why they are not.
  void admit(const model::LocalEndpoint& pod, TimePoint now, Done done);

  const compile::policy::Engine& engine() const { return *engine_; }
  const sinks::PolicySink& sink() const { return sink_; }
  // What the policies of this node's pods denied, by the names of rules and pods.
  Result<std::vector<Denied>> denied() const;
  bool open() const { return open_; }
  std::vector<std::string> held() const { return cluster_.outliving_policies(); }  // deleted, still enforced

 private:
  struct Waiting {
    model::LocalEndpoint pod;
    Done done;
    TimePoint give_up{};
    std::optional<std::uint64_t> mark;  // fed_ when the pod was known; nothing: it is waited for
  };
  void feed(const reflect::Cluster::Changes& changes);
  void feed_all();
  void feed_pod(const std::string& key);
  void feed_node(const std::string& name);
  void feed_namespace(const std::string& name);
  void feed_policy(const std::string& key);
  void feed_local(const model::LocalEndpoint& pod);
  void forget_all();
  void apply(TimePoint now);
  void settle_counts();
  Denied name_of(const fw_denied_key& key) const;
  bool take(compile::policy::Delta& delta);
  void settle(TimePoint now);
  bool settle_one(Waiting& waiting, TimePoint now);
  bool knows(const model::LocalEndpoint& pod) const;
  bool any_policy() const;
  bool concerned(const std::string& ns) const;  // a policy may select a pod of this namespace
  const model::LocalEndpoint* find_local(const std::string& key) const;

  reflect::Cluster& cluster_;
  model::Problems& problems_;
  PolicyTargets targets_;
  PolicyConfig config_;
  std::unique_ptr<compile::policy::Engine> engine_;
  sinks::PolicySink sink_;
  DeniedCounts denied_;
  bool counts_adopted_ = false;  // what is left of earlier agents and their pods is settled
  bool open_ = false, restored_ = false, first_ = true, overflow_ = false;
  bool engaged_ = false;                                  // the engine knows the objects
  std::uint64_t fed_ = 1, compiled_ = 0, in_force_ = 0;   // what the engine was told, counted
  std::map<std::uint64_t, std::uint64_t> tickets_;        // of the sink, and what each brings into force
  std::map<std::uint32_t, model::LocalEndpoint> local_;   // by ifindex
  std::multimap<std::string, std::uint32_t> local_keys_;  // "ns/name": a pod may have an old sandbox beside the new one
  std::set<std::string> awaited_;                         // policies that changed since all was in force
  std::vector<Waiting> waiting_;
};

}  // namespace fairway::agent
