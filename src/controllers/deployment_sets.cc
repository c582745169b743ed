#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "controllers/deployment.h"
#include "controllers/owners.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kDeploymentController = "deployment-controller";
constexpr std::string_view kRevision = "deployment.kubernetes.io/revision";
constexpr std::string_view kRevisionHistory = "deployment.kubernetes.io/revision-history";
constexpr std::string_view kDesired = "deployment.kubernetes.io/desired-replicas";
constexpr std::string_view kMax = "deployment.kubernetes.io/max-replicas";
constexpr std::string_view kLastApplied = "kubectl.kubernetes.io/last-applied-configuration";

std::int64_t number_in(std::string_view digits) {
  std::int64_t n = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), n);
  return n;
}

std::int64_t revision_of(const Json& set) { return number_in(text(set, "metadata", "annotations", kRevision)); }

bool created_before(const Json& a, const Json& b) {
  const auto key = [](const Json& o) { return std::pair(text(o, "metadata", "creationTimestamp"), name_of(o)); };
  return key(a) < key(b);
}

bool is_own_annotation(std::string_view key) {
  return key == kRevision || key == kRevisionHistory || key == kDesired || key == kMax || key == kLastApplied;
}

// What the Deployment's annotations mean for a set: all of them but those that are each object's own.
void copy_annotations(const Json& deployment, Json& set) {
  auto& annotations = place(set, "metadata", "annotations");
  for (const auto& [key, value] : fields(deployment, "metadata", "annotations")) {
    if (!is_own_annotation(key)) annotations[key] = value;
  }
}

void note_size(Json& set, Replicas wanted, Replicas ceiling) {
  auto& annotations = place(set, "metadata", "annotations");
  annotations[kDesired] = std::to_string(wanted);
  annotations[kMax] = std::to_string(ceiling);
}

}  // namespace

void DeploymentController::sort_sets(Rollout& rollout, std::vector<Json> sets) {
  std::sort(sets.begin(), sets.end(), created_before);
  const Json* wanted = at(rollout.deployment, "spec", "template");
  for (auto& set : sets) {
    const Json* has = at(set, "spec", "template");
    if (!rollout.fresh && wanted && has && same_template(*wanted, *has)) {
      rollout.fresh = std::move(set);
    } else {
      rollout.old.push_back(std::move(set));
    }
  }
}

Task<Status> DeploymentController::ensure_fresh(Rollout& rollout) {
  std::int64_t revision = 0;
  for (const auto& set : rollout.old) revision = std::max(revision, revision_of(set));
  ++revision;
  if (rollout.fresh) {
    FW_CO_TRY(co_await update_fresh(rollout, revision));
  } else {
    FW_CO_TRY(co_await make_fresh(rollout, revision));
  }
  co_return co_await note_revision(rollout, std::max(revision, revision_of(*rollout.fresh)));
}

Task<Status> DeploymentController::make_fresh(Rollout& rollout, std::int64_t revision) {
  const Json& deployment = rollout.deployment;
  const Json* pod_template = at(deployment, "spec", "template");
  if (!pod_template) co_return make_error(Code::kInvalid, "spec.template: Required value");
  const std::string hash = template_hash(*pod_template, count(deployment, "status", "collisionCount"));
  const std::string name = fmt::format("{}-{}", name_of(deployment), hash);

  Json set = json::object{{"apiVersion", "apps/v1"}, {"kind", "ReplicaSet"}};
  auto& metadata = place(set, "metadata");
  metadata["name"] = name;
  metadata["namespace"] = namespace_of(deployment);
  metadata["labels"] = fields(*pod_template, "metadata", "labels");
  metadata["ownerReferences"] = json::array{controller_reference(deployment, kDeploymentType)};
  place(set, "metadata", "labels")[kTemplateHash] = hash;
  copy_annotations(deployment, set);
  place(set, "metadata", "annotations")[kRevision] = std::to_string(revision);
  note_size(set, rollout.wanted, rollout.ceiling());
  auto& spec = place(set, "spec");
  spec["selector"] = fields(deployment, "spec", "selector");
  place(set, "spec", "selector", "matchLabels")[kTemplateHash] = hash;
  spec["template"] = *pod_template;
  place(set, "spec", "template", "metadata", "labels")[kTemplateHash] = hash;
  spec["minReadySeconds"] = count(deployment, "spec", "minReadySeconds");
  const Replicas replicas = next_new_replicas(rollout.strategy, rollout.wanted, 0, rollout.all_replicas());
  spec["replicas"] = replicas;

  ResourceRef ref = stores_.replica_sets.ref();
  ref.ns = namespace_of(deployment);
  auto made = co_await api_.create(std::move(ref), std::move(set));
  if (!made.ok()) {
    if (made.error().code == Code::kAlreadyExists) co_return co_await adopt_name_clash(rollout, name);
    const auto message = fmt::format("Failed to create new replica set \"{}\": {}", name, made.error().message);
    rollout.conditions.set("Progressing", "False", "ReplicaSetCreateError", message, true);
    context_.events.warning(kDeploymentController, deployment, kDeploymentType, "ReplicaSetCreateError", message);
    co_return std::move(made).error();
  }
  if (replicas > 0) {
    context_.events.normal(kDeploymentController, deployment, kDeploymentType, "ScalingReplicaSet",
                           fmt::format("Scaled up replica set {} from 0 to {}", name, replicas));
  }
  rollout.conditions.set("Progressing", "True", "NewReplicaSetCreated", fmt::format("Created new replica set \"{}\"", name), true);
  rollout.conditions.touch("Progressing");
  co_await stores_.replica_sets.caught_up_with(*made);
  rollout.fresh = std::move(*made);
  co_return Status{};
}

// The name is taken. If by a set of ours with this very template, the copy was old: it is the fresh one. Else the
// hash has met another's, and the collision count makes another hash in the next round.
Task<Status> DeploymentController::adopt_name_clash(Rollout& rollout, std::string name) {
  const Key key = key_for(namespace_of(rollout.deployment), name);
  auto holder = co_await api_.get(stores_.replica_sets.ref_to(key));
  if (!holder.ok()) co_return std::move(holder).error();
  const Json* has = at(*holder, "spec", "template");
  if (has && is_controlled_by(*holder, uid_of(rollout.deployment)) && same_template(*has, *at(rollout.deployment, "spec", "template"))) {
    rollout.fresh = std::move(*holder);
    co_return Status{};
  }
  Json status = fields(rollout.deployment, "status");
  status.get_object()["collisionCount"] = count(rollout.deployment, "status", "collisionCount") + 1;
  FW_CO_TRY(co_await write_status_if_new(api_, stores_.deployments, rollout.deployment, std::move(status)));
  co_return make_error(Code::kConflict, fmt::format("replica set \"{}\": the name is taken by another", name));
}

Task<Status> DeploymentController::update_fresh(Rollout& rollout, std::int64_t revision) {
  Json set = *rollout.fresh;
  copy_annotations(rollout.deployment, set);
  const std::int64_t was = revision_of(set);
  if (was < revision) {
    auto& annotations = place(set, "metadata", "annotations");
    if (was > 0) {
      const auto history = as_text(annotations.if_contains(kRevisionHistory));
      annotations[kRevisionHistory] = history.empty() ? std::to_string(was) : fmt::format("{},{}", history, was);
    }
    annotations[kRevision] = std::to_string(revision);
  }
  const std::int64_t min_ready = count(rollout.deployment, "spec", "minReadySeconds");
  if (count(set, "spec", "minReadySeconds") != min_ready) place(set, "spec")["minReadySeconds"] = min_ready;
  if (!rollout.conditions.find("Progressing")) {
    rollout.conditions.set("Progressing", "True", "FoundNewReplicaSet", fmt::format("Found new replica set \"{}\"", name_of(set)), true);
  }
  if (set == *rollout.fresh) co_return Status{};
  auto written = co_await api_.update(stores_.replica_sets.ref_to(key_for(namespace_of(set), name_of(set))), std::move(set));
  if (!written.ok()) co_return std::move(written).error();
  co_await stores_.replica_sets.caught_up_with(*written);
  rollout.fresh = std::move(*written);
  co_return Status{};
}

Task<Status> DeploymentController::note_revision(Rollout& rollout, std::int64_t revision) {
  const std::string digits = std::to_string(revision);
  if (text(rollout.deployment, "metadata", "annotations", kRevision) == digits) co_return Status{};
  Json patch = json::object{{"metadata", {{"uid", uid_of(rollout.deployment)}, {"annotations", {{kRevision, digits}}}}}};
  auto written = co_await api_.patch(stores_.deployments.ref_to(rollout.key), k8s::PatchType::kMerge, std::move(patch));
  if (!written.ok()) co_return std::move(written).error();
  co_await stores_.deployments.caught_up_with(*written);
  // A spec that changed meanwhile is the next round's; only the version is taken over, for the status that follows.
  if (count(*written, "metadata", "generation") == count(rollout.deployment, "metadata", "generation"))
    rollout.deployment = std::move(*written);
  co_return Status{};
}

bool DeploymentController::needs_scaling(const Rollout& rollout) const {
  const auto is_off = [&](const Json& set) {
    const auto desired = text(set, "metadata", "annotations", kDesired);
    return count(set, "spec", "replicas") > 0 && !desired.empty() && number_in(desired) != rollout.wanted;
  };
  return (rollout.fresh && is_off(*rollout.fresh)) || std::any_of(rollout.old.begin(), rollout.old.end(), is_off);
}

Task<Status> DeploymentController::scale(Rollout& rollout) {
  std::vector<Json*> active;
  for (Json* set : rollout.sets()) {
    if (count(*set, "spec", "replicas") > 0) active.push_back(set);
  }
  if (active.size() <= 1) {
    Json* only = !active.empty() ? active.front() : rollout.fresh ? &*rollout.fresh : rollout.old.empty() ? nullptr : &rollout.old.back();
    if (!only) co_return Status{};
    co_return co_await resize(rollout, *only, rollout.wanted);
  }
  const Json* fresh = rollout.fresh ? &*rollout.fresh : nullptr;
  if (fresh && count(*fresh, "spec", "replicas") == rollout.wanted && count(*fresh, "status", "availableReplicas") == rollout.wanted) {
    for (auto& set : rollout.old) FW_CO_TRY(co_await resize(rollout, set, 0));
    co_return Status{};
  }
  if (rollout.strategy.recreate) co_return Status{};
  const bool growing = rollout.ceiling() > rollout.all_replicas();
  std::stable_sort(active.begin(), active.end(), [growing](const Json* a, const Json* b) {
    const auto size_a = count(*a, "spec", "replicas"), size_b = count(*b, "spec", "replicas");
    if (size_a != size_b) return size_a > size_b;
    return growing ? created_before(*b, *a) : created_before(*a, *b);
  });
  std::vector<Share> shares;
  for (const Json* set : active) {
    shares.push_back({count(*set, "spec", "replicas"), number_in(text(*set, "metadata", "annotations", kMax))});
  }
  const auto next = proportional(shares, rollout.ceiling());
  for (std::size_t i = 0; i < next.size(); ++i) FW_CO_TRY(co_await resize(rollout, *active[i], next[i]));
  co_return Status{};
}

Task<Status> DeploymentController::resize(const Rollout& rollout, Json& set, Replicas replicas) {
  const Replicas was = count(set, "spec", "replicas");
  Json next = set;
  note_size(next, rollout.wanted, rollout.ceiling());
  place(next, "spec")["replicas"] = replicas;
  // An idle old set keeps its annotations: to touch all of them at each scaling would be work for nothing.
  if (next == set || (was == 0 && replicas == 0)) co_return Status{};
  const std::string name(name_of(set));
  auto written = co_await api_.update(stores_.replica_sets.ref_to(key_for(namespace_of(set), name)), std::move(next));
  if (!written.ok()) co_return std::move(written).error();
  if (replicas != was) {
    context_.events.normal(kDeploymentController, rollout.deployment, kDeploymentType, "ScalingReplicaSet",
                           fmt::format("Scaled {} replica set {} from {} to {}", replicas > was ? "up" : "down", name, was, replicas));
  }
  co_await stores_.replica_sets.caught_up_with(*written);
  set = std::move(*written);
  co_return Status{};
}

Task<Status> DeploymentController::retire(Rollout& rollout) {
  const std::int64_t limit = number(rollout.deployment, "spec", "revisionHistoryLimit").value_or(10);
  const auto idle = [](const Json& set) {
    return !is_terminating(set) && count(set, "spec", "replicas") == 0 && count(set, "status", "replicas") == 0 &&
           count(set, "metadata", "generation") <= count(set, "status", "observedGeneration");
  };
  std::vector<Json> candidates;
  std::copy_if(rollout.old.begin(), rollout.old.end(), std::back_inserter(candidates), [](const Json& s) { return !is_terminating(s); });
  std::sort(candidates.begin(), candidates.end(), [](const Json& a, const Json& b) { return revision_of(a) < revision_of(b); });
  for (std::size_t i = 0; i + limit < candidates.size(); ++i) {
    const Json& set = candidates[i];
    if (!idle(set)) continue;
    k8s::DeleteOptions options;
    options.precondition_uid = uid_of(set);
    options.propagation_policy = "Background";
    FW_CO_TRY(co_await api_.ensure_removed(stores_.replica_sets.ref_to(key_for(namespace_of(set), name_of(set))), std::move(options)));
  }
  co_return Status{};
}

}  // namespace fairway::controllers
