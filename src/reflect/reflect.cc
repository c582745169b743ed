#include "reflect/reflect.h"

#include <algorithm>
#include <string>

#include "reflect/words.h"

namespace fairway::reflect {
namespace {

using k8s::Kind;
using k8s::SlimObject;
using model::Problem;

// The API's own limits (apimachinery validation, discovery/v1): more is no object of a sane server.
constexpr std::size_t kMaxEndpoints = 1000;
constexpr std::size_t kMaxSlicePorts = 20000;
constexpr std::size_t kMaxServicePorts = 1000;
constexpr std::size_t kMaxLabels = 256;

// RFC 1123 label or subdomain: lower-case letters, digits, '-' (and '.'), ends alphanumeric. Node and pod names may
// hold dots, Services not; the stricter check for Services is the API server's.
bool is_name(std::string_view text, std::size_t max) {
  const auto alnum = [](char c) { return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9'); };
  if (text.empty() || text.size() > max || !alnum(text.front()) || !alnum(text.back())) return false;
  return std::all_of(text.begin(), text.end(), [&](char c) { return alnum(c) || c == '-' || c == '.'; });
}

template <typename Row>
Reflected<Row> bad(std::string field, std::string reason) {
  Reflected<Row> out;
  out.problems.push_back({std::move(field), std::move(reason)});
  return out;
}

model::Labels labels_of(const SlimObject& object) {
  model::Labels out;
  for (const auto& [key, value] : object.meta.labels) {
    if (out.size() == kMaxLabels) break;
    out.emplace(key, value);
  }
  return out;
}

std::string_view label(const SlimObject& object, std::string_view name) {
  for (const auto& [key, value] : object.meta.labels)
    if (key == name) return value;
  return {};
}

// A port's protocol; TCP is the API's default.
std::optional<net::Protocol> protocol_of(const k8s::SlimPort& port) {
  return port.protocol.empty() ? std::optional(net::Protocol::kTcp) : net::parse_protocol(port.protocol);
}

std::optional<std::uint16_t> port_number(std::optional<std::int64_t> value) {
  return value && *value >= 1 && *value <= 65535 ? std::optional(static_cast<std::uint16_t>(*value)) : std::nullopt;
}

// Somebody else's words, for a terminal: one short line without control characters.
std::string printable(std::string_view text) {
  constexpr std::size_t kMost = 128;
  std::string out(text.substr(0, kMost));
  std::replace_if(
      out.begin(), out.end(), [](unsigned char c) { return c < 32 || c > 126; }, ' ');
  return out;
}

// Why an address can be nobody's endpoint, or empty.
std::string_view never_an_endpoint(const net::IpAddr& addr) {
  if (addr.is_loopback()) return "is a loopback address";
  if (addr.is_link_local()) return "is a link-local address";
  if (addr.is_multicast()) return "is a multicast address";
  if (addr.is_unset() || (addr.is_v4() && addr.v4_host_order() == 0)) return "is the unspecified address";
  if (addr.is_v4() && addr.v4_host_order() == 0xffffffffU) return "is the broadcast address";
  return {};
}

}  // namespace

Reflected<model::Name> reflect_name(const SlimObject& object) {
  const bool namespaced = object.kind != Kind::kNode && object.kind != Kind::kNamespace && object.kind != Kind::kClusterNetworkPolicy;
  if (!is_name(object.meta.name, 253)) return bad<model::Name>("metadata.name", quoted(object.meta.name) + " is not a name");
  if (namespaced && !is_name(object.meta.ns, 63))
    return bad<model::Name>("metadata.namespace", quoted(object.meta.ns) + " is not a namespace's name");
  Reflected<model::Name> out;
  out.row = model::Name{namespaced ? std::string(object.meta.ns) : "", std::string(object.meta.name)};
  return out;
}

Reflected<model::Namespace> reflect_namespace(const SlimObject& object) {
  Reflected<model::Namespace> out;
  out.row = model::Namespace{std::string(object.meta.name), labels_of(object), object.meta.deleting || object.phase == "Terminating"};
  return out;
}

Reflected<model::Node> reflect_node(const SlimObject& object) {
  Reflected<model::Node> out;
  model::Node node;
  node.name = object.meta.name;
  node.labels = labels_of(object);
  node.zone = label(object, "topology.kubernetes.io/zone");
  if (!object.ready.empty() && object.ready != "True")
    node.unready = model::Node::Unready{printable(object.ready_since), printable(object.ready_message)};
  for (std::size_t i = 0; i < object.addresses.size(); ++i) {
    const bool internal = object.addresses[i].first == "InternalIP";
    if (!internal && object.addresses[i].first != "ExternalIP") continue;  // the others are names
    const auto addr = net::IpAddr::parse(object.addresses[i].second);
    if (!internal && (!addr.ok() || !never_an_endpoint(*addr).empty())) continue;  // clouds write 0.0.0.0 for none
    if (!addr.ok()) return bad<model::Node>(indexed("status.addresses", i, ".address"), addr.error().message);
    if (const auto why = never_an_endpoint(*addr); !why.empty())
      return bad<model::Node>(indexed("status.addresses", i, ".address"), addr->to_string() + " " + std::string(why));
    const bool further = !internal || std::any_of(node.addresses.begin(), node.addresses.end(),
                                                  [&](const net::IpAddr& a) { return a.family() == addr->family(); });
    (further ? node.other_addresses : node.addresses).push_back(*addr);
  }
  for (std::size_t i = 0; i < object.pod_cidrs.size(); ++i) {
    auto prefix = net::Prefix::parse(object.pod_cidrs[i]);
    if (!prefix.ok()) return bad<model::Node>(indexed("spec.podCIDRs", i), prefix.error().message);
    if (prefix->length() < 8) return bad<model::Node>(indexed("spec.podCIDRs", i), prefix->to_string() + " is too large to be one node's");
    node.pod_cidrs.push_back(*prefix);
  }
  out.row = std::move(node);
  return out;
}

Reflected<model::Pod> reflect_pod(const SlimObject& object) {
  Reflected<model::Pod> out;
  model::Pod pod;
  pod.id = {std::string(object.meta.ns), std::string(object.meta.name)};
  pod.uid = object.meta.uid;
  pod.node = object.node_name;
  pod.host_network = object.host_network;
  pod.terminated = object.phase == "Succeeded" || object.phase == "Failed";
  for (std::size_t i = 0; i < object.pod_ips.size(); ++i) {
    const auto addr = net::IpAddr::parse(object.pod_ips[i]);
    if (!addr.ok()) return bad<model::Pod>(indexed("status.podIPs", i, ".ip"), addr.error().message);
    if (const auto why = never_an_endpoint(*addr); !why.empty())
      return bad<model::Pod>(indexed("status.podIPs", i, ".ip"), addr->to_string() + " " + std::string(why));
    pod.ips.push_back(*addr);
  }
  pod.labels = labels_of(object);
  for (const auto& port : object.ports) {
    const auto protocol = protocol_of(port);
    const auto number = port_number(port.port);
    if (port.name.empty() || !protocol || !number) continue;  // only named ports are ever looked up
    pod.ports.push_back({std::string(port.name), *protocol, *number});
  }
  out.row = std::move(pod);
  return out;
}

Reflected<model::Service> reflect_service(const SlimObject& object) {
  Reflected<model::Service> out;
  model::Service service;
  service.id = {std::string(object.meta.ns), std::string(object.meta.name)};
  service.uid = object.meta.uid;
  if (object.type.empty() || object.type == "ClusterIP") service.type = model::ServiceType::kClusterIp;
  else if (object.type == "NodePort") service.type = model::ServiceType::kNodePort;
  else if (object.type == "LoadBalancer") service.type = model::ServiceType::kLoadBalancer;
  else if (object.type == "ExternalName") service.type = model::ServiceType::kExternalName;
  else return bad<model::Service>("spec.type", quoted(object.type) + " is not known");
  service.external_name = object.external_name;
  service.publish_not_ready = object.publish_not_ready;
  service.internal_local = object.internal_policy == "Local";
  service.external_local = object.external_policy == "Local";
  if (object.session_affinity == "ClientIP") {
    const std::int64_t seconds = object.affinity_seconds.value_or(10800);
    if (seconds < 1 || seconds > 86400)
      return bad<model::Service>("spec.sessionAffinityConfig.clientIP.timeoutSeconds",
                                 std::to_string(seconds) + " is not within 1 and 86400");
    service.affinity_seconds = static_cast<std::uint32_t>(seconds);
  }
  if (service.type != model::ServiceType::kExternalName) {
    for (std::size_t i = 0; i < object.cluster_ips.size(); ++i) {
      if (object.cluster_ips[i] == "None") {
        service.headless = true;
        continue;
      }
      const auto addr = net::IpAddr::parse(object.cluster_ips[i]);
      if (!addr.ok()) return bad<model::Service>(indexed("spec.clusterIPs", i), addr.error().message);
      if (const auto why = never_an_endpoint(*addr); !why.empty())
        return bad<model::Service>(indexed("spec.clusterIPs", i), addr->to_string() + " " + std::string(why));
      service.cluster_ips.push_back(*addr);
    }
  }
  if (object.ports.size() > kMaxServicePorts) return bad<model::Service>("spec.ports", "has more than 1000 ports");
  for (std::size_t i = 0; i < object.ports.size(); ++i) {
    const k8s::SlimPort& port = object.ports[i];
    const auto protocol = protocol_of(port);
    const auto number = port_number(port.port);
    if (!protocol) return bad<model::Service>(indexed("spec.ports", i, ".protocol"), quoted(port.protocol) + " is not known");
    if (!number) return bad<model::Service>(indexed("spec.ports", i, ".port"), "is not a number from 1 to 65535");
    if (port.node_port < 0 || port.node_port > 65535)
      return bad<model::Service>(indexed("spec.ports", i, ".nodePort"), "is not a number from 0 to 65535");
    service.ports.push_back({std::string(port.name), *protocol, *number, static_cast<std::uint16_t>(port.node_port)});
  }
  if (object.external_ips > 0)
    out.problems.push_back({"spec.externalIPs", "ignored: anyone who may write a Service could take any address (CVE-2020-8554)"});
  out.row = std::move(service);
  return out;
}

Reflected<model::EndpointSlice> reflect_slice(const SlimObject& object) {
  Reflected<model::EndpointSlice> out;
  const std::string_view service = label(object, "kubernetes.io/service-name");
  if (service.empty() || object.address_type == "FQDN") return out;
  if (!is_name(service, 253))
    return bad<model::EndpointSlice>("metadata.labels[kubernetes.io/service-name]", quoted(service) + " is not a name");
  model::EndpointSlice slice;
  slice.id = {std::string(object.meta.ns), std::string(object.meta.name)};
  slice.service = {slice.id.ns, std::string(service)};
  if (object.address_type == "IPv4") slice.family = net::Family::kV4;
  else if (object.address_type == "IPv6") slice.family = net::Family::kV6;
  else return bad<model::EndpointSlice>("addressType", quoted(object.address_type) + " is not known");
  if (object.ports.size() > kMaxSlicePorts) return bad<model::EndpointSlice>("ports", "has more than 20000 ports");
  for (std::size_t i = 0; i < object.ports.size(); ++i) {
    const k8s::SlimPort& port = object.ports[i];
    const auto protocol = protocol_of(port);
    if (!protocol) return bad<model::EndpointSlice>(indexed("ports", i, ".protocol"), quoted(port.protocol) + " is not known");
    if (!port.port) continue;  // the API: no port number, the consumer is to decide; there is none to send to
    const auto number = port_number(port.port);
    if (!number) return bad<model::EndpointSlice>(indexed("ports", i, ".port"), "is not a number from 1 to 65535");
    slice.ports.push_back({std::string(port.name), *protocol, *number});
  }
  if (object.endpoint_count > kMaxEndpoints) return bad<model::EndpointSlice>("endpoints", "has more than 1000 endpoints");
  for (std::size_t i = 0; i < object.endpoint_count; ++i) {
    const k8s::SlimEndpoint& from = object.endpoints[i];
    if (from.addresses.empty()) continue;
    // The API: all addresses of an endpoint are the same one's; consumers use the first.
    const auto addr = net::IpAddr::parse(from.addresses.front());
    if (!addr.ok()) return bad<model::EndpointSlice>(indexed("endpoints", i, ".addresses[0]"), addr.error().message);
    if (addr->family() != slice.family)
      return bad<model::EndpointSlice>(indexed("endpoints", i, ".addresses[0]"),
                                       addr->to_string() + " is not " + std::string(object.address_type));
    if (const auto why = never_an_endpoint(*addr); !why.empty()) {
      out.problems.push_back({indexed("endpoints", i, ".addresses[0]"), addr->to_string() + " " + std::string(why) + ": refused"});
      continue;
    }
    model::Endpoint to;
    to.addr = *addr;
    to.ready = from.ready.value_or(true);  // the API: unknown is ready
    to.serving = from.serving.value_or(to.ready);
    to.terminating = from.terminating.value_or(false);
    to.hostname = from.hostname;
    to.node = from.node_name;
    to.zone = from.zone;
    if (from.target_kind == "Pod")
      to.target = {std::string(from.target_ns.empty() ? object.meta.ns : from.target_ns), std::string(from.target_name)};
    slice.endpoints.push_back(std::move(to));
  }
  out.row = std::move(slice);
  return out;
}

}  // namespace fairway::reflect
