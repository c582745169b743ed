// DaemonSet: one pod on each eligible node, placed by the scheduler through an affinity to the node's name.
#pragma once

#include <map>
#include <set>

#include "controllers/controller.h"

namespace fairway::controllers {

// Where a DaemonSet's pods should be, from its template and a node: pure.
struct NodeVerdict {
  bool should_run = false;       // a missing pod is made
  bool should_continue = false;  // one that is there may stay
};
NodeVerdict judge_node(const Json& daemon_set, const Json& node);

class DaemonSetController : public Controller {
 public:
  explicit DaemonSetController(Context& context);

 private:
  struct Plan {
    Json set;
    std::string hash;
    std::map<std::string, std::vector<Json>> on_node;  // pods by node
    std::map<std::string, NodeVerdict> nodes;
    std::vector<std::string> create;  // node names
    std::vector<Json> remove;
  };
  Task<Status> reconcile(Key key) override;
  Plan make_plan(Json set, std::vector<Json> pods) const;
  void plan_node(Plan& plan, const std::string& node, const std::vector<Json>& pods) const;
  void plan_update(Plan& plan) const;
  Task<Status> apply(const Plan& plan);
  Task<Status> write_status(const Plan& plan);
};

}  // namespace fairway::controllers
