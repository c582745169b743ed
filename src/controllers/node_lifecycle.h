// Nodes that fall silent: the Ready condition becomes Unknown, taints say so, their pods count as not ready, and
// pods are evicted when their tolerations of the taints run out.
//
// Liveness is judged by this process's own clock: a Lease or a heartbeat is fresh when it was SEEN to move, so that
// neither wrong clocks nor a pause of the API server make nodes look dead.
#pragma once

#include <chrono>
#include <unordered_map>

#include "controllers/controller.h"
#include "controllers/json.h"

namespace fairway::controllers {

// The taints that `node` should have, from its Ready condition and spec.unschedulable; others' are kept.
json::array taints_for(const Json& node, const std::string& now);

class NodeLifecycleController : public Controller {
 public:
  explicit NodeLifecycleController(Context& context);

 private:
  struct Health {
    std::string lease_time, heartbeat;  // as last seen
    std::chrono::steady_clock::time_point moved_at;
  };
  void on_start() override;
  void look();
  Task<Status> reconcile(Key key) override;
  void saw_node(const Key& key, const Json* after);
  void saw_lease(const Json* lease);
  bool is_silent(const Key& key) const;
  bool all_silent() const;
  Task<Status> mark_unknown(Json node);
  Task<Status> write_taints(Json node);
  Task<Status> mark_pods_not_ready(Json node);
  Task<Status> unmark_pods(Json node);
  Task<Status> evict(Json node);

  std::unordered_map<Key, Health> health_;
  io::Loop::Timer monitor_;
  std::chrono::steady_clock::time_point last_look_;
};

}  // namespace fairway::controllers
