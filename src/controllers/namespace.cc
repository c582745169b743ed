#include "controllers/namespace.h"

#include <fmt/format.h>

#include <algorithm>

#include "controllers/conditions.h"
#include "controllers/json.h"

namespace fairway::controllers {
namespace {
constexpr std::string_view kFinalizer = "kubernetes";
constexpr std::string_view kServiceAccount = "default";
constexpr std::string_view kRootCa = "kube-root-ca.crt";
constexpr std::chrono::milliseconds kLookAgain{500};

bool waits_for_us(const Json& ns) {
  const auto& finalizers = items(ns, "spec", "finalizers");
  return std::any_of(finalizers.begin(), finalizers.end(), [](const Json& f) { return as_text(&f) == kFinalizer; });
}
}  // namespace

NamespaceController::NamespaceController(Context& context) : Controller(context, "namespace") {
  stores_.namespaces.subscribe([this](const Key& key, const Json*, const Json*) { enqueue(key); });
  const auto furniture = [this](std::string_view name) {
    return [this, name](const Key& key, const Json*, const Json*) {
      const auto [ns, object] = split_key(key);
      if (object == name) enqueue(ns);
    };
  };
  stores_.service_accounts.subscribe(furniture(kServiceAccount));
  stores_.config_maps.subscribe(furniture(kRootCa));
}

Task<Status> NamespaceController::reconcile(Key key) {
  const Json* found = stores_.namespaces.find(key);
  if (!found) co_return Status{};
  const Json ns = *found;
  if (is_terminating(ns)) co_return co_await empty(ns);
  co_return co_await furnish(key);
}

Task<Status> NamespaceController::furnish(std::string ns) {
  if (!stores_.service_accounts.find(key_for(ns, kServiceAccount))) {
    Json account =
        json::object{{"apiVersion", "v1"}, {"kind", "ServiceAccount"}, {"metadata", {{"name", kServiceAccount}, {"namespace", ns}}}};
    ResourceRef ref = stores_.service_accounts.ref();
    ref.ns = ns;
    FW_CO_TRY(co_await api_.ensure_created(std::move(ref), std::move(account)));
  }
  const Json* root_ca = stores_.config_maps.find(key_for(ns, kRootCa));
  if (!root_ca) {
    Json map = json::object{
        {"apiVersion", "v1"},
        {"kind", "ConfigMap"},
        {"metadata",
         {{"name", kRootCa},
          {"namespace", ns},
          {"annotations", {{"kubernetes.io/description", "Contains a CA bundle that can be used to verify the kube-apiserver."}}}}},
        {"data", {{"ca.crt", context_.config.cluster_ca_pem}}}};
    ResourceRef ref = stores_.config_maps.ref();
    ref.ns = ns;
    co_return co_await api_.ensure_created(std::move(ref), std::move(map));
  }
  if (text(*root_ca, "data", "ca.crt") == context_.config.cluster_ca_pem) co_return Status{};
  Json patch = json::object{{"data", {{"ca.crt", context_.config.cluster_ca_pem}}}};
  auto written = co_await api_.patch(stores_.config_maps.ref_to(key_for(ns, kRootCa)), k8s::PatchType::kMerge, std::move(patch));
  if (!written.ok()) co_return std::move(written).error();
  co_return Status{};
}

Task<Status> NamespaceController::empty(Json ns) {
  if (!waits_for_us(ns)) co_return Status{};
  const std::string name(name_of(ns));
  auto kinds = context_.kinds.all();
  std::stable_partition(kinds.begin(), kinds.end(), [](const Kind& k) { return k.resource == "pods"; });
  std::string remaining;
  for (const Kind& kind : kinds) {
    // Events last of all: they tell how the rest went.
    if (!kind.namespaced || kind.resource == "events") continue;
    ResourceRef collection = kind.ref();
    collection.ns = name;
    auto left = co_await sweep(std::move(collection));
    if (!left.ok()) {
      if (left.error().code == Code::kNotFound) continue;  // a CustomResourceDefinition that went just now
      co_return std::move(left).error();
    }
    if (*left == 0) continue;
    remaining += fmt::format("{}{} has {} resource instances", remaining.empty() ? "" : ", ", kind.id(), *left);
    if (kind.resource == "pods") break;
  }
  if (remaining.empty()) {
    ResourceRef events;
    events.resource = "events";
    events.ns = name;
    auto left = co_await sweep(std::move(events));
    if (!left.ok()) co_return std::move(left).error();
    co_return co_await finalize(std::move(ns));
  }
  enqueue_after(name, kLookAgain);
  Json status = json::object{{"phase", "Terminating"}};
  Conditions conditions(items(ns, "status", "conditions"));
  conditions.set("NamespaceContentRemaining", "True", "SomeResourcesRemain", "Some resources are remaining: " + remaining);
  status.get_object()["conditions"] = conditions.list();
  co_return co_await write_status_if_new(api_, stores_.namespaces, std::move(ns), std::move(status));
}

Task<Result<std::size_t>> NamespaceController::sweep(ResourceRef collection) {
  auto listed = co_await api_.list(collection);
  if (!listed.ok()) co_return std::move(listed).error();
  std::size_t left = 0;
  for (const Json& object : items(*listed, "items")) {
    ++left;
    if (is_terminating(object)) continue;
    ResourceRef ref = collection;
    ref.name = name_of(object);
    k8s::DeleteOptions options;
    options.propagation_policy = "Background";
    FW_CO_TRY(co_await api_.ensure_removed(ref, std::move(options)));
  }
  if (left == 0) co_return std::size_t{0};
  // What went at once is no reason to wait half a second.
  auto again = co_await api_.list(collection);
  if (!again.ok()) co_return std::move(again).error();
  co_return items(*again, "items").size();
}

Task<Status> NamespaceController::finalize(Json ns) {
  json::array kept;
  for (const auto& finalizer : items(ns, "spec", "finalizers")) {
    if (as_text(&finalizer) != kFinalizer) kept.push_back(finalizer);
  }
  place(ns, "spec")["finalizers"] = std::move(kept);
  auto ref = stores_.namespaces.ref_to(name_of(ns), "finalize");
  auto done = co_await api_.update(std::move(ref), std::move(ns));
  if (!done.ok() && done.error().code != Code::kNotFound) co_return std::move(done).error();
  co_return Status{};
}

}  // namespace fairway::controllers
