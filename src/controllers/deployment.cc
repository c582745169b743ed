#include "controllers/deployment.h"

#include <algorithm>

#include "controllers/owners.h"
#include "controllers/pod.h"
#include "controllers/selector.h"

namespace fairway::controllers {

Replicas DeploymentController::Rollout::all_replicas() const {
  Replicas all = fresh ? count(*fresh, "spec", "replicas") : 0;
  for (const auto& set : old) all += count(set, "spec", "replicas");
  return all;
}

std::vector<Json*> DeploymentController::Rollout::sets() {
  std::vector<Json*> sets;
  for (auto& set : old) sets.push_back(&set);
  if (fresh) sets.push_back(&*fresh);
  return sets;
}

DeploymentController::DeploymentController(Context& context) : Controller(context, "deployment") {
  stores_.deployments.subscribe([this](const Key& key, const Json*, const Json*) { enqueue(key); });
  stores_.replica_sets.subscribe([this](const Key&, const Json* before, const Json* after) {
    if (before) set_changed(*before);
    if (after) set_changed(*after);
  });
  stores_.pods.subscribe([this](const Key&, const Json* before, const Json* after) {
    if (before && (!after || (is_finished(*after) && !is_finished(*before)))) pod_gone(*before);
  });
}

void DeploymentController::set_changed(const Json& set) {
  if (const Json* owner = controller_of(set)) {
    if (text(*owner, "kind") == "Deployment") enqueue(key_for(namespace_of(set), text(*owner, "name")));
    return;
  }
  for (const Json* deployment : stores_.deployments.all_in(namespace_of(set))) {
    if (LabelSelector::of(at(*deployment, "spec", "selector")).matches(fields(set, "metadata", "labels"))) {
      enqueue(key_for(namespace_of(set), name_of(*deployment)));
    }
  }
}

// Recreate waits for the old pods' end, which no ReplicaSet's status tells.
void DeploymentController::pod_gone(const Json& pod) {
  const Json* owner = controller_of(pod);
  if (!owner || text(*owner, "kind") != "ReplicaSet") return;
  const Json* set = stores_.replica_sets.find(key_for(namespace_of(pod), text(*owner, "name")));
  if (set) set_changed(*set);
}

Task<Status> DeploymentController::reconcile(Key key) {
  const Json* found = stores_.deployments.find(key);
  if (!found) co_return Status{};
  Rollout rollout;
  rollout.key = key;
  rollout.deployment = *found;
  rollout.strategy = strategy_of(rollout.deployment);
  rollout.wanted = count(rollout.deployment, "spec", "replicas");
  rollout.conditions = Conditions(items(rollout.deployment, "status", "conditions"));
  auto claimed = co_await claim(api_, stores_.replica_sets, rollout.deployment, kDeploymentType);
  if (!claimed.ok()) co_return std::move(claimed).error();
  sort_sets(rollout, std::move(*claimed));
  Status done;
  if (!is_terminating(rollout.deployment)) done = co_await roll_out(rollout);
  FW_CO_TRY(co_await write_status(rollout));
  co_return done;
}

Task<Status> DeploymentController::roll_out(Rollout& rollout) {
  note_pause(rollout);
  if (truth(rollout.deployment, "spec", "paused")) {
    FW_CO_TRY(co_await scale(rollout));
    co_return co_await retire(rollout);
  }
  if (rollout.fresh) FW_CO_TRY(co_await ensure_fresh(rollout));  // a rollback moves its revision before anything else
  if (needs_scaling(rollout)) co_return co_await scale(rollout);
  if (rollout.strategy.recreate) co_return co_await recreate(rollout);
  co_return co_await rolling_update(rollout);
}

Task<Status> DeploymentController::rolling_update(Rollout& rollout) {
  FW_CO_TRY(co_await ensure_fresh(rollout));
  const Replicas fresh_now = count(*rollout.fresh, "spec", "replicas");
  const Replicas fresh_next = next_new_replicas(rollout.strategy, rollout.wanted, fresh_now, rollout.all_replicas());
  if (fresh_next != fresh_now) co_return co_await resize(rollout, *rollout.fresh, fresh_next);

  const auto counts = [](const Json& set) { return SetCounts{count(set, "spec", "replicas"), count(set, "status", "availableReplicas")}; };
  std::vector<SetCounts> old;
  for (const auto& set : rollout.old) old.push_back(counts(set));
  const auto next = next_old_replicas(rollout.strategy, rollout.wanted, old, counts(*rollout.fresh));
  for (std::size_t i = 0; i < next.size(); ++i) FW_CO_TRY(co_await resize(rollout, rollout.old[i], next[i]));
  co_return co_await retire(rollout);
}

Task<Status> DeploymentController::recreate(Rollout& rollout) {
  for (auto& set : rollout.old) FW_CO_TRY(co_await resize(rollout, set, 0));
  if (old_pods_run(rollout)) co_return Status{};  // pod_gone() brings the key back
  FW_CO_TRY(co_await ensure_fresh(rollout));
  FW_CO_TRY(co_await resize(rollout, *rollout.fresh, rollout.wanted));
  co_return co_await retire(rollout);
}

bool DeploymentController::old_pods_run(const Rollout& rollout) const {
  return std::any_of(rollout.old.begin(), rollout.old.end(), [this](const Json& set) {
    const auto pods = stores_.pods.by(kByOwner, uid_of(set));
    return std::any_of(pods.begin(), pods.end(), [](const Json* pod) { return !is_finished(*pod); });
  });
}

}  // namespace fairway::controllers
