#include "controllers/endpoint_slice.h"

#include <fmt/format.h>

#include "controllers/endpoint_plan.h"
#include "controllers/owners.h"
#include "controllers/selector.h"

namespace fairway::controllers {
namespace {

bool has_selector(const Json& service) {
  return text(service, "spec", "type") != "ExternalName" && !fields(service, "spec", "selector").empty();
}

// What of a pod shows in a slice. Most changes of a status (probes, container states) do not.
bool same_endpoint(const Json& a, const Json& b) {
  const auto ready = [](const Json& pod) {
    for (const auto& condition : items(pod, "status", "conditions")) {
      if (text(condition, "type") == "Ready") return text(condition, "status") == "True";
    }
    return false;
  };
  return fields(a, "metadata", "labels") == fields(b, "metadata", "labels") && text(a, "spec", "nodeName") == text(b, "spec", "nodeName") &&
         is_terminating(a) == is_terminating(b) && items(a, "status", "podIPs") == items(b, "status", "podIPs") &&
         text(a, "status", "podIP") == text(b, "status", "podIP") && text(a, "status", "phase") == text(b, "status", "phase") &&
         ready(a) == ready(b) && uid_of(a) == uid_of(b);
}

}  // namespace

EndpointSliceController::EndpointSliceController(Context& context) : Controller(context, "endpointslice") {
  stores_.services.subscribe([this](const Key& key, const Json*, const Json* after) {
    after ? (void)removed_.erase(key) : (void)removed_.insert(key);
    enqueue(key);
  });
  stores_.pods.subscribe([this](const Key&, const Json* before, const Json* after) { pod_changed(before, after); });
  stores_.endpoint_slices.subscribe([this](const Key&, const Json* before, const Json* after) {
    const Json& slice = after ? *after : *before;
    const auto service = text(slice, "metadata", "labels", "kubernetes.io/service-name");
    if (!service.empty()) enqueue(key_for(namespace_of(slice), service));
  });
  stores_.endpoints.subscribe([this](const Key& key, const Json*, const Json*) { enqueue(key); });
}

void EndpointSliceController::pod_changed(const Json* before, const Json* after) {
  if (before && after && same_endpoint(*before, *after)) return;
  const Json& any = after ? *after : *before;
  for (const Json* service : stores_.services.all_in(namespace_of(any))) {
    if (!has_selector(*service)) continue;
    const auto& selector = fields(*service, "spec", "selector");
    const auto matches = [&](const Json* pod) { return pod && matches_map(selector, fields(*pod, "metadata", "labels")); };
    if (matches(before) || matches(after)) enqueue(key_for(namespace_of(*service), name_of(*service)));
  }
}

std::vector<const Json*> EndpointSliceController::selected(const Json& service) const {
  std::vector<const Json*> pods;
  for (const Json* pod : stores_.pods.all_in(namespace_of(service))) {
    if (matches_map(fields(service, "spec", "selector"), fields(*pod, "metadata", "labels"))) pods.push_back(pod);
  }
  return pods;
}

Task<Status> EndpointSliceController::reconcile(Key key) {
  const Json* found = stores_.services.find(key);
  if (!found) co_return co_await remove_own(key);
  if (is_terminating(*found) || !has_selector(*found)) co_return Status{};
  const Json service = *found;
  FW_CO_TRY(co_await write_slices(key, service));
  co_return co_await write_endpoints(key, service);
}

Task<Status> EndpointSliceController::write_slices(Key key, Json service) {
  const auto zone_of = [this](std::string_view node) {
    const Json* found = stores_.nodes.find(node);
    return found ? std::string(text(*found, "metadata", "labels", "topology.kubernetes.io/zone")) : std::string();
  };
  SlicePlan plan = plan_slices(service, selected(service), stores_.endpoint_slices.by(kByService, key), zone_of);
  // New ones first, gone ones last: at no moment is an endpoint in no slice that is in one before and after.
  for (auto& slice : plan.create) {
    ResourceRef ref = stores_.endpoint_slices.ref();
    ref.ns = namespace_of(service);
    auto made = co_await api_.create(std::move(ref), std::move(slice));
    if (!made.ok()) {
      if (made.error().message.find("is being terminated") != std::string::npos) co_return Status{};
      co_return std::move(made).error();
    }
    co_await stores_.endpoint_slices.caught_up_with(*made);
  }
  for (auto& slice : plan.update) {
    auto ref = stores_.endpoint_slices.ref_to(key_for(namespace_of(slice), name_of(slice)));
    auto written = co_await api_.update(std::move(ref), std::move(slice));
    if (!written.ok()) co_return std::move(written).error();
    co_await stores_.endpoint_slices.caught_up_with(*written);
  }
  for (auto& slice : plan.remove) {
    const Key slice_key = key_for(namespace_of(slice), name_of(slice));
    FW_CO_TRY(co_await api_.ensure_removed(stores_.endpoint_slices.ref_to(slice_key)));
    co_await stores_.endpoint_slices.removal_seen(slice_key, std::string(uid_of(slice)));
  }
  co_return Status{};
}

Task<Status> EndpointSliceController::write_endpoints(Key key, Json service) {
  Json wanted = plan_endpoints(service, selected(service));
  const Json* now = stores_.endpoints.find(key);
  if (!now) {
    ResourceRef ref = stores_.endpoints.ref();
    ref.ns = namespace_of(service);
    auto made = co_await api_.create(std::move(ref), std::move(wanted));
    if (!made.ok()) {
      if (made.error().message.find("is being terminated") != std::string::npos) co_return Status{};
      co_return std::move(made).error();
    }
    co_await stores_.endpoints.caught_up_with(*made);
    co_return Status{};
  }
  if (items(*now, "subsets") == items(wanted, "subsets") && fields(*now, "metadata", "labels") == fields(wanted, "metadata", "labels")) {
    co_return Status{};
  }
  Json next = *now;
  auto& metadata = place(next, "metadata");
  metadata["labels"] = fields(wanted, "metadata", "labels");
  const auto& annotations = fields(wanted, "metadata", "annotations");
  if (annotations.empty()) place(next, "metadata", "annotations").erase("endpoints.kubernetes.io/over-capacity");
  else metadata["annotations"] = annotations;
  next.get_object()["subsets"] = items(wanted, "subsets");
  auto written = co_await api_.update(stores_.endpoints.ref_to(key), std::move(next));
  if (!written.ok()) co_return std::move(written).error();
  co_await stores_.endpoints.caught_up_with(*written);
  co_return Status{};
}

// The Service is gone. Its slices have it as owner and go by garbage collection too; its Endpoints have none.
Task<Status> EndpointSliceController::remove_own(Key key) {
  std::vector<Key> slices;
  for (const Json* slice : stores_.endpoint_slices.by(kByService, key)) {
    if (text(*slice, "metadata", "labels", "endpointslice.kubernetes.io/managed-by") == "endpointslice-controller.k8s.io") {
      slices.push_back(key_for(namespace_of(*slice), name_of(*slice)));
    }
  }
  for (const auto& slice : slices) FW_CO_TRY(co_await api_.ensure_removed(stores_.endpoint_slices.ref_to(slice)));
  // Endpoints whose Service never was are somebody's own, perhaps of a Service yet to come.
  const Json* endpoints = stores_.endpoints.find(key);
  if (!removed_.contains(key) || !endpoints) co_return Status{};
  k8s::DeleteOptions options;
  options.precondition_uid = uid_of(*endpoints);
  FW_CO_TRY(co_await api_.ensure_removed(stores_.endpoints.ref_to(key), std::move(options)));
  removed_.erase(key);
  co_return Status{};
}

}  // namespace fairway::controllers
