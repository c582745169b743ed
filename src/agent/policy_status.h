// PolicyStatus: what this agent says of policies to the API: how far it is itself (PolicyReport), and, when it is its turn, how far all
// nodes are (PolicyReporter). docs/decisions/0008.
//
// Place: the watches of the two policy kinds enter the Cluster through it, as it must see each change; the agent calls step() after the
// flow. Belongs to the control thread.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "agent/policy_flow.h"
#include "agent/policy_reporter.h"
#include "reflect/cluster.h"

namespace fairway::agent {

// What is said of an object, by any stage: "NetworkPolicy default/web".
std::vector<model::Problem> problems_of(const model::Problems& problems, std::string_view object);

class PolicyStatus {
 public:
  PolicyStatus(io::Loop& loop, k8s::ApiClient& api, std::string node, reflect::Cluster& cluster, const model::Problems& problems,
               const PolicyFlow& flow);

  void put(const k8s::SlimObject& policy);     // into the Cluster
  void remove(const k8s::SlimObject& policy);  // from the Cluster
  void listed(k8s::Kind kind, const std::string& resource_version);
  // Once all sources have synced, after every run of the flow.
  void step();

  boost::json::object show() const;  // for `fairway status`

 private:
  reflect::Cluster& cluster_;
  const model::Problems& problems_;
  const PolicyFlow& flow_;
  PolicyReport report_;
  PolicyReporter reporter_;
};

}  // namespace fairway::agent
