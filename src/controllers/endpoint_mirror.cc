#include "controllers/endpoint_mirror.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "controllers/endpoint_plan.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kMirror = "endpointslicemirroring-controller.k8s.io";
constexpr std::string_view kSkip = "endpointslice.kubernetes.io/skip-mirror";
constexpr std::string_view kLeader = "control-plane.alpha.kubernetes.io/leader";

Json new_slice(const Json& endpoints, const Json& subset, std::string_view family) {
  Json slice = json::object{{"apiVersion", "discovery.k8s.io/v1"}, {"kind", "EndpointSlice"}};
  auto& metadata = place(slice, "metadata");
  metadata["generateName"] = fmt::format("{}-", name_of(endpoints));
  metadata["namespace"] = namespace_of(endpoints);
  json::object labels = fields(endpoints, "metadata", "labels");
  labels["kubernetes.io/service-name"] = name_of(endpoints);
  labels[kManagedBy] = kMirror;
  metadata["labels"] = std::move(labels);
  metadata["ownerReferences"] = json::array{json::object{{"apiVersion", "v1"},
                                                         {"kind", "Endpoints"},
                                                         {"name", name_of(endpoints)},
                                                         {"uid", uid_of(endpoints)},
                                                         {"controller", true},
                                                         {"blockOwnerDeletion", true}}};
  json::array ports;
  for (const auto& port : items(subset, "ports")) {
    json::object entry = as_fields(&port);
    if (!entry.contains("name")) entry["name"] = "";
    if (!entry.contains("protocol")) entry["protocol"] = "TCP";
    ports.emplace_back(std::move(entry));
  }
  auto& out = slice.get_object();
  out["addressType"] = family;
  out["ports"] = std::move(ports);
  out["endpoints"] = json::array{};
  return slice;
}

Json mirrored(const Json& address, bool ready) {
  Json endpoint = json::object{{"addresses", json::array{text(address, "ip")}}, {"conditions", {{"ready", ready}}}};
  for (const auto* name : {"hostname", "nodeName", "targetRef"}) {
    if (const Json* value = at(address, name)) endpoint.get_object()[name] = *value;
  }
  return endpoint;
}

// What makes two slices the same, whatever their names.
std::string content_of(const Json& slice) {
  std::string content = fmt::format("{}", text(slice, "addressType"));
  for (const auto& port : items(slice, "ports"))
    content += fmt::format("|{}/{}/{}", text(port, "name"), text(port, "protocol"), count(port, "port"));
  for (const auto& endpoint : items(slice, "endpoints")) {
    const auto& addresses = items(endpoint, "addresses");
    content += fmt::format("|{} {} {} {}", addresses.empty() ? "" : as_text(&addresses[0]), truth(endpoint, "conditions", "ready"),
                           text(endpoint, "hostname"), text(endpoint, "nodeName"));
  }
  return content;
}

}  // namespace

std::vector<Json> mirror_slices(const Json& endpoints) {
  std::vector<Json> slices;
  for (const auto& subset : items(endpoints, "subsets")) {
    std::map<std::string_view, std::size_t> open;  // the slice of each family that has room
    const auto add = [&](const json::array& addresses, bool ready) {
      for (const auto& address : addresses) {
        const auto ip = net::IpAddr::parse(text(address, "ip"));
        if (!ip.ok()) continue;
        const std::string_view family = ip->is_v4() ? "IPv4" : "IPv6";
        auto found = open.find(family);
        if (found == open.end() || items(slices[found->second], "endpoints").size() >= kMaxEndpointsPerSlice) {
          open[family] = slices.size();
          slices.push_back(new_slice(endpoints, subset, family));
          found = open.find(family);
        }
        slices[found->second].get_object()["endpoints"].get_array().push_back(mirrored(address, ready));
      }
    };
    add(items(subset, "addresses"), true);
    add(items(subset, "notReadyAddresses"), false);
  }
  return slices;
}

EndpointMirrorController::EndpointMirrorController(Context& context) : Controller(context, "endpointslice-mirroring") {
  const auto by_key = [this](const Key& key, const Json*, const Json*) { enqueue(key); };
  stores_.endpoints.subscribe(by_key);
  stores_.services.subscribe(by_key);
  stores_.endpoint_slices.subscribe([this](const Key&, const Json* before, const Json* after) {
    const Json& slice = after ? *after : *before;
    if (text(slice, "metadata", "labels", kManagedBy) == kMirror) {
      enqueue(key_for(namespace_of(slice), text(slice, "metadata", "labels", "kubernetes.io/service-name")));
    }
  });
}

std::vector<Json> EndpointMirrorController::wanted_for(const Key& key) const {
  const Json* service = stores_.services.find(key);
  const Json* endpoints = stores_.endpoints.find(key);
  if (!service || !endpoints || is_terminating(*service) || is_terminating(*endpoints)) return {};
  if (!fields(*service, "spec", "selector").empty() || text(*endpoints, "metadata", "labels", kSkip) == "true" ||
      at(*endpoints, "metadata", "annotations", kLeader))
    return {};
  return mirror_slices(*endpoints);
}

Task<Status> EndpointMirrorController::reconcile(Key key) {
  std::vector<Json> wanted = wanted_for(key), gone;
  for (const Json* slice : stores_.endpoint_slices.by(kByService, key)) {
    if (text(*slice, "metadata", "labels", kManagedBy) != kMirror || is_terminating(*slice)) continue;
    const auto same = std::find_if(wanted.begin(), wanted.end(), [&](const Json& w) { return content_of(w) == content_of(*slice); });
    if (same == wanted.end()) gone.push_back(*slice);
    else wanted.erase(same);
  }
  for (Json& slice : wanted) {
    ResourceRef ref = stores_.endpoint_slices.ref();
    ref.ns = namespace_of(slice);
    auto made = co_await api_.create(std::move(ref), std::move(slice));
    if (!made.ok()) co_return std::move(made).error();
    co_await stores_.endpoint_slices.caught_up_with(*made);
  }
  for (const Json& slice : gone) {
    const Key slice_key = key_for(namespace_of(slice), name_of(slice));
    FW_CO_TRY(co_await api_.ensure_removed(stores_.endpoint_slices.ref_to(slice_key)));
    co_await stores_.endpoint_slices.removal_seen(slice_key, std::string(uid_of(slice)));
  }
  co_return Status{};
}

}  // namespace fairway::controllers
