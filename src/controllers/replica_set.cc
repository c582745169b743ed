#include "controllers/replica_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "controllers/conditions.h"
#include "controllers/owners.h"
#include "controllers/pod.h"
#include "controllers/selector.h"

namespace fairway::controllers {
namespace {
constexpr std::string_view kReplicaSetController = "replicaset-controller";
// A round makes so many pods at most, then looks again: a huge `replicas` must not hold a worker for minutes.
constexpr std::int64_t kBurst = 500;
}  // namespace

Json pod_from_template(const Json& owner, Events::About type, std::string_view prefix) {
  Json pod = json::object{{"apiVersion", "v1"}, {"kind", "Pod"}};
  auto& metadata = place(pod, "metadata");
  metadata["generateName"] = prefix;
  metadata["namespace"] = namespace_of(owner);
  metadata["labels"] = fields(owner, "spec", "template", "metadata", "labels");
  if (const auto& annotations = fields(owner, "spec", "template", "metadata", "annotations"); !annotations.empty()) {
    metadata["annotations"] = annotations;
  }
  if (const auto& finalizers = items(owner, "spec", "template", "metadata", "finalizers"); !finalizers.empty()) {
    metadata["finalizers"] = finalizers;
  }
  metadata["ownerReferences"] = json::array{controller_reference(owner, type)};
  pod.get_object()["spec"] = fields(owner, "spec", "template", "spec");
  return pod;
}

ReplicaSetController::ReplicaSetController(Context& context) : Controller(context, "replicaset") {
  stores_.replica_sets.subscribe([this](const Key& key, const Json*, const Json*) { enqueue(key); });
  stores_.pods.subscribe([this](const Key&, const Json* before, const Json* after) {
    if (before) pod_changed(*before);
    if (after) pod_changed(*after);
  });
}

void ReplicaSetController::pod_changed(const Json& pod) {
  if (const Json* owner = controller_of(pod)) {
    if (text(*owner, "kind") == "ReplicaSet") enqueue(key_for(namespace_of(pod), text(*owner, "name")));
    return;
  }
  for (const Json* set : stores_.replica_sets.all_in(namespace_of(pod))) {  // an orphan: who would adopt it?
    if (LabelSelector::of(at(*set, "spec", "selector")).matches(fields(pod, "metadata", "labels"))) {
      enqueue(key_for(namespace_of(*set), name_of(*set)));
    }
  }
}

Task<Status> ReplicaSetController::reconcile(Key key) {
  const Json* found = stores_.replica_sets.find(key);
  if (!found) co_return Status{};
  const Json set = *found;
  auto claimed = co_await claim(api_, stores_.pods, set, kReplicaSetType);
  if (!claimed.ok()) co_return std::move(claimed).error();
  std::vector<Json> active;
  for (const Json& pod : *claimed) {
    if (is_active(pod)) active.push_back(pod);
  }
  Status managed;
  const std::int64_t surplus = static_cast<std::int64_t>(active.size()) - count(set, "spec", "replicas");
  if (!is_terminating(set)) {
    if (surplus < 0) managed = co_await create_pods(set, std::min(-surplus, kBurst));
    if (surplus > 0) managed = co_await delete_pods(set, active, std::min(surplus, kBurst));
  }
  // Not the pods made just now: their events bring the key back, and status follows what was seen.
  FW_CO_TRY(co_await write_status(set, std::move(active), managed));
  co_return managed;
}

Task<Status> ReplicaSetController::create_pods(Json set, std::int64_t missing) {
  const std::string prefix = fmt::format("{}-", name_of(set));
  for (std::int64_t i = 0; i < missing; ++i) {
    ResourceRef ref = stores_.pods.ref();
    ref.ns = namespace_of(set);
    auto made = co_await api_.create(std::move(ref), pod_from_template(set, kReplicaSetType, prefix));
    if (!made.ok()) {
      // A namespace that is being deleted takes nothing new: no use in saying so for each pod.
      if (made.error().message.find("is being terminated") != std::string::npos) co_return Status{};
      context_.events.warning(kReplicaSetController, set, kReplicaSetType, "FailedCreate",
                              fmt::format("Error creating: {}", made.error().message));
      co_return std::move(made).error();
    }
    context_.events.normal(kReplicaSetController, set, kReplicaSetType, "SuccessfulCreate", fmt::format("Created pod: {}", name_of(*made)));
    if (i + 1 == missing) co_await stores_.pods.caught_up_with(*made);
  }
  co_return Status{};
}

Task<Status> ReplicaSetController::delete_pods(Json set, std::vector<Json> active, std::int64_t surplus) {
  std::map<std::string, int, std::less<>> on_node;
  for (const Json& pod : active) ++on_node[std::string(text(pod, "spec", "nodeName"))];
  std::vector<Candidate> candidates;
  for (const Json& pod : active) candidates.push_back({&pod, on_node.find(text(pod, "spec", "nodeName"))->second});
  const auto now = std::chrono::system_clock::now();
  std::sort(candidates.begin(), candidates.end(), [now](const Candidate& a, const Candidate& b) { return goes_first(a, b, now); });
  for (std::int64_t i = 0; i < surplus; ++i) {
    const Json& pod = *candidates[i].pod;
    const Key key = key_for(namespace_of(pod), name_of(pod));
    k8s::DeleteOptions options;
    options.precondition_uid = uid_of(pod);
    auto removed = co_await api_.ensure_removed(stores_.pods.ref_to(key), std::move(options));
    if (!removed.ok()) {
      context_.events.warning(kReplicaSetController, set, kReplicaSetType, "FailedDelete",
                              fmt::format("Error deleting: {}", removed.error().message));
      co_return std::move(removed).error();
    }
    context_.events.normal(kReplicaSetController, set, kReplicaSetType, "SuccessfulDelete", fmt::format("Deleted pod: {}", name_of(pod)));
    co_await stores_.pods.removal_seen(key, std::string(uid_of(pod)));
  }
  co_return Status{};
}

Task<Status> ReplicaSetController::write_status(Json set, std::vector<Json> pods, Status managed) {
  const auto now = std::chrono::system_clock::now();
  std::int64_t labelled = 0, ready = 0, available = 0;
  std::optional<std::chrono::milliseconds> until;
  for (const Json& pod : pods) {
    labelled += matches_map(fields(set, "spec", "template", "metadata", "labels"), fields(pod, "metadata", "labels"));
    ready += is_ready(pod);
    available += is_available(pod, count(set, "spec", "minReadySeconds"), now, &until);
  }
  const Key key = key_for(namespace_of(set), name_of(set));
  if (until) enqueue_after(key, *until);

  Json status =
      json::object{{"replicas", static_cast<std::int64_t>(pods.size())}, {"observedGeneration", count(set, "metadata", "generation")}};
  auto& fields_out = status.get_object();
  if (labelled) fields_out["fullyLabeledReplicas"] = labelled;
  if (ready) fields_out["readyReplicas"] = ready;
  if (available) fields_out["availableReplicas"] = available;
  Conditions conditions(items(set, "status", "conditions"));
  if (managed.ok()) {
    conditions.remove("ReplicaFailure");
  } else {
    const bool creating = static_cast<std::int64_t>(pods.size()) < count(set, "spec", "replicas");
    conditions.set("ReplicaFailure", "True", creating ? "FailedCreate" : "FailedDelete", managed.error().message);
  }
  if (!conditions.list().empty()) fields_out["conditions"] = conditions.list();
  co_return co_await write_status_if_new(api_, stores_.replica_sets, std::move(set), std::move(status));
}

}  // namespace fairway::controllers
