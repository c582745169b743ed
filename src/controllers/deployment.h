// Deployment: ReplicaSets that follow one another. The arithmetic is in deployment_math.h, status and conditions in
// deployment_status.cc, and finding, making and retiring ReplicaSets in deployment_sets.cc.
#pragma once

#include "controllers/conditions.h"
#include "controllers/controller.h"
#include "controllers/deployment_math.h"

namespace fairway::controllers {

class DeploymentController : public Controller {
 public:
  explicit DeploymentController(Context& context);

 private:
  // A round's view: copies, kept up to date with what the round writes.
  struct Rollout {
    Key key;
    Json deployment;
    Strategy strategy;
    Replicas wanted = 0;
    std::vector<Json> old;  // oldest first
    std::optional<Json> fresh;
    Conditions conditions{json::array{}};
    Replicas all_replicas() const;
    Replicas ceiling() const { return wanted == 0 ? 0 : wanted + strategy.max_surge; }
    std::vector<Json*> sets();
  };
  Task<Status> reconcile(Key key) override;
  void set_changed(const Json& set);
  void pod_gone(const Json& pod);

  Task<Status> roll_out(Rollout& rollout);
  Task<Status> rolling_update(Rollout& rollout);
  Task<Status> recreate(Rollout& rollout);
  bool old_pods_run(const Rollout& rollout) const;

  // deployment_sets.cc
  void sort_sets(Rollout& rollout, std::vector<Json> sets);
  Task<Status> ensure_fresh(Rollout& rollout);
  Task<Status> make_fresh(Rollout& rollout, std::int64_t revision);
  Task<Status> adopt_name_clash(Rollout& rollout, std::string name);
  Task<Status> update_fresh(Rollout& rollout, std::int64_t revision);
  Task<Status> note_revision(Rollout& rollout, std::int64_t revision);
  bool needs_scaling(const Rollout& rollout) const;
  Task<Status> scale(Rollout& rollout);
  Task<Status> resize(const Rollout& rollout, Json& set, Replicas replicas);
  Task<Status> retire(Rollout& rollout);

  // deployment_status.cc
  void note_pause(Rollout& rollout);
  Task<Status> write_status(Rollout& rollout);
  void judge_progress(Rollout& rollout, const Json& status);
};

}  // namespace fairway::controllers
