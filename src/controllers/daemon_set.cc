#include "controllers/daemon_set.h"

#include <fmt/format.h>

#include <algorithm>

#include "controllers/conditions.h"
#include "controllers/deployment_math.h"
#include "controllers/owners.h"
#include "controllers/pod.h"
#include "controllers/replica_set.h"
#include "controllers/selector.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kDaemonSetController = "daemonset-controller";
constexpr std::string_view kRevisionHash = "controller-revision-hash";

Json with_default_tolerations(Json pod) {
  auto& spec = place(pod, "spec");
  Json& slot = spec["tolerations"];
  json::array tolerations = as_items(&slot);
  const auto add = [&tolerations](std::string_view key, std::string_view effect) {
    tolerations.push_back(json::object{{"key", key}, {"operator", "Exists"}, {"effect", effect}});
  };
  add("node.kubernetes.io/not-ready", "NoExecute");
  add("node.kubernetes.io/unreachable", "NoExecute");
  for (const auto* key : {"disk-pressure", "memory-pressure", "pid-pressure", "unschedulable"}) {
    add(fmt::format("node.kubernetes.io/{}", key), "NoSchedule");
  }
  if (truth(pod, "spec", "hostNetwork")) add("node.kubernetes.io/network-unavailable", "NoSchedule");
  spec["tolerations"] = std::move(tolerations);
  return pod;
}

// The scheduler, not this controller, binds: it counts resources and honours taints. So the node is named as an affinity.
void pin_to_node(Json& pod, const std::string& node) {
  auto& required = place(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
  const json::array by_name{json::object{{"key", "metadata.name"}, {"operator", "In"}, {"values", json::array{node}}}};
  json::array terms = as_items(required.if_contains("nodeSelectorTerms"));
  if (terms.empty()) terms.emplace_back(json::object{});
  for (auto& term : terms) term.as_object()["matchFields"] = by_name;
  required["nodeSelectorTerms"] = std::move(terms);
}

std::string node_of(const Json& pod) {
  if (const auto bound = text(pod, "spec", "nodeName"); !bound.empty()) return std::string(bound);
  for (const auto& term :
       items(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution", "nodeSelectorTerms")) {
    for (const auto& field : items(term, "matchFields")) {
      if (text(field, "key") == "metadata.name" && items(field, "values").size() == 1)
        return std::string(as_text(&items(field, "values")[0]));
    }
  }
  return {};
}

bool is_older(const Json& a, const Json& b) {
  return std::pair(text(a, "metadata", "creationTimestamp"), name_of(a)) < std::pair(text(b, "metadata", "creationTimestamp"), name_of(b));
}

}  // namespace

NodeVerdict judge_node(const Json& daemon_set, const Json& node) {
  Json pod = json::object{{"spec", fields(daemon_set, "spec", "template", "spec")}};
  pod = with_default_tolerations(std::move(pod));
  const auto wanted = text(pod, "spec", "nodeName");
  if (!wanted.empty() && wanted != name_of(node)) return {};
  if (!matches_map(fields(pod, "spec", "nodeSelector"), fields(node, "metadata", "labels"))) return {};
  const Json* required = at(pod, "spec", "affinity", "nodeAffinity", "requiredDuringSchedulingIgnoredDuringExecution");
  if (required && !matches_node_terms(items(*required, "nodeSelectorTerms"), node)) return {};
  NodeVerdict verdict{true, true};
  for (const auto& taint : items(node, "spec", "taints")) {
    if (text(taint, "effect") == "PreferNoSchedule" || tolerates(pod, taint)) continue;
    verdict.should_run = false;
    if (text(taint, "effect") == "NoExecute") verdict.should_continue = false;
  }
  return verdict;
}

DaemonSetController::DaemonSetController(Context& context) : Controller(context, "daemonset") {
  stores_.daemon_sets.subscribe([this](const Key& key, const Json*, const Json*) { enqueue(key); });
  stores_.nodes.subscribe([this](const Key&, const Json* before, const Json* after) {
    // Heartbeats change nothing here.
    if (before && after && fields(*before, "spec") == fields(*after, "spec") &&
        fields(*before, "metadata", "labels") == fields(*after, "metadata", "labels"))
      return;
    for (const Json* set : stores_.daemon_sets.all()) enqueue(key_for(namespace_of(*set), name_of(*set)));
  });
  stores_.pods.subscribe([this](const Key&, const Json* before, const Json* after) {
    for (const Json* pod : {before, after}) {
      const Json* owner = pod ? controller_of(*pod) : nullptr;
      if (owner && text(*owner, "kind") == "DaemonSet") enqueue(key_for(namespace_of(*pod), text(*owner, "name")));
    }
  });
}

Task<Status> DaemonSetController::reconcile(Key key) {
  const Json* found = stores_.daemon_sets.find(key);
  if (!found) co_return Status{};
  const Json set = *found;
  auto pods = co_await claim(api_, stores_.pods, set, kDaemonSetType);
  if (!pods.ok()) co_return std::move(pods).error();
  const Plan plan = make_plan(set, std::move(*pods));
  Status done;
  if (!is_terminating(set)) done = co_await apply(plan);
  FW_CO_TRY(co_await write_status(plan));
  co_return done;
}

DaemonSetController::Plan DaemonSetController::make_plan(Json set, std::vector<Json> pods) const {
  Plan plan;
  if (const Json* pod_template = at(set, "spec", "template")) plan.hash = template_hash(*pod_template, 0);
  plan.set = std::move(set);
  for (auto& pod : pods) {
    const std::string node = node_of(pod);
    plan.on_node[node].push_back(std::move(pod));
  }
  for (const Json* node : stores_.nodes.all()) plan.nodes[std::string(name_of(*node))] = judge_node(plan.set, *node);
  for (const auto& [node, verdict] : plan.nodes) plan_node(plan, node, plan.on_node[node]);
  if (text(plan.set, "spec", "updateStrategy", "type") != "OnDelete") plan_update(plan);
  return plan;
}

void DaemonSetController::plan_node(Plan& plan, const std::string& node, const std::vector<Json>& pods) const {
  const NodeVerdict verdict = plan.nodes[node];
  std::vector<const Json*> live;
  for (const auto& pod : pods) {
    if (is_terminating(pod)) continue;
    if (is_finished(pod) || !verdict.should_continue) {
      plan.remove.push_back(pod);
    } else {
      live.push_back(&pod);
    }
  }
  const bool any_left = std::any_of(pods.begin(), pods.end(), [](const Json& pod) { return !is_finished(pod); });
  if (verdict.should_run && !any_left) plan.create.push_back(node);
  // Of several of one template, the oldest stays; an old and a new one may stand side by side during a surge.
  std::sort(live.begin(), live.end(), [](const Json* a, const Json* b) { return is_older(*a, *b); });
  std::set<bool> seen;
  for (const Json* pod : live) {
    if (!seen.insert(text(*pod, "metadata", "labels", kRevisionHash) == plan.hash).second) plan.remove.push_back(*pod);
  }
}

void DaemonSetController::plan_update(Plan& plan) const {
  const auto now = std::chrono::system_clock::now();
  const std::int64_t min_ready = count(plan.set, "spec", "minReadySeconds");
  const auto desired = std::count_if(plan.nodes.begin(), plan.nodes.end(), [](const auto& n) { return n.second.should_run; });
  const auto surge = int_or_percent(at(plan.set, "spec", "updateStrategy", "rollingUpdate", "maxSurge"), desired, true, 0);
  auto unavailable_room = int_or_percent(at(plan.set, "spec", "updateStrategy", "rollingUpdate", "maxUnavailable"), desired, true, 1);
  auto surge_room = surge;
  std::vector<const Json*> replaceable;  // old pods that serve, on nodes without a new one
  for (const auto& [node, verdict] : plan.nodes) {
    if (!verdict.should_run) continue;
    const Json *old = nullptr, *fresh = nullptr;
    bool leaving = false;
    for (const auto& pod : plan.on_node[node]) {
      if (is_finished(pod)) continue;
      leaving |= is_terminating(pod);
      if (is_terminating(pod)) continue;
      (text(pod, "metadata", "labels", kRevisionHash) == plan.hash ? fresh : old) = &pod;
    }
    const bool fresh_serves = fresh && is_available(*fresh, min_ready, now);
    const bool old_serves = old && is_available(*old, min_ready, now);
    if (!fresh_serves && !old_serves) --unavailable_room;
    if (old && fresh) --surge_room;
    if (old && (!old_serves || fresh_serves)) {
      plan.remove.push_back(*old);  // serves nobody, or is replaced
    } else if (old && !fresh && !leaving) {
      replaceable.push_back(old);
    }
  }
  for (const Json* old : replaceable) {
    if (surge > 0) {
      if (surge_room-- > 0) plan.create.push_back(node_of(*old));
    } else if (unavailable_room-- > 0) {
      plan.remove.push_back(*old);
    }
  }
}

Task<Status> DaemonSetController::apply(const Plan& plan) {
  for (const Json& pod : plan.remove) {
    const Key key = key_for(namespace_of(pod), name_of(pod));
    k8s::DeleteOptions options;
    options.precondition_uid = uid_of(pod);
    FW_CO_TRY(co_await api_.ensure_removed(stores_.pods.ref_to(key), std::move(options)));
    const bool failed = text(pod, "status", "phase") == "Failed";
    context_.events.normal(kDaemonSetController, plan.set, kDaemonSetType, failed ? "FailedDaemonPod" : "SuccessfulDelete",
                           failed ? fmt::format("Found failed daemon pod {} on node {}, will try to kill it", key, node_of(pod))
                                  : fmt::format("Deleted pod: {}", name_of(pod)));
    co_await stores_.pods.removal_seen(key, std::string(uid_of(pod)));
  }
  for (const auto& node : plan.create) {
    Json pod = with_default_tolerations(pod_from_template(plan.set, kDaemonSetType, fmt::format("{}-", name_of(plan.set))));
    place(pod, "metadata", "labels")[kRevisionHash] = plan.hash;
    pin_to_node(pod, node);
    ResourceRef ref = stores_.pods.ref();
    ref.ns = namespace_of(plan.set);
    auto made = co_await api_.create(std::move(ref), std::move(pod));
    if (!made.ok()) {
      context_.events.warning(kDaemonSetController, plan.set, kDaemonSetType, "FailedCreate",
                              fmt::format("Error creating: {}", made.error().message));
      co_return std::move(made).error();
    }
    context_.events.normal(kDaemonSetController, plan.set, kDaemonSetType, "SuccessfulCreate",
                           fmt::format("Created pod: {}", name_of(*made)));
    co_await stores_.pods.caught_up_with(*made);
  }
  co_return Status{};
}

Task<Status> DaemonSetController::write_status(const Plan& plan) {
  const auto now = std::chrono::system_clock::now();
  const std::int64_t min_ready = count(plan.set, "spec", "minReadySeconds");
  std::int64_t desired = 0, current = 0, misscheduled = 0, ready = 0, available = 0, updated = 0;
  std::optional<std::chrono::milliseconds> until;
  for (const auto& [node, verdict] : plan.nodes) {
    const auto on = plan.on_node.find(node);
    std::vector<const Json*> pods;
    if (on != plan.on_node.end()) {
      for (const auto& pod : on->second) {
        if (is_active(pod)) pods.push_back(&pod);
      }
    }
    desired += verdict.should_run;
    if (!verdict.should_run) misscheduled += !pods.empty();
    if (!verdict.should_run || pods.empty()) continue;
    ++current;
    const auto any = [&pods](auto is) { return std::any_of(pods.begin(), pods.end(), [&](const Json* pod) { return is(*pod); }); };
    ready += any(is_ready);
    available += any([&](const Json& pod) { return is_available(pod, min_ready, now, &until); });
    updated += any([&](const Json& pod) { return text(pod, "metadata", "labels", kRevisionHash) == plan.hash; });
  }
  if (until) enqueue_after(key_for(namespace_of(plan.set), name_of(plan.set)), *until);
  Json status = json::object{{"observedGeneration", count(plan.set, "metadata", "generation")},
                             {"desiredNumberScheduled", desired},
                             {"currentNumberScheduled", current},
                             {"numberMisscheduled", misscheduled},
                             {"numberReady", ready}};
  auto& out = status.get_object();
  if (updated) out["updatedNumberScheduled"] = updated;
  if (available) out["numberAvailable"] = available;
  if (desired > available) out["numberUnavailable"] = desired - available;
  co_return co_await write_status_if_new(api_, stores_.daemon_sets, plan.set, std::move(status));
}

}  // namespace fairway::controllers
