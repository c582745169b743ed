#include "controllers/node_lifecycle.h"

#include <fmt/format.h>

#include <algorithm>

#include "controllers/conditions.h"
#include "controllers/pod.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kNodeController = "node-controller";
constexpr std::string_view kNotReady = "node.kubernetes.io/not-ready";
constexpr std::string_view kUnreachable = "node.kubernetes.io/unreachable";
constexpr std::string_view kUnschedulable = "node.kubernetes.io/unschedulable";
constexpr std::string_view kLeaseNamespace = "kube-node-lease";
constexpr std::string_view kMarkedReason = "NodeNotReady";  // in the Ready condition of pods that were marked here

std::string_view ready_status(const Json& node) {
  for (const auto& condition : items(node, "status", "conditions")) {
    if (text(condition, "type") == "Ready") return text(condition, "status");
  }
  return {};
}

std::string_view heartbeat_of(const Json& node) {
  for (const auto& condition : items(node, "status", "conditions")) {
    if (text(condition, "type") == "Ready") return text(condition, "lastHeartbeatTime");
  }
  return {};
}

}  // namespace

json::array taints_for(const Json& node, const std::string& now) {
  const auto ready = ready_status(node);
  struct Wanted {
    std::string_view key, effect;
    bool on;
  };
  const bool not_ready = ready == "False" || ready.empty(), unreachable = ready == "Unknown";
  const Wanted ours[] = {{kNotReady, "NoSchedule", not_ready},
                         {kNotReady, "NoExecute", ready == "False"},
                         {kUnreachable, "NoSchedule", unreachable},
                         {kUnreachable, "NoExecute", unreachable},
                         {kUnschedulable, "NoSchedule", truth(node, "spec", "unschedulable")}};
  const auto is = [](const Json& taint, const Wanted& wanted) {
    return text(taint, "key") == wanted.key && text(taint, "effect") == wanted.effect;
  };
  json::array taints;
  for (const auto& taint : items(node, "spec", "taints")) {
    const auto own = std::find_if(std::begin(ours), std::end(ours), [&](const Wanted& w) { return is(taint, w); });
    if (own == std::end(ours) || own->on) taints.push_back(taint);
  }
  for (const auto& wanted : ours) {
    if (!wanted.on || std::any_of(taints.begin(), taints.end(), [&](const Json& t) { return is(t, wanted); })) continue;
    taints.push_back(json::object{{"key", wanted.key}, {"effect", wanted.effect}, {"timeAdded", now}});
  }
  return taints;
}

NodeLifecycleController::NodeLifecycleController(Context& context) : Controller(context, "node-lifecycle") {
  stores_.nodes.subscribe([this](const Key& key, const Json*, const Json* after) {
    saw_node(key, after);
    enqueue(key);
  });
  stores_.leases.subscribe([this](const Key&, const Json*, const Json* after) { saw_lease(after); });
  stores_.pods.subscribe([this](const Key&, const Json* before, const Json* after) {
    // A pod that came to a tainted node, or says that it is ready on a silent one.
    if (after && !text(*after, "spec", "nodeName").empty() &&
        (!before || is_ready(*after) != is_ready(*before) || text(*before, "spec", "nodeName").empty()))
      enqueue(std::string(text(*after, "spec", "nodeName")));
  });
}

void NodeLifecycleController::on_start() {
  last_look_ = std::chrono::steady_clock::now();
  monitor_ = api_.loop().every(context_.config.node_monitor_period, [this] { look(); });
}

void NodeLifecycleController::look() {
  // Time in which this process did not run (stopped, swapped out, a slow disk) is not the nodes' silence.
  const auto now = std::chrono::steady_clock::now();
  const auto asleep = now - last_look_ - context_.config.node_monitor_period;
  last_look_ = now;
  for (auto& [node, health] : health_) {
    if (asleep > context_.config.node_monitor_period) health.moved_at += asleep;
    enqueue(node);
  }
}

void NodeLifecycleController::saw_node(const Key& key, const Json* after) {
  if (!after) {
    health_.erase(key);
    return;
  }
  const auto [entry, is_new] = health_.try_emplace(key);
  const auto heartbeat = heartbeat_of(*after);
  if (is_new || entry->second.heartbeat != heartbeat) {
    entry->second.heartbeat = heartbeat;
    entry->second.moved_at = std::chrono::steady_clock::now();
  }
}

void NodeLifecycleController::saw_lease(const Json* lease) {
  if (!lease || namespace_of(*lease) != kLeaseNamespace) return;
  const auto entry = health_.find(std::string(name_of(*lease)));
  if (entry == health_.end()) return;
  const auto renewed = text(*lease, "spec", "renewTime");
  if (entry->second.lease_time == renewed) return;
  entry->second.lease_time = renewed;
  entry->second.moved_at = std::chrono::steady_clock::now();
}

bool NodeLifecycleController::is_silent(const Key& key) const {
  const auto entry = health_.find(key);
  return entry != health_.end() && std::chrono::steady_clock::now() - entry->second.moved_at > context_.config.node_grace_period;
}

// When nobody is heard, the fault is most likely on our side: nothing is evicted then (Kubernetes: full disruption).
bool NodeLifecycleController::all_silent() const {
  return std::all_of(health_.begin(), health_.end(), [this](const auto& entry) { return is_silent(entry.first); });
}

Task<Status> NodeLifecycleController::reconcile(Key key) {
  const Json* found = stores_.nodes.find(key);
  if (!found || is_terminating(*found)) co_return Status{};
  if (is_silent(key) && ready_status(*found) != "Unknown") FW_CO_TRY(co_await mark_unknown(*found));
  found = stores_.nodes.find(key);
  if (!found) co_return Status{};
  const Json node = *found;
  FW_CO_TRY(co_await write_taints(node));
  const auto ready = ready_status(node);
  if (ready == "True") FW_CO_TRY(co_await unmark_pods(node));
  else if (!ready.empty()) FW_CO_TRY(co_await mark_pods_not_ready(node));
  co_return co_await evict(node);
}

Task<Status> NodeLifecycleController::mark_unknown(Json node) {
  Conditions conditions(items(node, "status", "conditions"));
  for (const auto* type : {"Ready", "MemoryPressure", "DiskPressure", "PIDPressure"}) {
    const Json* condition = conditions.find(type);
    if (!condition && std::string_view(type) != "Ready") continue;
    const bool ever = condition != nullptr;
    conditions.set(type, "Unknown", ever ? "NodeStatusUnknown" : "NodeStatusNeverUpdated",
                   ever ? "Kubelet stopped posting node status." : "Kubelet never posted node status.");
  }
  Json status = fields(node, "status");
  status.get_object()["conditions"] = conditions.list();
  context_.events.normal(kNodeController, node, kNodeType, "NodeNotReady",
                         fmt::format("Node {} status is now: NodeNotReady", name_of(node)));
  co_return co_await write_status_if_new(api_, stores_.nodes, std::move(node), std::move(status));
}

Task<Status> NodeLifecycleController::write_taints(Json node) {
  auto taints = taints_for(node, render_time(std::chrono::system_clock::now()));
  if (taints == items(node, "spec", "taints")) co_return Status{};
  if (taints.empty()) place(node, "spec").erase("taints");
  else place(node, "spec")["taints"] = std::move(taints);
  const Key key(name_of(node));
  auto written = co_await api_.update(stores_.nodes.ref_to(key), std::move(node));
  if (!written.ok()) {
    if (written.error().code == Code::kNotFound) co_return Status{};
    co_return std::move(written).error();
  }
  co_await stores_.nodes.caught_up_with(*written);
  co_return Status{};
}

Task<Status> NodeLifecycleController::mark_pods_not_ready(Json node) {
  std::vector<Json> ready;
  for (const Json* pod : stores_.pods.by(kByNode, name_of(node))) {
    if (is_ready(*pod)) ready.push_back(*pod);
  }
  for (Json& pod : ready) {
    Conditions conditions(items(pod, "status", "conditions"));
    conditions.set("Ready", "False", kMarkedReason, "The node has stopped posting its status.");
    Json status = fields(pod, "status");
    status.get_object()["conditions"] = conditions.list();
    context_.events.warning(kNodeController, pod, kPodType, "NodeNotReady", "Node is not ready");
    FW_CO_TRY(co_await write_status_if_new(api_, stores_.pods, std::move(pod), std::move(status)));
  }
  co_return Status{};
}

// The node is back, and what its kubelet last said of the containers holds again. It does not say it again by itself:
// for it nothing has changed.
Task<Status> NodeLifecycleController::unmark_pods(Json node) {
  std::vector<Json> marked;
  for (const Json* pod : stores_.pods.by(kByNode, name_of(node))) {
    const Json* ready = pod_condition(*pod, "Ready");
    const Json* containers = pod_condition(*pod, "ContainersReady");
    if (ready && text(*ready, "reason") == kMarkedReason && containers && text(*containers, "status") == "True") marked.push_back(*pod);
  }
  for (Json& pod : marked) {
    Conditions conditions(items(pod, "status", "conditions"));
    conditions.set("Ready", "True", "", "");
    Json status = fields(pod, "status");
    status.get_object()["conditions"] = conditions.list();
    FW_CO_TRY(co_await write_status_if_new(api_, stores_.pods, std::move(pod), std::move(status)));
  }
  co_return Status{};
}

Task<Status> NodeLifecycleController::evict(Json node) {
  if (all_silent()) co_return Status{};
  const auto now = std::chrono::system_clock::now();
  const Key node_key(name_of(node));
  std::vector<Json> due;
  for (const Json* pod : stores_.pods.by(kByNode, name_of(node))) {
    if (is_terminating(*pod)) continue;
    std::optional<WallTime> end;
    for (const auto& taint : items(node, "spec", "taints")) {
      if (text(taint, "effect") != "NoExecute") continue;
      const auto tolerance = tolerance_of(*pod, taint);
      if (tolerance.tolerated && !tolerance.seconds) continue;
      const auto since = parse_time(text(taint, "timeAdded")).value_or(now);
      const auto until = tolerance.tolerated ? since + std::chrono::seconds(*tolerance.seconds) : now;
      if (!end || until < *end) end = until;
    }
    if (!end) continue;
    if (*end <= now) due.push_back(*pod);
    else enqueue_after(node_key, std::chrono::ceil<std::chrono::milliseconds>(*end - now));
  }
  for (const Json& pod : due) {
    const Key key = key_for(namespace_of(pod), name_of(pod));
    context_.events.normal("taint-eviction-controller", pod, kPodType, "TaintManagerEviction",
                           fmt::format("Marking for deletion Pod {}", key));
    k8s::DeleteOptions options;
    options.precondition_uid = uid_of(pod);
    FW_CO_TRY(co_await api_.ensure_removed(stores_.pods.ref_to(key), std::move(options)));
  }
  co_return Status{};
}

}  // namespace fairway::controllers
