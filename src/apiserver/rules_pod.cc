// Defaults and validation of pods and pod templates (pkg/apis/core/v1/defaults.go, pkg/apis/core/validation).
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "apiserver/formats.h"
#include "apiserver/kinds.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver::rules {
namespace {

const char* const kContainerLists[] = {"initContainers", "containers", "ephemeralContainers"};

// "nginx" and "nginx:latest" are pulled each time; a tag or a digest is not.
std::string_view pull_policy(std::string_view image) {
  if (image.find('@') != std::string_view::npos) return "IfNotPresent";
  const auto colon = image.rfind(':');
  const bool tagged = colon != std::string_view::npos && image.find('/', colon) == std::string_view::npos;
  return tagged && image.substr(colon + 1) != "latest" ? "IfNotPresent" : "Always";
}

void default_container(Object& container, bool host_network) {
  if (!container.contains("imagePullPolicy")) container["imagePullPolicy"] = boost::json::string(pull_policy(text_at(container, "image")));
  if (Json* ports = container.if_contains("ports"); ports != nullptr && host_network) {
    for (Json& port : ports->get_array()) {
      if (int_at(port, "hostPort") == 0) port.get_object()["hostPort"] = int_at(port, "containerPort");
    }
  }
  // What is limited and not asked for is asked for.
  if (const Object* limits = object_at(container, "resources.limits")) {
    const Object copy = *limits;
    Object& requests = ensure_object(container, "resources.requests");
    for (const auto& entry : copy) requests.emplace(entry.key(), entry.value());
  }
}

void add_toleration(Array& tolerations, const char* key) {
  for (const Json& one : tolerations) {
    const std::string_view effect = text_at(one, "effect");
    const std::string_view own = text_at(one, "key");
    if ((own == key || (own.empty() && text_at(one, "operator") == "Exists")) && (effect.empty() || effect == "NoExecute")) return;
  }
  tolerations.emplace_back(Object{{"effect", "NoExecute"}, {"key", key}, {"operator", "Exists"}, {"tolerationSeconds", 300}});
}

void validate_env(const Array& env, const std::string& path, FieldErrors& errors) {
  for (std::size_t i = 0; i < env.size(); ++i) {
    const Object* from = object_at(env[i], "valueFrom");
    if (from == nullptr) continue;
    const std::string at = item(path, i) + ".valueFrom";
    if (from->empty()) errors.invalid(at, "", "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`");
    else if (from->size() > 1) errors.invalid(at, "", "may not have more than one field specified at a time");
    if (!text_at(env[i], "value").empty()) errors.invalid(at, "", "may not be specified when `value` is not empty");
    if (const std::string_view field = text_at(*from, "fieldRef.fieldPath"); !field.empty()) {
      static const std::set<std::string_view> kFields{
          "metadata.name", "metadata.namespace", "metadata.uid", "spec.nodeName", "spec.serviceAccountName",
          "status.hostIP", "status.hostIPs",     "status.podIP", "status.podIPs"};
      if (!kFields.contains(field) && !field.starts_with("metadata.labels[") && !field.starts_with("metadata.annotations[")) {
        errors.invalid_text(at + ".fieldRef.fieldPath", field,
                            "error converting fieldPath: field label not supported: " + std::string(field));
      }
    }
  }
}

void validate_ports(const Array& ports, const std::string& path, bool host_network, FieldErrors& errors) {
  std::set<std::string_view> names;
  for (std::size_t i = 0; i < ports.size(); ++i) {
    const std::string_view name = text_at(ports[i], "name");
    if (!name.empty() && !names.insert(name).second) errors.duplicate(item(path, i) + ".name", Json(boost::json::string(name)));
    const auto host = int_at(ports[i], "hostPort");
    if (host_network && host != 0 && host != int_at(ports[i], "containerPort"))
      errors.invalid(item(path, i) + ".hostPort", host, "must match `containerPort` when `hostNetwork` is true");
  }
}

void validate_handler(const Object& handler, const std::string& path, FieldErrors& errors) {
  int count = 0;
  for (const char* kind : {"exec", "httpGet", "tcpSocket", "grpc", "sleep"}) {
    if (!handler.contains(kind)) continue;
    if (++count > 1) errors.forbidden(child(path, kind), "may not specify more than 1 handler type");
    const Json* port = find(handler, std::string(kind) + ".port");
    if (port == nullptr || std::string_view(kind) == "grpc") continue;
    if (port->is_int64() && (port->get_int64() < 1 || port->get_int64() > 65535))
      errors.invalid(child(path, kind) + ".port", *port, "must be between 1 and 65535, inclusive");
    if (port->is_string()) {
      for (const std::string& why : check_format(Format::kPortName, view(port->get_string())))
        errors.invalid(child(path, kind) + ".port", *port, why);
    }
  }
  if (count == 0) errors.required(path, "must specify a handler type");
}

void validate_probes(const Object& container, const std::string& path, FieldErrors& errors) {
  for (const char* name : {"livenessProbe", "readinessProbe", "startupProbe"}) {
    const Object* probe = object_at(container, name);
    if (probe == nullptr) continue;
    validate_handler(*probe, child(path, name), errors);
    const auto successes = int_at(*probe, "successThreshold", 1);
    if (successes != 1 && std::string_view(name) != "readinessProbe")
      errors.invalid(child(path, name) + ".successThreshold", successes, "must be 1");
  }
  for (const char* name : {"lifecycle.postStart", "lifecycle.preStop"}) {
    if (const Object* handler = object_at(container, name)) validate_handler(*handler, child(path, name), errors);
  }
}

void validate_resources(const Object& container, const std::string& path, FieldErrors& errors) {
  const Object* limits = object_at(container, "resources.limits");
  for (const char* list : {"limits", "requests"}) {
    const Object* amounts = object_at(container, std::string("resources.") + list);
    if (amounts == nullptr) continue;
    for (const auto& entry : *amounts) {
      const std::string_view name(entry.key().data(), entry.key().size());
      const std::string at = item(path + ".resources." + list, name);
      const double amount = quantity_value(view(entry.value().get_string()));
      if (amount < 0) errors.invalid(at, entry.value(), "must be greater than or equal to 0");
      const Json* limit = limits != nullptr ? limits->if_contains(name) : nullptr;
      if (std::string_view(list) == "requests" && limit != nullptr && amount > quantity_value(view(limit->get_string()))) {
        errors.invalid(path + ".resources.requests", entry.value(),
                       fmt::format("must be less than or equal to {} limit of {}", name, view(limit->get_string())));
      }
    }
  }
}

void validate_mounts(const Object& container, const std::string& path, const std::set<std::string_view>& volumes, FieldErrors& errors) {
  const Array& mounts = array_at(container, "volumeMounts");
  for (std::size_t i = 0; i < mounts.size(); ++i) {
    const std::string_view name = text_at(mounts[i], "name");
    if (!volumes.contains(name))
      errors.add({"FieldValueNotFound", fmt::format("Not found: {}", quoted(name)), item(path + ".volumeMounts", i) + ".name"});
    const std::string_view sub = text_at(mounts[i], "subPath");
    if (sub.starts_with('/')) errors.invalid_text(item(path + ".volumeMounts", i) + ".subPath", sub, "must be a relative path");
    if (("/" + std::string(sub) + "/").find("/../") != std::string::npos)
      errors.invalid_text(item(path + ".volumeMounts", i) + ".subPath", sub, "must not contain '..'");
  }
}

std::set<std::string_view> validate_volumes(const Object& spec, const std::string& path, FieldErrors& errors) {
  std::set<std::string_view> names;
  const Array& volumes = array_at(spec, "volumes");
  for (std::size_t i = 0; i < volumes.size(); ++i) {
    const std::string at = item(path + ".volumes", i);
    names.insert(text_at(volumes[i], "name"));
    const std::size_t sources = volumes[i].get_object().size() - 1;  // but the name
    if (sources == 0) errors.required(at, "must specify a volume type");
    if (sources > 1) errors.forbidden(at, "may not specify more than 1 volume type");
    const std::string host_path(text_at(volumes[i], "hostPath.path"));
    if (("/" + host_path + "/").find("/../") != std::string::npos)
      errors.invalid_text(at + ".hostPath.path", host_path, "must not contain '..'");
    if (quantity_value(text_at(volumes[i], "emptyDir.sizeLimit")) < 0)
      errors.forbidden(at + ".emptyDir.sizeLimit", "SizeLimit field must be a valid resource quantity");
    for (const char* source : {"configMap", "secret", "downwardAPI"}) {
      const Array& items = array_at(volumes[i], std::string(source) + ".items");
      for (std::size_t k = 0; k < items.size(); ++k) {
        const std::string file(text_at(items[k], "path"));
        if (file.starts_with('/')) errors.invalid_text(item(child(at, source) + ".items", k) + ".path", file, "must be a relative path");
        if (("/" + file + "/").find("/../") != std::string::npos)
          errors.invalid_text(item(child(at, source) + ".items", k) + ".path", file, "must not contain '..'");
      }
    }
  }
  return names;
}

void validate_dns(const Object& spec, const std::string& path, FieldErrors& errors) {
  const Array& servers = array_at(spec, "dnsConfig.nameservers");
  if (text_at(spec, "dnsPolicy") == "None" && servers.empty())
    errors.required(path + ".dnsConfig.nameservers", "must provide at least one DNS nameserver when `dnsPolicy` is None");
  if (servers.size() > 3) errors.invalid(path + ".dnsConfig.nameservers", servers, "must not have more than 3 nameservers");
  if (array_at(spec, "dnsConfig.searches").size() > 32)
    errors.invalid(path + ".dnsConfig.searches", array_at(spec, "dnsConfig.searches"), "must not have more than 32 search paths");
}

void validate_tolerations(const Array& tolerations, const std::string& path, FieldErrors& errors) {
  for (std::size_t i = 0; i < tolerations.size(); ++i) {
    const Json& one = tolerations[i];
    const std::string_view op = text_at(one, "operator");
    if (text_at(one, "key").empty() && op != "Exists")
      errors.invalid_text(item(path, i) + ".operator", op,
                          "operator must be Exists when `key` is empty, which means \"match all values and all keys\"");
    if (op == "Exists" && !text_at(one, "value").empty())
      errors.invalid(item(path, i) + ".operator", one, "value must be empty when `operator` is 'Exists'");
    if (find(one, "tolerationSeconds") != nullptr && text_at(one, "effect") != "NoExecute")
      errors.invalid_text(item(path, i) + ".effect", text_at(one, "effect"), "effect must be 'NoExecute' when `tolerationSeconds` is set");
  }
}

// What may change in a running pod, brought to the old pod's values: the rest must be equal.
Object without_mutable(Object spec, const Object& old) {
  for (const char* list : {"containers", "initContainers"}) {
    Json* containers = spec.if_contains(list);
    const Array& before = array_at(old, list);
    if (containers == nullptr || containers->get_array().size() != before.size()) continue;
    for (std::size_t i = 0; i < before.size(); ++i)
      containers->get_array()[i].get_object()["image"] = boost::json::string(text_at(before[i], "image"));
  }
  for (const char* key : {"activeDeadlineSeconds", "terminationGracePeriodSeconds", "schedulingGates"}) {
    if (const Json* value = old.if_contains(key)) spec[key] = *value;
    else erase_key(spec, key);
  }
  const Array &now_tolerations = array_at(spec, "tolerations"), &old_tolerations = array_at(old, "tolerations");
  const bool only_added = std::all_of(old_tolerations.begin(), old_tolerations.end(), [&](const Json& one) {
    return std::find(now_tolerations.begin(), now_tolerations.end(), one) != now_tolerations.end();
  });
  if (only_added) {
    if (const Json* value = old.if_contains("tolerations")) spec["tolerations"] = *value;
    else erase_key(spec, "tolerations");
  }
  erase_key(spec, "ephemeralContainers");
  return spec;
}

}  // namespace

void default_pod_spec(Object& spec) {
  // serviceAccount is the old name of serviceAccountName; upstream keeps both.
  if (const std::string_view old = text_at(spec, "serviceAccount"); text_at(spec, "serviceAccountName").empty() && !old.empty())
    spec["serviceAccountName"] = boost::json::string(old);
  if (const std::string account(text_at(spec, "serviceAccountName")); !account.empty()) spec["serviceAccount"] = account;
  const bool host_network = bool_at(spec, "hostNetwork");
  for (const char* list : kContainerLists) {
    Json* containers = spec.if_contains(list);
    if (containers == nullptr || !containers->is_array()) continue;
    for (Json& one : containers->get_array()) {
      if (one.is_object()) default_container(one.get_object(), host_network);
    }
  }
  if (Json* volumes = spec.if_contains("volumes"); volumes != nullptr && volumes->is_array()) {
    for (Json& one : volumes->get_array()) {
      if (one.is_object() && one.get_object().size() == 1 && one.get_object().contains("name")) one.get_object()["emptyDir"] = Object();
    }
  }
}

void default_pod(Object& object) {
  Object& spec = ensure_object(object, "spec");
  // The admission plug-ins ServiceAccount, Priority and DefaultTolerationSeconds.
  if (text_at(spec, "serviceAccountName").empty() && text_at(spec, "serviceAccount").empty()) spec["serviceAccountName"] = "default";
  spec.emplace("priority", 0);
  spec.emplace("preemptionPolicy", "PreemptLowerPriority");
  Array tolerations = array_at(spec, "tolerations");
  add_toleration(tolerations, "node.kubernetes.io/not-ready");
  add_toleration(tolerations, "node.kubernetes.io/unreachable");
  spec["tolerations"] = std::move(tolerations);
  default_pod_spec(spec);
}

std::string qos_class(const Object& spec) {
  bool any = false, guaranteed = true;
  for (const char* list : {"initContainers", "containers"}) {
    for (const Json& container : array_at(spec, list)) {
      for (const char* name : {"cpu", "memory"}) {
        const std::string_view limit = text_at(container, std::string("resources.limits.") + name);
        const std::string_view request = text_at(container, std::string("resources.requests.") + name, limit);
        any |= quantity_value(limit) > 0 || quantity_value(request) > 0;
        guaranteed &= quantity_value(limit) > 0 && quantity_value(limit) == quantity_value(request);
      }
    }
  }
  return !any ? "BestEffort" : guaranteed ? "Guaranteed" : "Burstable";
}

void prepare_pod_create(Object& object) {
  object["status"] = Object{{"phase", "Pending"}, {"qosClass", qos_class(ensure_object(object, "spec"))}};
}

// An update that leaves out what the server chose keeps it (kubectl replace with the user's own file).
void prepare_pod_update(Object& object, const Object& before) {
  Object& spec = ensure_object(object, "spec");
  for (const char* key : {"nodeName", "serviceAccountName", "serviceAccount", "ephemeralContainers"}) {
    if (const Json* value = find(before, std::string("spec.") + key); value != nullptr && !spec.contains(key)) spec[key] = *value;
  }
}

void validate_pod_spec(const Object& spec, const std::string& path, FieldErrors& errors) {
  const std::set<std::string_view> volumes = validate_volumes(spec, path, errors);
  const bool host_network = bool_at(spec, "hostNetwork");
  std::set<std::string_view> names;
  for (const char* list : kContainerLists) {
    const Array& containers = array_at(spec, list);
    for (std::size_t i = 0; i < containers.size(); ++i) {
      const std::string at = item(child(path, list), i);
      const Object& container = containers[i].get_object();
      const std::string_view name = text_at(container, "name"), image = text_at(container, "image");
      if (!names.insert(name).second) errors.duplicate(at + ".name", Json(boost::json::string(name)));
      if (image.empty()) errors.required(at + ".image");
      else if (image.front() == ' ' || image.back() == ' ')
        errors.invalid_text(at + ".image", image, "must not have leading or trailing whitespace");
      validate_env(array_at(container, "env"), at + ".env", errors);
      validate_ports(array_at(container, "ports"), at + ".ports", host_network, errors);
      validate_probes(container, at, errors);
      validate_resources(container, at, errors);
      validate_mounts(container, at, volumes, errors);
    }
  }
  validate_dns(spec, path, errors);
  validate_tolerations(array_at(spec, "tolerations"), path + ".tolerations", errors);
  validate_labels(object_at(spec, "nodeSelector"), path + ".nodeSelector", errors);
}

void validate_pod(const Object& object, const Object* before, FieldErrors& errors) {
  const Object& spec = *object_at(object, "spec");
  validate_pod_spec(spec, "spec", errors);
  if (before == nullptr) return;
  const Object& old = *object_at(*before, "spec");
  if (spec == old) return;
  Object old_fixed = old;
  erase_key(old_fixed, "ephemeralContainers");
  if (without_mutable(spec, old) != old_fixed) {
    errors.forbidden("spec",
                     "pod updates may not change fields other than "
                     "`spec.containers[*].image`,`spec.initContainers[*].image`,`spec.activeDeadlineSeconds`,"
                     "`spec.tolerations` (only additions to existing tolerations),`spec.terminationGracePeriodSeconds` (allow it to be set "
                     "to 1 if it was previously negative)");
  }
}

}  // namespace fairway::apiserver::rules
