// Defaults and validation of NetworkPolicy, Ingress and IngressClass (pkg/apis/networking/validation).
#include <fmt/format.h>

#include "apiserver/formats.h"
#include "apiserver/kinds.h"
#include "apiserver/schema_check.h"
#include "net/ip.h"

namespace fairway::apiserver::rules {
namespace {

void check_port_number(const Json& port, const std::string& path, FieldErrors& errors) {
  if (port.get_int64() < 1 || port.get_int64() > 65535) errors.invalid(path, port, "must be between 1 and 65535, inclusive");
}

void validate_policy_port(const Json& rule, const std::string& path, FieldErrors& errors) {
  const Json *port = find(rule, "port"), *end = find(rule, "endPort");
  if (port == nullptr) {
    if (end != nullptr) errors.invalid(path + ".endPort", *end, "may not be specified when `port` is not specified");
    return;
  }
  if (port->is_string()) {
    if (end != nullptr) errors.invalid(path + ".endPort", *end, "may not be specified when `port` is non-numeric");
    for (const std::string& why : check_format(Format::kPortName, view(port->get_string()))) errors.invalid(path + ".port", *port, why);
    return;
  }
  check_port_number(*port, path + ".port", errors);
  if (end == nullptr) return;
  if (end->get_int64() < port->get_int64()) errors.invalid(path + ".endPort", *end, "must be greater than or equal to `port`");
  check_port_number(*end, path + ".endPort", errors);
}

void validate_ip_block(const Json& block, const std::string& path, FieldErrors& errors) {
  const auto range = lenient_cidr(text_at(block, "cidr"));
  if (!range) return;  // told by the table
  const Array& excepts = array_at(block, "except");
  for (std::size_t i = 0; i < excepts.size(); ++i) {
    const auto hole = lenient_cidr(view(excepts[i].get_string()));
    if (!hole) continue;
    const bool inside = hole->family() == range->family() && range->contains(hole->addr()) && hole->length() > range->length();
    if (!inside) errors.invalid(item(path + ".except", i), excepts[i], "must be a strict subset of `cidr`");
  }
}

void validate_peer(const Json& peer, const std::string& path, FieldErrors& errors) {
  const Json *pods = find(peer, "podSelector"), *namespaces = find(peer, "namespaceSelector"), *block = find(peer, "ipBlock");
  if (pods != nullptr) validate_label_selector(*pods, path + ".podSelector", errors);
  if (namespaces != nullptr) validate_label_selector(*namespaces, path + ".namespaceSelector", errors);
  if (block != nullptr) validate_ip_block(*block, path + ".ipBlock", errors);
  if (pods == nullptr && namespaces == nullptr && block == nullptr) errors.required(path, "must specify a peer");
  else if (block != nullptr && (pods != nullptr || namespaces != nullptr))
    errors.forbidden(path, "may not specify both ipBlock and another peer");
}

void validate_rules(const Object& object, const char* direction, const char* peers, FieldErrors& errors) {
  const Array& all = array_at(object, std::string("spec.") + direction);
  for (std::size_t i = 0; i < all.size(); ++i) {
    const std::string at = item(std::string("spec.") + direction, i);
    const Array &ports = array_at(all[i], "ports"), &list = array_at(all[i], peers);
    for (std::size_t k = 0; k < ports.size(); ++k) validate_policy_port(ports[k], item(at + ".ports", k), errors);
    for (std::size_t k = 0; k < list.size(); ++k) validate_peer(list[k], item(child(at, peers), k), errors);
  }
}

void validate_backend(const Json& backend, const std::string& path, FieldErrors& errors) {
  const Json *service = find(backend, "service"), *resource = find(backend, "resource");
  if (service != nullptr && resource != nullptr) return errors.invalid(path, "", "cannot set both resource and service backends");
  if (service == nullptr && resource == nullptr) return errors.required(path, "resource or service backend is required");
  if (service == nullptr) return;
  const std::string_view name = text_at(*service, "port.name");
  const std::int64_t number = int_at(*service, "port.number");
  if (!name.empty() && number != 0) errors.invalid(path, "", "cannot set both port name & port number");
  else if (name.empty() && number == 0) errors.required(path, "port name or number is required");
  else if (!name.empty()) {
    for (const std::string& why : check_format(Format::kPortName, name)) errors.invalid_text(path + ".service.port.name", name, why);
  } else {
    check_port_number(Json(number), path + ".service.port.number", errors);
  }
}

void validate_path(const Json& entry, const std::string& at, FieldErrors& errors) {
  const std::string_view path = text_at(entry, "path"), type = text_at(entry, "pathType");
  const bool specific = type == "ImplementationSpecific";
  if ((!specific || !path.empty()) && !path.starts_with('/')) errors.invalid_text(at + ".path", path, "must be an absolute path");
  if (!specific && path.starts_with('/')) {
    for (std::string_view bad : {"//", "/./", "/../", "%2f", "%2F"}) {
      if (path.find(bad) != std::string_view::npos) errors.invalid_text(at + ".path", path, fmt::format("must not contain '{}'", bad));
    }
    for (std::string_view bad : {"/..", "/."}) {
      if (path.ends_with(bad)) errors.invalid_text(at + ".path", path, fmt::format("cannot end with '{}'", bad));
    }
  }
  if (const Json* backend = find(entry, "backend")) validate_backend(*backend, at + ".backend", errors);
  else errors.required(at + ".backend", "resource or service backend is required");
}

void validate_host(std::string_view host, const std::string& path, FieldErrors& errors) {
  if (host.empty()) return;
  if (net::IpAddr::parse(host).ok()) return errors.invalid_text(path, host, "must be a DNS name, not an IP address");
  const auto problems =
      host.find('*') != std::string_view::npos ? check_wildcard_subdomain(host) : check_format(Format::kDnsSubdomain, host);
  for (const std::string& why : problems) errors.invalid_text(path, host, why);
}

}  // namespace

void default_network_policy(Object& object) {
  Object& spec = ensure_object(object, "spec");
  if (!array_at(spec, "policyTypes").empty()) return;
  Array types{"Ingress"};
  if (!array_at(spec, "egress").empty()) types.emplace_back("Egress");
  spec["policyTypes"] = std::move(types);
}

void validate_network_policy(const Object& object, const Object*, FieldErrors& errors) {
  validate_label_selector(*find(object, "spec.podSelector"), "spec.podSelector", errors);
  validate_rules(object, "ingress", "from", errors);
  validate_rules(object, "egress", "to", errors);
  const Array& types = array_at(object, "spec.policyTypes");
  if (types.size() > 2) errors.invalid("spec.policyTypes", types, "may not specify more than two policyTypes");
}

void validate_ingress(const Object& object, const Object*, FieldErrors& errors) {
  const Array& rules = array_at(object, "spec.rules");
  const Json* fallback = find(object, "spec.defaultBackend");
  if (rules.empty() && fallback == nullptr) errors.invalid("spec", rules, "either `defaultBackend` or `rules` must be specified");
  if (fallback != nullptr) validate_backend(*fallback, "spec.defaultBackend", errors);
  for (std::size_t i = 0; i < rules.size(); ++i) {
    const std::string at = item("spec.rules", i);
    validate_host(text_at(rules[i], "host"), at + ".host", errors);
    const Array& paths = array_at(rules[i], "http.paths");
    for (std::size_t k = 0; k < paths.size(); ++k) validate_path(paths[k], item(at + ".http.paths", k), errors);
  }
  const Array& tls = array_at(object, "spec.tls");
  for (std::size_t i = 0; i < tls.size(); ++i) {
    const Array& hosts = array_at(tls[i], "hosts");
    for (std::size_t k = 0; k < hosts.size(); ++k)
      validate_host(view(hosts[k].get_string()), item(item("spec.tls", i) + ".hosts", k), errors);
  }
  if (const std::string_view name = text_at(object, "spec.ingressClassName"); find(object, "spec.ingressClassName") != nullptr) {
    for (const std::string& why : check_format(Format::kDnsSubdomain, name)) errors.invalid_text("spec.ingressClassName", name, why);
  }
}

void validate_ingress_class(const Object& object, const Object* before, FieldErrors& errors) {
  const std::string_view controller = text_at(object, "spec.controller");
  if (controller.empty()) return errors.required("spec.controller");
  if (controller.find('/') == std::string_view::npos)
    errors.invalid_text("spec.controller", controller, "must be a domain-prefixed path (such as \"acme.io/foo\")");
  if (before != nullptr) validate_immutable(object, *before, "spec.controller", errors);
}

}  // namespace fairway::apiserver::rules
