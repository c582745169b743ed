#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "controllers/deployment.h"

namespace fairway::controllers {
namespace {

bool has_deadline(const Json& deployment) {
  const auto deadline = number(deployment, "spec", "progressDeadlineSeconds");
  return deadline && *deadline != std::numeric_limits<std::int32_t>::max();
}

bool is_complete(const Json& deployment, const Json& status, Replicas wanted) {
  return count(status, "updatedReplicas") == wanted && count(status, "replicas") == wanted &&
         count(status, "availableReplicas") == wanted && count(status, "observedGeneration") >= count(deployment, "metadata", "generation");
}

bool has_progressed(const Json& before, const Json& after) {
  const auto old_replicas = [](const Json& s) { return count(s, "replicas") - count(s, "updatedReplicas"); };
  return count(after, "updatedReplicas") > count(before, "updatedReplicas") || old_replicas(after) < old_replicas(before) ||
         count(after, "readyReplicas") > count(before, "readyReplicas") ||
         count(after, "availableReplicas") > count(before, "availableReplicas");
}

}  // namespace

void DeploymentController::note_pause(Rollout& rollout) {
  if (!has_deadline(rollout.deployment)) return;
  const Json* progressing = rollout.conditions.find("Progressing");
  const auto reason = progressing ? text(*progressing, "reason") : std::string_view{};
  if (reason == "ProgressDeadlineExceeded") return;
  const bool paused = truth(rollout.deployment, "spec", "paused");
  if (paused && reason != "DeploymentPaused") {
    rollout.conditions.set("Progressing", "Unknown", "DeploymentPaused", "Deployment is paused", true);
  } else if (!paused && reason == "DeploymentPaused") {
    rollout.conditions.set("Progressing", "Unknown", "DeploymentResumed", "Deployment is resumed", true);
  }
}

Task<Status> DeploymentController::write_status(Rollout& rollout) {
  const Json& deployment = rollout.deployment;
  std::int64_t replicas = 0, ready = 0, available = 0, asked = 0;
  const Json* failure = nullptr;
  for (const Json* set : rollout.sets()) {
    replicas += count(*set, "status", "replicas");
    ready += count(*set, "status", "readyReplicas");
    available += count(*set, "status", "availableReplicas");
    asked += count(*set, "spec", "replicas");
    const Conditions conditions(items(*set, "status", "conditions"));
    if (conditions.find("ReplicaFailure")) failure = set;
  }
  Json status = json::object{{"observedGeneration", count(deployment, "metadata", "generation")}};
  auto& out = status.get_object();
  const auto put = [&out](std::string_view name, std::int64_t n) {
    if (n > 0) out[name] = n;
  };
  put("replicas", replicas);
  put("updatedReplicas", rollout.fresh ? count(*rollout.fresh, "status", "replicas") : 0);
  put("readyReplicas", ready);
  put("availableReplicas", available);
  put("unavailableReplicas", asked - available);
  if (const Json* collisions = at(deployment, "status", "collisionCount")) out["collisionCount"] = *collisions;

  if (available >= rollout.wanted - rollout.strategy.max_unavailable) {
    rollout.conditions.set("Available", "True", "MinimumReplicasAvailable", "Deployment has minimum availability.", true);
  } else {
    rollout.conditions.set("Available", "False", "MinimumReplicasUnavailable", "Deployment does not have minimum availability.", true);
  }
  if (failure) {
    const Conditions conditions(items(*failure, "status", "conditions"));
    const Json& condition = *conditions.find("ReplicaFailure");
    rollout.conditions.set("ReplicaFailure", text(condition, "status"), text(condition, "reason"), text(condition, "message"), true);
  } else {
    rollout.conditions.remove("ReplicaFailure");
  }
  judge_progress(rollout, status);
  out["conditions"] = rollout.conditions.list();
  co_return co_await write_status_if_new(api_, stores_.deployments, rollout.deployment, std::move(status));
}

void DeploymentController::judge_progress(Rollout& rollout, const Json& status) {
  if (!has_deadline(rollout.deployment)) return rollout.conditions.remove("Progressing");
  if (truth(rollout.deployment, "spec", "paused")) return;
  const Json* progressing = rollout.conditions.find("Progressing");
  const auto reason = progressing ? text(*progressing, "reason") : std::string_view{};
  if (reason == "NewReplicaSetAvailable" && count(status, "replicas") == count(status, "updatedReplicas")) return;
  const std::string what = rollout.fresh ? fmt::format("ReplicaSet \"{}\"", name_of(*rollout.fresh))
                                         : fmt::format("Deployment \"{}\"", name_of(rollout.deployment));
  if (is_complete(rollout.deployment, status, rollout.wanted)) {
    rollout.conditions.set("Progressing", "True", "NewReplicaSetAvailable", what + " has successfully progressed.", true);
    return;
  }
  const Json* before = at(rollout.deployment, "status");
  if (has_progressed(before ? *before : Json(json::object{}), status)) {
    rollout.conditions.set("Progressing", "True", "ReplicaSetUpdated", what + " is progressing.", true);
    return rollout.conditions.touch("Progressing");
  }
  if (!progressing || reason == "ProgressDeadlineExceeded" || reason == "NewReplicaSetAvailable") return;
  const auto since = parse_time(text(*progressing, "lastUpdateTime"));
  if (!since) return;
  const auto due = *since + std::chrono::seconds(count(rollout.deployment, "spec", "progressDeadlineSeconds"));
  const auto left = std::chrono::ceil<std::chrono::milliseconds>(due - std::chrono::system_clock::now());
  if (left.count() <= 0) {
    rollout.conditions.set("Progressing", "False", "ProgressDeadlineExceeded", what + " has timed out progressing.", true);
  } else {
    enqueue_after(rollout.key, left);
  }
}

}  // namespace fairway::controllers
