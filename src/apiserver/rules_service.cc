// Defaults and validation of Service, Endpoints and EndpointSlice.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "apiserver/formats.h"
#include "apiserver/kinds.h"
#include "apiserver/schema_check.h"
#include "net/ip.h"

namespace fairway::apiserver::rules {
namespace {

constexpr std::size_t kMaxSliceEndpoints = 1000, kMaxAddresses = 100;

bool is_external(const Object& spec) {
  const std::string_view type = text_at(spec, "type");
  return type == "NodePort" || type == "LoadBalancer" || (type == "ClusterIP" && !array_at(spec, "externalIPs").empty());
}

bool uses_node_ports(std::string_view type) { return type == "NodePort" || type == "LoadBalancer"; }

void default_ports(Object& spec) {
  Json* ports = spec.if_contains("ports");
  if (ports == nullptr || !ports->is_array()) return;
  for (Json& one : ports->get_array()) {
    if (!one.is_object()) continue;
    Json& target = one.get_object()["targetPort"];
    if (is_empty(target)) target = int_at(one, "port");
  }
}

void validate_target_port(const Json& port, const std::string& path, FieldErrors& errors) {
  const Json* target = find(port, "targetPort");
  if (target == nullptr) return;
  if (target->is_int64()) {
    if (target->get_int64() < 1 || target->get_int64() > 65535)
      errors.invalid(path + ".targetPort", *target, "must be between 1 and 65535, inclusive");
    return;
  }
  for (const std::string& why : check_format(Format::kPortName, view(target->get_string())))
    errors.invalid(path + ".targetPort", *target, why);
}

void validate_ports(const Object& spec, FieldErrors& errors) {
  const Array& ports = array_at(spec, "ports");
  const std::string_view type = text_at(spec, "type");
  if (ports.empty() && type != "ExternalName" && text_at(spec, "clusterIP") != "None") errors.required("spec.ports");
  std::set<std::string_view> names;
  std::set<std::pair<std::string_view, std::int64_t>> numbers;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string path = item("spec.ports", i);
    const std::string_view name = text_at(ports[i], "name");
    if (ports.size() > 1 && name.empty()) errors.required(path + ".name");
    else if (!name.empty() && !names.insert(name).second) errors.duplicate(path + ".name", Json(boost::json::string(name)));
    if (!numbers.emplace(text_at(ports[i], "protocol"), int_at(ports[i], "port")).second) {
      errors.duplicate(path, Object{{"port", int_at(ports[i], "port")}, {"protocol", boost::json::string(text_at(ports[i], "protocol"))}});
    }
    validate_target_port(ports[i], path, errors);
    if (int_at(ports[i], "nodePort") != 0 && !uses_node_ports(type))
      errors.forbidden(path + ".nodePort", fmt::format("may not be used when `type` is '{}'", type));
  }
}

void validate_cluster_ips(const Object& spec, FieldErrors& errors) {
  const std::string_view type = text_at(spec, "type"), ip = text_at(spec, "clusterIP");
  const Array& ips = array_at(spec, "clusterIPs");
  if (type == "ExternalName") {
    if (!ip.empty()) errors.forbidden("spec.clusterIPs", "may not be set when type is ExternalName");
    return;
  }
  if (ip == "None" && uses_node_ports(type))
    errors.invalid("spec.clusterIPs[0]", "None", fmt::format("may not be set to 'None' for {} services", type));
  if (ips.size() > 2) errors.invalid_strings("spec.clusterIPs", ips, "may only hold up to 2 values");
  if (!ips.empty() && ip != view(ips[0].get_string())) errors.invalid_strings("spec.clusterIPs", ips, "first value must match `clusterIP`");
  for (std::size_t i = 0; i < ips.size(); ++i) {
    const std::string_view one = view(ips[i].get_string());
    if (one == "None") {
      if (ips.size() > 1) errors.invalid(item("spec.clusterIPs", i), ips[i], "'None' must be the first and only value");
    } else if (auto parsed = net::IpAddr::parse(one); !parsed.ok()) {
      errors.invalid(item("spec.clusterIPs", i), ips[i], "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
    }
  }
  if (ips.size() == 2 && ips[0] == ips[1]) errors.duplicate("spec.clusterIPs[1]", ips[1]);
}

void validate_external(const Object& spec, FieldErrors& errors) {
  const std::string_view type = text_at(spec, "type");
  if (type == "ExternalName") {
    const std::string_view name = text_at(spec, "externalName");
    std::string_view bare = name;
    if (bare.ends_with('.')) bare.remove_suffix(1);
    if (name.empty()) errors.required("spec.externalName");
    else
      for (const std::string& why : check_format(Format::kDnsSubdomain, bare)) errors.invalid_text("spec.externalName", name, why);
  }
  if (find(spec, "externalTrafficPolicy") != nullptr && !is_external(spec)) {
    errors.invalid("spec.externalTrafficPolicy", *find(spec, "externalTrafficPolicy"),
                   "may only be set for externally-accessible services");
  }
  if (find(spec, "allocateLoadBalancerNodePorts") != nullptr && type != "LoadBalancer")
    errors.forbidden("spec.allocateLoadBalancerNodePorts", "may only be used when `type` is 'LoadBalancer'");
  if (find(spec, "loadBalancerClass") != nullptr && type != "LoadBalancer")
    errors.forbidden("spec.loadBalancerClass", "may only be used when `type` is 'LoadBalancer'");
  const Array& externals = array_at(spec, "externalIPs");
  for (std::size_t i = 0; i < externals.size(); ++i) {
    auto ip = net::IpAddr::parse(view(externals[i].get_string()));
    if (ip.ok() && (ip->is_loopback() || ip->is_link_local() || ip->is_multicast() || ip->is_unset()))
      errors.invalid(item("spec.externalIPs", i), externals[i], "may not be in the loopback, link-local or multicast range");
  }
  if (text_at(spec, "sessionAffinity") == "None" && find(spec, "sessionAffinityConfig") != nullptr) {
    errors.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None");
  }
}

// A family or address, once given, stays while the Service keeps a cluster IP.
void validate_service_update(const Object& spec, const Object& old, FieldErrors& errors) {
  if (text_at(spec, "type") == "ExternalName" || text_at(old, "type") == "ExternalName") return;
  const Array &ips = array_at(spec, "clusterIPs"), &old_ips = array_at(old, "clusterIPs");
  if (!old_ips.empty() && (ips.empty() || ips[0] != old_ips[0]))
    errors.invalid_strings("spec.clusterIPs[0]", ips, "may not change once set");
  if (ips.size() > 1 && old_ips.size() > 1 && ips[1] != old_ips[1])
    errors.invalid_strings("spec.clusterIPs[1]", ips, "may not change once set");
  const Array &families = array_at(spec, "ipFamilies"), &old_families = array_at(old, "ipFamilies");
  if (!old_families.empty() && !families.empty() && families[0] != old_families[0])
    errors.invalid_strings("spec.ipFamilies[0]", families, "may not change once set");
}

void check_endpoint_address(const Json& address, const std::string& path, FieldErrors& errors) {
  auto ip = net::IpAddr::parse(view(address.get_string()));
  if (!ip.ok()) return errors.invalid(path, address, "must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)");
  if (ip->is_unset() || view(address.get_string()) == "0.0.0.0")
    errors.invalid(path, address, fmt::format("may not be unspecified ({})", view(address.get_string())));
  if (ip->is_loopback()) errors.invalid(path, address, "may not be in the loopback range (127.0.0.0/8, ::1/128)");
  if (ip->is_link_local()) errors.invalid(path, address, "may not be in the link-local range (169.254.0.0/16, fe80::/10)");
  if (ip->is_multicast()) errors.invalid(path, address, "may not be in the link-local multicast range (224.0.0.0/24, ff02::/10)");
}

}  // namespace

void default_service(Object& object) {
  Object& spec = ensure_object(object, "spec");
  const std::string type(text_at(spec, "type"));
  default_ports(spec);
  if (text_at(spec, "sessionAffinity") == "ClientIP") {
    Object& client = ensure_object(spec, "sessionAffinityConfig.clientIP");
    client.emplace("timeoutSeconds", 10800);
  } else if (text_at(spec, "sessionAffinity") == "None") {
    erase_key(spec, "sessionAffinityConfig");
  }
  if (is_external(spec)) spec.emplace("externalTrafficPolicy", "Cluster");
  if (type != "ExternalName") spec.emplace("internalTrafficPolicy", "Cluster");
  if (type == "LoadBalancer") spec.emplace("allocateLoadBalancerNodePorts", true);
  const std::string ip(text_at(spec, "clusterIP"));
  if (!ip.empty() && array_at(spec, "clusterIPs").empty()) spec["clusterIPs"] = Array{boost::json::string(ip)};
  if (ip.empty() && !array_at(spec, "clusterIPs").empty()) spec["clusterIP"] = array_at(spec, "clusterIPs")[0];
}

// Keeps what the server chose where the new object says nothing, and drops what the new type has no use for.
void prepare_service_update(Object& object, const Object& before) {
  Object& spec = ensure_object(object, "spec");
  const Object& old = *object_at(before, "spec");
  const std::string type(text_at(spec, "type", "ClusterIP"));
  const std::string_view old_type = text_at(old, "type");
  if (type == "ExternalName") {
    // Addresses that are the old ones go; others are the user's, and refused.
    for (const char* key : {"clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"}) {
      if (const Json* now = spec.if_contains(key), *was = old.if_contains(key); now != nullptr && was != nullptr && *now == *was)
        erase_key(spec, key);
    }
  } else if (old_type != "ExternalName") {
    // A new clusterIP beside the old clusterIPs means the first of them.
    const std::string ip(text_at(spec, "clusterIP"));
    if (ip.empty() && array_at(spec, "clusterIPs").empty()) {
      for (const char* key : {"clusterIP", "clusterIPs"}) {
        if (const Json* value = old.if_contains(key)) spec[key] = *value;
      }
    } else if (!ip.empty() && ip != text_at(old, "clusterIP") && array_at(spec, "clusterIPs") == array_at(old, "clusterIPs")) {
      spec["clusterIPs"] = Array{boost::json::string(ip)};
    }
    for (const char* key : {"ipFamilies", "ipFamilyPolicy"}) {
      if (const Json* value = old.if_contains(key); value != nullptr && !spec.contains(key)) spec[key] = *value;
    }
  }
  Json* ports = spec.if_contains("ports");
  if (ports != nullptr && ports->is_array()) {
    for (Json& one : ports->get_array()) {
      for (const Json& was : array_at(old, "ports")) {
        if (int_at(was, "nodePort") == 0) continue;
        const bool same_port = int_at(one, "port") == int_at(was, "port") && text_at(one, "protocol", "TCP") == text_at(was, "protocol");
        if (uses_node_ports(type) && uses_node_ports(old_type) && same_port && int_at(one, "nodePort") == 0)
          one.get_object()["nodePort"] = int_at(was, "nodePort");
        if (!uses_node_ports(type) && uses_node_ports(old_type) && int_at(one, "nodePort") == int_at(was, "nodePort"))
          erase_key(one.get_object(), "nodePort");
      }
    }
  }
  if (uses_node_ports(old_type) && !uses_node_ports(type)) {
    for (const char* key : {"externalTrafficPolicy", "allocateLoadBalancerNodePorts", "healthCheckNodePort", "loadBalancerClass"}) {
      if (const Json* now = spec.if_contains(key), *was = old.if_contains(key); now != nullptr && was != nullptr && *now == *was)
        erase_key(spec, key);
    }
  }
  if (old_type == "LoadBalancer" && type == "NodePort") {
    if (bool_at(spec, "allocateLoadBalancerNodePorts")) erase_key(spec, "allocateLoadBalancerNodePorts");
  }
  if (type == "LoadBalancer" && old_type == "LoadBalancer" && int_at(spec, "healthCheckNodePort") == 0) {
    if (const Json* port = old.if_contains("healthCheckNodePort")) spec["healthCheckNodePort"] = *port;
  }
}

void validate_service(const Object& object, const Object* before, FieldErrors& errors) {
  const Object& spec = *object_at(object, "spec");
  validate_ports(spec, errors);
  validate_labels(object_at(spec, "selector"), "spec.selector", errors);
  validate_cluster_ips(spec, errors);
  validate_external(spec, errors);
  if (before != nullptr) validate_service_update(spec, *object_at(*before, "spec"), errors);
}

void validate_endpoints(const Object& object, const Object*, FieldErrors& errors) {
  const Array& subsets = array_at(object, "subsets");
  for (std::size_t i = 0; i < subsets.size(); ++i) {
    const std::string at = item("subsets", i);
    if (array_at(subsets[i], "addresses").empty() && array_at(subsets[i], "notReadyAddresses").empty())
      errors.required(at, "must specify `addresses` or `notReadyAddresses`");
    for (const char* list : {"addresses", "notReadyAddresses"}) {
      const Array& addresses = array_at(subsets[i], list);
      for (std::size_t k = 0; k < addresses.size(); ++k)
        check_endpoint_address(*find(addresses[k], "ip"), item(child(at, list), k) + ".ip", errors);
    }
    const Array& ports = array_at(subsets[i], "ports");
    for (std::size_t k = 0; k < ports.size(); ++k) {
      if (ports.size() > 1 && text_at(ports[k], "name").empty()) errors.required(item(at + ".ports", k) + ".name");
    }
  }
}

void validate_endpoint_slice(const Object& object, const Object* before, FieldErrors& errors) {
  const std::string_view type = text_at(object, "addressType");
  const Array& endpoints = array_at(object, "endpoints");
  if (endpoints.size() > kMaxSliceEndpoints) errors.too_many("endpoints", endpoints.size(), kMaxSliceEndpoints);
  for (std::size_t i = 0; i < endpoints.size(); ++i) {
    const std::string at = item("endpoints", i) + ".addresses";
    const Array& addresses = array_at(endpoints[i], "addresses");
    if (addresses.size() > kMaxAddresses) errors.too_many(at, addresses.size(), kMaxAddresses);
    for (std::size_t k = 0; k < addresses.size(); ++k) {
      if (type == "FQDN") {
        for (const std::string& why : check_format(Format::kDnsSubdomain, view(addresses[k].get_string())))
          errors.invalid(item(at, k), addresses[k], why);
        continue;
      }
      auto ip = net::IpAddr::parse(view(addresses[k].get_string()));
      if (ip.ok() && ip->is_v4() != (type == "IPv4")) errors.invalid(item(at, k), addresses[k], fmt::format("must be an {} address", type));
      else check_endpoint_address(addresses[k], item(at, k), errors);
    }
  }
  std::set<std::string_view> names;
  const Array& ports = array_at(object, "ports");
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string_view name = text_at(ports[i], "name");
    if (!names.insert(name).second) errors.duplicate(item("ports", i) + ".name", Json(boost::json::string(name)));
    if (name.empty()) continue;
    for (const std::string& why : check_format(Format::kDnsLabel, name)) errors.invalid_text(item("ports", i) + ".name", name, why);
  }
  if (before != nullptr) validate_immutable(object, *before, "addressType", errors);
}

}  // namespace fairway::apiserver::rules
