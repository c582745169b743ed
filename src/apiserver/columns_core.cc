// The columns of core kinds but pods.
#include <algorithm>

#include "apiserver/columns_common.h"
#include "apiserver/formats.h"

namespace fairway::apiserver::printers {

std::string labels_text(const Object* labels) {
  std::vector<std::string> parts;
  if (labels != nullptr) {
    for (const auto& [key, value] : *labels) {
      if (value.is_string()) parts.push_back(fmt::format("{}={}", std::string_view(key.data(), key.size()), view(value.get_string())));
    }
  }
  std::sort(parts.begin(), parts.end());
  return or_none(join(parts));
}

std::string containers_text(const Object& object, std::string_view path, std::string_view field) {
  std::vector<std::string> parts;
  for (const Json& container : array_at(object, path)) parts.emplace_back(text_at(container, field));
  return or_none(join(parts));
}

namespace {

Cells plain_cells(const Object& object) { return {name_of(object), age_of(object)}; }

Cells namespace_cells(const Object& ns) { return {name_of(ns), std::string(text_at(ns, "status.phase")), age_of(ns)}; }

std::string node_status(const Object& node) {
  std::string status = "Unknown";
  for (const Json& condition : array_at(node, "status.conditions")) {
    if (text_at(condition, "type") == "Ready") status = text_at(condition, "status") == "True" ? "Ready" : "NotReady";
  }
  return bool_at(node, "spec.unschedulable") ? status + ",SchedulingDisabled" : status;
}

std::string node_roles(const Object& node) {
  std::vector<std::string> roles;
  if (const Object* labels = object_at(node, "metadata.labels")) {
    for (const auto& [key, value] : *labels) {
      const std::string_view name(key.data(), key.size());
      constexpr std::string_view kPrefix = "node-role.kubernetes.io/";
      if (name.starts_with(kPrefix) && name.size() > kPrefix.size()) roles.emplace_back(name.substr(kPrefix.size()));
      else if (name == "kubernetes.io/role" && value.is_string()) roles.emplace_back(view(value.get_string()));
    }
  }
  std::sort(roles.begin(), roles.end());
  return or_none(join(roles));
}

std::string node_address(const Object& node, std::string_view type) {
  for (const Json& address : array_at(node, "status.addresses")) {
    if (text_at(address, "type") == type) return std::string(text_at(address, "address"));
  }
  return "<none>";
}

std::string or_unknown(std::string_view text) { return text.empty() ? "<unknown>" : std::string(text); }

Cells node_cells(const Object& node) {
  return {name_of(node),
          node_status(node),
          node_roles(node),
          age_of(node),
          std::string(text_at(node, "status.nodeInfo.kubeletVersion")),
          node_address(node, "InternalIP"),
          node_address(node, "ExternalIP"),
          or_unknown(text_at(node, "status.nodeInfo.osImage")),
          or_unknown(text_at(node, "status.nodeInfo.kernelVersion")),
          or_unknown(text_at(node, "status.nodeInfo.containerRuntimeVersion"))};
}

std::string load_balancer_text(const Object& object) {
  std::vector<std::string> parts;
  for (const Json& ingress : array_at(object, "status.loadBalancer.ingress")) {
    const std::string_view ip = text_at(ingress, "ip");
    parts.emplace_back(ip.empty() ? text_at(ingress, "hostname") : ip);
  }
  return join(parts);
}

std::string external_ip(const Object& service) {
  std::vector<std::string> externals;
  for (const Json& ip : array_at(service, "spec.externalIPs")) externals.emplace_back(view(ip.get_string()));
  const std::string_view type = text_at(service, "spec.type");
  if (type == "ExternalName") return std::string(text_at(service, "spec.externalName"));
  if (type == "LoadBalancer") {
    if (std::string balancer = load_balancer_text(service); !balancer.empty()) externals.insert(externals.begin(), std::move(balancer));
    return externals.empty() ? "<pending>" : join(externals);
  }
  return or_none(join(externals));
}

Cells service_cells(const Object& service) {
  std::vector<std::string> ports;
  for (const Json& port : array_at(service, "spec.ports")) {
    const auto node_port = int_at(port, "nodePort");
    ports.push_back(node_port != 0 ? fmt::format("{}:{}/{}", int_at(port, "port"), node_port, text_at(port, "protocol"))
                                   : fmt::format("{}/{}", int_at(port, "port"), text_at(port, "protocol")));
  }
  return {name_of(service),
          std::string(text_at(service, "spec.type")),
          or_none(std::string(text_at(service, "spec.clusterIP"))),
          external_ip(service),
          or_none(join(ports)),
          age_of(service),
          labels_text(object_at(service, "spec.selector"))};
}

Cells endpoints_cells(const Object& endpoints) {
  std::vector<std::string> all;
  for (const Json& subset : array_at(endpoints, "subsets")) {
    const Array& ports = array_at(subset, "ports");
    for (const Json& address : array_at(subset, "addresses")) {
      const std::string ip(text_at(address, "ip"));
      if (ports.empty()) all.push_back(ip);
      for (const Json& port : ports)
        all.push_back(ip.find(':') == std::string::npos ? fmt::format("{}:{}", ip, int_at(port, "port"))
                                                        : fmt::format("[{}]:{}", ip, int_at(port, "port")));
    }
  }
  std::string text = join({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(all.size(), 3))});
  if (all.size() > 3) text += fmt::format(" + {} more...", all.size() - 3);
  return {name_of(endpoints), or_none(text), age_of(endpoints)};
}

std::size_t size_of(const Object& object, const char* field) {
  const Object* data = object_at(object, field);
  return data != nullptr ? data->size() : 0;
}

Cells config_map_cells(const Object& map) {
  return {name_of(map), std::to_string(size_of(map, "data") + size_of(map, "binaryData")), age_of(map)};
}
Cells secret_cells(const Object& secret) {
  return {name_of(secret), std::string(text_at(secret, "type")), std::to_string(size_of(secret, "data")), age_of(secret)};
}
Cells service_account_cells(const Object& account) {
  return {name_of(account), std::to_string(array_at(account, "secrets").size()), age_of(account)};
}

std::string event_time(const Object& event, const char* first, const char* second) {
  std::string_view time = text_at(event, first);
  if (time.empty()) time = text_at(event, second);
  return age_text(time);
}

Cells event_cells(const Object& event) {
  std::string target(text_at(event, "involvedObject.kind"));
  std::transform(target.begin(), target.end(), target.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (const std::string_view name = text_at(event, "involvedObject.name"); !name.empty()) target += fmt::format("/{}", name);
  const std::string first = event_time(event, "firstTimestamp", "eventTime");
  std::string last = event_time(event, "series.lastObservedTime", "lastTimestamp");
  if (last == "<unknown>") last = first;
  const auto count = int_at(event, "series.count", int_at(event, "count", 1));
  if (count > 1) last = fmt::format("{} (x{} over {})", last, count, first);
  std::string_view source = text_at(event, "source.component", text_at(event, "reportingComponent"));
  const std::string_view host = text_at(event, "source.host");
  std::string message(text_at(event, "message"));
  message.erase(message.find_last_not_of(" \n\t") + 1);
  return {last,
          std::string(text_at(event, "type")),
          std::string(text_at(event, "reason")),
          target,
          std::string(text_at(event, "involvedObject.fieldPath")),
          host.empty() ? std::string(source) : fmt::format("{}, {}", source, host),
          message,
          first,
          std::to_string(count),
          name_of(event)};
}

}  // namespace

const Printer kDefault{"Name Age", plain_cells};
const Printer kNamespace{"Name Status Age", namespace_cells};
const Printer kNode{"Name Status Roles Age Version|Internal-IP External-IP OS-Image Kernel-Version Container-Runtime", node_cells};
const Printer kService{"Name Type Cluster-IP External-IP Port(s) Age|Selector", service_cells};
const Printer kEndpoints{"Name Endpoints Age", endpoints_cells};
const Printer kConfigMap{"Name Data Age", config_map_cells};
const Printer kSecret{"Name Type Data Age", secret_cells};
const Printer kServiceAccount{"Name Secrets Age", service_account_cells};
const Printer kEvent{"Last_Seen Type Reason Object|Subobject Source|Message|First_Seen Count Name", event_cells};

}  // namespace fairway::apiserver::printers
