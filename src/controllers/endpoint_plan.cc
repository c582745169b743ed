#include "controllers/endpoint_plan.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "controllers/pod.h"
#include "net/ip.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kServiceName = "kubernetes.io/service-name";
constexpr std::string_view kManager = "endpointslice-controller.k8s.io";
constexpr std::string_view kHeadless = "service.kubernetes.io/headless";
constexpr std::string_view kOverCapacity = "endpoints.kubernetes.io/over-capacity";

bool is_headless(const Json& service) { return text(service, "spec", "clusterIP") == "None"; }

std::vector<std::string> families_of(const Json& service) {
  std::vector<std::string> families;
  for (const auto& family : items(service, "spec", "ipFamilies")) families.emplace_back(as_text(&family));
  if (families.empty()) families.emplace_back("IPv4");
  return families;
}

std::string_view ip_of(const Json& pod, std::string_view family) {
  const auto matches = [family](std::string_view ip) {
    const auto parsed = net::IpAddr::parse(ip);
    return parsed.ok() && (parsed->is_v4() ? "IPv4" : "IPv6") == family;
  };
  for (const auto& entry : items(pod, "status", "podIPs")) {
    if (matches(text(entry, "ip"))) return text(entry, "ip");
  }
  const auto single = text(pod, "status", "podIP");
  return matches(single) ? single : std::string_view{};
}

// A hostname is published only in the Service that is the pod's subdomain.
std::string_view hostname_in(const Json& service, const Json& pod) {
  return text(pod, "spec", "subdomain") == name_of(service) ? text(pod, "spec", "hostname") : std::string_view{};
}

Json target_of(const Json& pod) {
  return json::object{{"kind", "Pod"}, {"namespace", namespace_of(pod)}, {"name", name_of(pod)}, {"uid", uid_of(pod)}};
}

Json endpoint_of(const Json& service, const Json& pod, std::string_view ip, const ZoneOf& zone_of) {
  const bool serving = is_ready(pod), terminating = is_terminating(pod);
  const bool ready = truth(service, "spec", "publishNotReadyAddresses") || (serving && !terminating);
  Json endpoint = json::object{
      {"addresses", json::array{ip}},
      {"conditions", {{"ready", ready}, {"serving", serving}, {"terminating", terminating}}},
      {"targetRef", target_of(pod)},
  };
  auto& out = endpoint.get_object();
  if (const auto node = text(pod, "spec", "nodeName"); !node.empty()) {
    out["nodeName"] = node;
    if (const auto zone = zone_of(node); !zone.empty()) out["zone"] = zone;
  }
  if (const auto hostname = hostname_in(service, pod); !hostname.empty()) out["hostname"] = hostname;
  return endpoint;
}

json::object labels_for(const Json& service) {
  json::object labels;
  for (const auto& [key, value] : fields(service, "metadata", "labels")) {
    if (key != kHeadless) labels[key] = value;
  }
  labels[kServiceName] = name_of(service);
  labels[kManagedBy] = kManager;
  if (is_headless(service)) labels[kHeadless] = "";
  return labels;
}

// Endpoints that share a family and the same port numbers; a named targetPort may differ from pod to pod.
struct Group {
  std::string family;
  json::array ports;
  std::map<std::string, Json> wanted;  // by the pod's uid and address
};

std::string endpoint_key(const Json& endpoint) {
  const auto& addresses = items(endpoint, "addresses");
  return fmt::format("{}/{}", text(endpoint, "targetRef", "uid"), addresses.empty() ? "" : as_text(&addresses[0]));
}

Json new_slice(const Json& service, const Group& group) {
  Json slice = json::object{{"apiVersion", "discovery.k8s.io/v1"}, {"kind", "EndpointSlice"}};
  auto& metadata = place(slice, "metadata");
  metadata["generateName"] = fmt::format("{}-", name_of(service));
  metadata["namespace"] = namespace_of(service);
  metadata["ownerReferences"] = json::array{json::object{{"apiVersion", "v1"},
                                                         {"kind", "Service"},
                                                         {"name", name_of(service)},
                                                         {"uid", uid_of(service)},
                                                         {"controller", true},
                                                         {"blockOwnerDeletion", true}}};
  metadata["labels"] = labels_for(service);
  auto& out = slice.get_object();
  out["addressType"] = group.family;
  out["endpoints"] = json::array{};
  out["ports"] = group.ports;
  return slice;
}

// Keeps, in each slice, the endpoints that stay (with their conditions as they are now), then puts the new ones
// where a slice is written anyway, then where there is room, then into new slices.
void plan_group(const Json& service, Group& group, std::vector<Json>& slices, SlicePlan& plan) {
  struct Slot {
    Json before, after;
    bool changed() const { return before != after; }
  };
  std::vector<Slot> slots;
  for (auto& slice : slices) {
    Slot slot{slice, slice};
    json::array kept;
    for (const auto& endpoint : items(slice, "endpoints")) {
      const auto found = group.wanted.find(endpoint_key(endpoint));
      if (found == group.wanted.end()) continue;
      kept.push_back(std::move(found->second));
      group.wanted.erase(found);
    }
    slot.after.get_object()["endpoints"] = std::move(kept);
    place(slot.after, "metadata")["labels"] = labels_for(service);
    slots.push_back(std::move(slot));
  }
  std::stable_sort(slots.begin(), slots.end(), [](const Slot& a, const Slot& b) { return a.changed() > b.changed(); });
  auto next = group.wanted.begin();
  const auto fill = [&](Json& slice) {
    auto& endpoints = slice.get_object()["endpoints"].get_array();
    while (next != group.wanted.end() && endpoints.size() < kMaxEndpointsPerSlice) endpoints.push_back(std::move((next++)->second));
  };
  for (auto& slot : slots) fill(slot.after);
  std::size_t filled = 0;
  for (const auto& slot : slots) filled += !items(slot.after, "endpoints").empty();
  while (next != group.wanted.end()) {
    fill(plan.create.emplace_back(new_slice(service, group)));
    ++filled;
  }
  // A Service without endpoints keeps one empty slice: "none" is then said, and not only not known.
  if (slots.empty() && filled == 0) plan.create.push_back(new_slice(service, group));
  bool keep_empty = filled == 0;
  for (auto& slot : slots) {
    if (items(slot.after, "endpoints").empty() && !std::exchange(keep_empty, false)) {
      plan.remove.push_back(std::move(slot.before));
    } else if (slot.changed()) {
      plan.update.push_back(std::move(slot.after));
    }
  }
}

// Not the serialised ports: the API server may have written the same members in another order.
std::string ports_key(const json::array& ports) {
  std::string key;
  for (const auto& port : ports) {
    key += fmt::format("|{}/{}/{}/{}", text(port, "name"), text(port, "protocol"), count(port, "port"), text(port, "appProtocol"));
  }
  return key;
}
std::string group_key(std::string_view family, const json::array& ports) { return fmt::format("{}{}", family, ports_key(ports)); }

}  // namespace

json::array ports_on_pod(const Json& service, const Json& pod) {
  json::array ports;
  for (const auto& port : items(service, "spec", "ports")) {
    const std::string_view protocol = text(port, "protocol").empty() ? "TCP" : text(port, "protocol");
    std::optional<std::int64_t> target = number(port, "targetPort");
    if (const auto name = text(port, "targetPort"); !name.empty()) {
      for (const auto& container : items(pod, "spec", "containers")) {
        for (const auto& candidate : items(container, "ports")) {
          const std::string_view has = text(candidate, "protocol").empty() ? "TCP" : text(candidate, "protocol");
          if (!target && text(candidate, "name") == name && has == protocol) target = number(candidate, "containerPort");
        }
      }
      if (!target) continue;
    }
    json::object entry{
        {"name", text(port, "name")}, {"protocol", protocol}, {"port", target && *target != 0 ? *target : count(port, "port")}};
    if (const auto app = text(port, "appProtocol"); !app.empty()) entry["appProtocol"] = app;
    ports.emplace_back(std::move(entry));
  }
  return ports;
}

SlicePlan plan_slices(const Json& service, const std::vector<const Json*>& pods, const std::vector<const Json*>& existing,
                      const ZoneOf& zone_of) {
  std::map<std::string, Group> groups;
  for (const auto& family : families_of(service)) {
    for (const Json* pod : pods) {
      const auto ip = ip_of(*pod, family);
      if (ip.empty() || is_finished(*pod)) continue;
      auto ports = ports_on_pod(service, *pod);
      Group& group = groups[group_key(family, ports)];
      group.family = family;
      group.ports = std::move(ports);
      Json endpoint = endpoint_of(service, *pod, ip, zone_of);
      auto key = endpoint_key(endpoint);
      group.wanted[std::move(key)] = std::move(endpoint);
    }
  }
  // A family without endpoints still has its empty slice. Of one that is there, the ports are kept.
  for (const auto& family : families_of(service)) {
    const bool has = std::any_of(groups.begin(), groups.end(), [&](const auto& g) { return g.second.family == family; });
    if (has) continue;
    Group group{family, {}, {}};
    for (const Json* slice : existing) {
      if (group.ports.empty() && text(*slice, "addressType") == family) group.ports = items(*slice, "ports");
    }
    groups[group_key(family, group.ports)] = std::move(group);
  }
  std::map<std::string, std::vector<Json>> slices;
  SlicePlan plan;
  for (const Json* slice : existing) {
    if (text(*slice, "metadata", "labels", kManagedBy) != kManager || is_terminating(*slice)) continue;
    auto key = group_key(text(*slice, "addressType"), items(*slice, "ports"));
    if (groups.contains(key)) {
      slices[std::move(key)].push_back(*slice);
    } else {
      plan.remove.push_back(*slice);
    }
  }
  for (auto& [key, group] : groups) plan_group(service, group, slices[key], plan);
  return plan;
}

namespace {

struct Subset {
  json::array ports, ready, not_ready;
};

Json endpoints_address(const Json& service, const Json& pod, std::string_view ip) {
  Json address = json::object{{"ip", ip}, {"targetRef", target_of(pod)}};
  if (const auto node = text(pod, "spec", "nodeName"); !node.empty()) address.get_object()["nodeName"] = node;
  if (const auto hostname = hostname_in(service, pod); !hostname.empty()) address.get_object()["hostname"] = hostname;
  return address;
}

}  // namespace

Json plan_endpoints(const Json& service, const std::vector<const Json*>& pods) {
  const bool publish_all = truth(service, "spec", "publishNotReadyAddresses");
  const std::string family = families_of(service).front();
  std::map<std::string, Subset> subsets;
  std::size_t total = 0;
  bool truncated = false;
  std::vector<const Json*> sorted = pods;
  std::sort(sorted.begin(), sorted.end(), [](const Json* a, const Json* b) { return name_of(*a) < name_of(*b); });
  for (const Json* pod : sorted) {
    const auto ip = ip_of(*pod, family);
    if (ip.empty() || is_finished(*pod) || (is_terminating(*pod) && !publish_all)) continue;
    if (total++ >= kMaxEndpointsAddresses) {
      truncated = true;
      break;
    }
    auto ports = ports_on_pod(service, *pod);
    for (auto& port : ports) {
      if (text(port, "name").empty()) port.get_object().erase("name");
    }
    auto key = ports_key(ports);
    Subset& subset = subsets[std::move(key)];
    subset.ports = std::move(ports);
    (publish_all || is_ready(*pod) ? subset.ready : subset.not_ready).push_back(endpoints_address(service, *pod, ip));
  }
  json::array out;
  for (auto& [key, subset] : subsets) {
    json::object entry;
    if (!subset.ready.empty()) entry["addresses"] = std::move(subset.ready);
    if (!subset.not_ready.empty()) entry["notReadyAddresses"] = std::move(subset.not_ready);
    if (!subset.ports.empty()) entry["ports"] = std::move(subset.ports);
    out.emplace_back(std::move(entry));
  }
  Json endpoints = json::object{{"apiVersion", "v1"}, {"kind", "Endpoints"}, {"subsets", std::move(out)}};
  auto& metadata = place(endpoints, "metadata");
  metadata["name"] = name_of(service);
  metadata["namespace"] = namespace_of(service);
  json::object labels = fields(service, "metadata", "labels");
  if (is_headless(service)) labels[kHeadless] = "";
  if (!labels.empty()) metadata["labels"] = std::move(labels);
  if (truncated) place(endpoints, "metadata", "annotations")[kOverCapacity] = "truncated";
  return endpoints;
}

}  // namespace fairway::controllers
