#include "controllers/pod_gc.h"

#include "controllers/json.h"

namespace fairway::controllers {

PodGcController::PodGcController(Context& context) : Controller(context, "pod-gc") {
  stores_.pods.subscribe([this](const Key& key, const Json*, const Json* after) {
    if (!after) return;
    const auto node = text(*after, "spec", "nodeName");
    if (node.empty() ? is_terminating(*after) : started() && !stores_.nodes.find(node)) enqueue(key);
  });
  stores_.nodes.subscribe([this](const Key& node, const Json*, const Json* after) {
    missing_.erase(node);
    if (after) return;
    for (const Json* pod : stores_.pods.by(kByNode, node)) enqueue(key_for(namespace_of(*pod), name_of(*pod)));
  });
}

void PodGcController::on_start() {
  for (const Json* pod : stores_.pods.all()) enqueue(key_for(namespace_of(*pod), name_of(*pod)));
}

Task<Status> PodGcController::reconcile(Key key) {
  const Json* pod = stores_.pods.find(key);
  if (!pod) co_return Status{};
  const std::string node(text(*pod, "spec", "nodeName")), uid(uid_of(*pod));
  if (node.empty()) {
    if (!is_terminating(*pod)) co_return Status{};
    co_return co_await remove(std::move(key), uid);
  }
  if (stores_.nodes.find(node)) co_return Status{};
  // A node may be registered a moment after its pods were seen, or again: wait, then ask the API itself.
  const auto now = std::chrono::steady_clock::now();
  const auto since = missing_.try_emplace(node, now).first->second;
  const auto left = since + context_.config.pod_gc_quarantine - now;
  if (left.count() > 0) {
    enqueue_after(key, std::chrono::ceil<std::chrono::milliseconds>(left));
    co_return Status{};
  }
  auto live = co_await api_.get(stores_.nodes.ref_to(node));
  if (live.ok()) co_return Status{};
  if (live.error().code != Code::kNotFound) co_return std::move(live).error();
  co_return co_await remove(std::move(key), uid);
}

Task<Status> PodGcController::remove(Key key, std::string uid) {
  k8s::DeleteOptions options;
  options.grace_period_seconds = 0;
  options.precondition_uid = std::move(uid);
  co_return co_await api_.ensure_removed(stores_.pods.ref_to(key), std::move(options));
}

}  // namespace fairway::controllers
