#include "policycheck/asked.h"

#include <algorithm>

#include "policycheck/pattern.h"

namespace fairway::policycheck {
namespace {

constexpr std::size_t kMostHints = 5;

// A name alone, as people type it: its namespace and itself. Nothing for globs, labels and addresses.
std::optional<model::Name> name_in(std::string_view text, const std::string& default_namespace) {
  const auto slash = text.find('/');
  const std::string_view name = slash == std::string_view::npos ? text : text.substr(slash + 1);
  if (name.empty() || name.find_first_of("*{}[]:/") != std::string_view::npos) return std::nullopt;
  return model::Name{slash == std::string_view::npos ? default_namespace : std::string(text.substr(0, slash)), std::string(name)};
}

const Service* service_named(const Check& check, const model::Name& id) {
  for (const Service& service : check.inventory().services)
    if (service.id == id) return &service;
  return nullptr;
}

std::vector<const model::Pod*> pods_of(const Check& check, const End& end) {
  std::vector<const model::Pod*> out;
  if (end.kind == End::Kind::kWorkload)
    for (const std::size_t pod : check.workload(end).pods) out.push_back(&check.inventory().state.pods[pod]);
  return out;
}

bool selects(const Service& service, const model::Pod& pod) {
  return !service.selector.empty() && service.id.ns == pod.id.ns &&
         std::all_of(service.selector.begin(), service.selector.end(), [&](const auto& wanted) {
           const auto has = pod.labels.find(wanted.first);
           return has != pod.labels.end() && has->second == wanted.second;
         });
}

// Where a Service's port leads on such a pod.
PortSet target_of(const ServicePort& port, const model::Pod& pod) {
  PortSet out;
  if (port.target != 0) return PortSet::port(port.protocol, port.target);
  for (const auto& p : pod.ports)
    if (p.name == port.target_name && p.protocol == port.protocol) out = out | PortSet::port(p.protocol, p.port);
  return out;
}

// The ports of an end that anybody has written down.
PortSet known_ports(const Check& check, const End& end) {
  PortSet out;
  for (const model::Pod* pod : pods_of(check, end)) {
    for (const auto& port : pod->ports) out = out | PortSet::port(port.protocol, port.port);
    for (const Service& service : check.inventory().services)
      if (selects(service, *pod))
        for (const auto& port : service.ports) out = out | target_of(port, *pod);
  }
  return out;
}

Result<Asked> behind_service(const Check& check, const Service& service, std::string_view ports) {
  const std::string object = "Service " + service.id.to_string();
  Asked out;
  PortSet asked;
  if (!ports.empty()) { FW_ASSIGN(asked, parse_ports(ports)); }
  PortSet own;
  for (const End& end : check.ends()) {
    bool behind = false;
    for (const model::Pod* pod : pods_of(check, end)) {
      if (!selects(service, *pod)) continue;
      behind = true;
      for (const auto& port : service.ports)
        if (ports.empty() || asked.has(port.protocol, port.port)) {
          own = own | PortSet::port(port.protocol, port.port);
          out.ports = out.ports | target_of(port, *pod);
        }
    }
    if (behind) out.ends.push_back(&end);
  }
  if (out.ends.empty()) return make_error(Code::kNotFound, object + " selects no pod here: name a workload");
  if (own.empty()) return make_error(Code::kNotFound, object + " has no such port: " + std::string(ports));
  if (out.ports.empty()) return make_error(Code::kNotFound, object + ": no pod behind it has a port of the name that it leads to");
  out.note = object + " port " + own.to_string() + " leads to port " + out.ports.to_string() + " of ";
  for (const End* end : out.ends) out.note += (end == out.ends.front() ? "" : ", ") + end->name;
  return out;
}

constexpr std::string_view kService = "svc/";

Result<Asked> parse_service(const Check& check, std::string_view text, const std::string& default_namespace) {
  const auto [name, ports] = split_port(text.substr(kService.size()));
  const auto id = name_in(name, default_namespace);
  const Service* service = id ? service_named(check, *id) : nullptr;
  if (service == nullptr)
    return make_error(Code::kNotFound, "there is no Service " + (id ? id->to_string() : "\"" + std::string(name) + "\""));
  return behind_service(check, *service, ports);
}

// A Service has the workload's name, and a port that is asked for leads elsewhere by it. Empty where there is none.
std::string other_meaning(const Check& check, const model::Name& id, const PortSet& ports) {
  const Service* service = service_named(check, id);
  if (service == nullptr) return "";
  for (const auto& port : service->ports)
    if (ports.has(port.protocol, port.port) && port.target != port.port) {
      const std::string asked = PortSet::port(port.protocol, port.port).to_string();
      return "its pods are asked on port " + asked + " itself; by Service " + id.to_string() + " it is svc/" + id.to_string() + ":" + asked;
    }
  return "";
}

}  // namespace

bool is_service(std::string_view text) { return text.starts_with(kService); }

std::string hint_of(const Check& check, const std::string& pattern, const std::string& default_namespace) {
  const auto wanted = name_in(pattern, default_namespace);
  if (!wanted) return "";
  std::vector<const model::Name*> found;
  for (const Workload& workload : check.inventory().workloads)
    if (workload.id.name == wanted->name && found.size() < kMostHints) found.push_back(&workload.id);
  std::string out;
  for (const model::Name* id : found) out += (out.empty() ? "; there is " : ", ") + id->to_string();
  if (found.size() == 1 && pattern.find('/') == std::string::npos) out += ": -n " + found.front()->ns;
  if (!found.empty()) return out;
  if (service_named(check, *wanted) != nullptr) return "; there is a Service of that name: name the workload behind it";
  for (const Service& service : check.inventory().services)
    if (service.id.name == wanted->name) return "; there is Service " + service.id.to_string();
  return "";
}

Result<std::vector<const End*>> ends_named(const Check& check, const std::string& pattern, const std::string& default_namespace) {
  FW_ASSIGN(const Pattern parsed, Pattern::parse(pattern, default_namespace));
  FW_ASSIGN(auto out, parsed.ends(check));
  if (!out.empty()) return out;
  const auto name = name_in(pattern, default_namespace);
  if (!name) return make_error(Code::kNotFound, "nothing here is named \"" + pattern + "\"; `*` shows all there is");
  const std::string hint = hint_of(check, pattern, default_namespace);
  return make_error(Code::kNotFound, "\"" + pattern + "\": namespace " + name->ns + " has no workload or pod of that name" +
                                         (hint.empty() ? "; `*` shows all there is" : hint));
}

Result<Asked> parse_destination(const Check& check, std::string_view text, const std::string& default_namespace) {
  if (is_service(text)) return parse_service(check, text, default_namespace);
  const auto [name, ports] = split_port(text);
  auto ends = ends_named(check, std::string(name), default_namespace);
  if (!ends.ok()) {
    const auto id = name_in(name, default_namespace);
    const Service* service = id ? service_named(check, *id) : nullptr;
    if (service == nullptr) return std::move(ends).error();
    return behind_service(check, *service, ports);
  }
  Asked out{std::move(*ends), {}, ""};
  if (!ports.empty()) {
    FW_ASSIGN(out.ports, parse_ports(ports));
    const auto id = name_in(name, default_namespace);
    out.note = id ? other_meaning(check, *id, out.ports) : "";
    return out;
  }
  if (out.ends.size() == 1) out.ports = known_ports(check, *out.ends.front());
  if (out.ports.empty())
    return make_error(Code::kInvalid, "name a port: " + std::string(name) + ":80" +
                                          (out.ends.size() == 1 ? "; its manifests name none" : "; it is several ends"));
  out.note = "port " + out.ports.to_string() + ", as containers and Services of " + out.ends.front()->name + " name it";
  return out;
}

}  // namespace fairway::policycheck
