#include "controllers/scheduler.h"

#include <fmt/format.h>

#include "controllers/conditions.h"
#include "controllers/pod.h"
#include "controllers/scheduler_fit.h"

namespace fairway::controllers {
namespace {
constexpr std::string_view kName = "default-scheduler";
constexpr std::chrono::milliseconds kLookAgain{30'000};

bool wants_us(const Json& pod) {
  const auto scheduler = text(pod, "spec", "schedulerName");
  return text(pod, "spec", "nodeName").empty() && is_active(pod) && (scheduler.empty() || scheduler == kName) &&
         items(pod, "spec", "schedulingGates").empty();
}
}  // namespace

Scheduler::Scheduler(Context& context) : Controller(context, "scheduler", 1) {
  stores_.pods.subscribe([this](const Key& key, const Json* before, const Json* after) {
    if (!after) waiting_.erase(key);
    // Its own status is this controller's writing; looking again at each would never end.
    if (after && wants_us(*after) && (!before || uid_of(*before) != uid_of(*after) || fields(*before, "spec") != fields(*after, "spec")))
      enqueue(key);
    const bool frees_room =
        before && !text(*before, "spec", "nodeName").empty() && (!after || (is_finished(*after) && !is_finished(*before)));
    if (frees_room) retry_waiting();
  });
  stores_.nodes.subscribe([this](const Key&, const Json* before, const Json* after) {
    if (!after) return;
    if (!before || fields(*before, "spec") != fields(*after, "spec") ||
        fields(*before, "metadata", "labels") != fields(*after, "metadata", "labels") ||
        fields(*before, "status", "allocatable") != fields(*after, "status", "allocatable"))
      retry_waiting();
  });
}

void Scheduler::retry_waiting() {
  for (const Key& key : waiting_) enqueue(key);
}

Task<Status> Scheduler::reconcile(Key key) {
  const Json* pod = stores_.pods.find(key);
  waiting_.erase(key);
  if (!pod || !wants_us(*pod)) co_return Status{};
  std::vector<NodeView> views;
  for (const Json* node : stores_.nodes.all()) {
    if (is_terminating(*node)) continue;
    NodeView view{node, {}};
    for (const Json* other : stores_.pods.by(kByNode, name_of(*node))) {
      if (!is_finished(*other)) view.pods.push_back(other);
    }
    views.push_back(std::move(view));
  }
  Choice choice = choose_node(*pod, views);
  if (choice.node.empty()) co_return co_await refuse(std::move(key), *pod, std::move(choice.message));
  co_return co_await bind(std::move(key), *pod, std::move(choice.node));
}

Task<Status> Scheduler::bind(Key key, Json pod, std::string node) {
  Json binding = json::object{{"apiVersion", "v1"},
                              {"kind", "Binding"},
                              {"metadata", {{"name", name_of(pod)}, {"namespace", namespace_of(pod)}, {"uid", uid_of(pod)}}},
                              {"target", {{"apiVersion", "v1"}, {"kind", "Node"}, {"name", node}}}};
  auto bound = co_await api_.create(stores_.pods.ref_to(key, "binding"), std::move(binding));
  if (!bound.ok()) {
    if (bound.error().code == Code::kNotFound || bound.error().code == Code::kConflict) co_return Status{};  // gone, or bound by another
    context_.events.warning(kName, pod, kPodType, "FailedScheduling", fmt::format("binding rejected: {}", bound.error().message));
    co_return std::move(bound).error();
  }
  context_.events.normal(kName, pod, kPodType, "Scheduled", fmt::format("Successfully assigned {} to {}", key, node));
  const std::function<bool()> is_seen = [this, key] {
    const Json* now = stores_.pods.find(key);
    return !now || !text(*now, "spec", "nodeName").empty();
  };
  co_await stores_.pods.until(is_seen);
  co_return Status{};
}

Task<Status> Scheduler::refuse(Key key, Json pod, std::string message) {
  waiting_.insert(key);
  enqueue_after(key, kLookAgain);
  context_.events.warning(kName, pod, kPodType, "FailedScheduling", message);
  Conditions conditions(items(pod, "status", "conditions"));
  conditions.set("PodScheduled", "False", "Unschedulable", message);
  Json status = fields(pod, "status");
  status.get_object()["conditions"] = conditions.list();
  co_return co_await write_status_if_new(api_, stores_.pods, std::move(pod), std::move(status));
}

}  // namespace fairway::controllers
