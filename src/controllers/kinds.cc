#include "controllers/kinds.h"

#include "controllers/json.h"

namespace fairway::controllers {

k8s::ResourceRef Kind::ref() const {
  k8s::ResourceRef ref;
  ref.group = group;
  ref.version = version;
  ref.resource = resource;
  return ref;
}

Kinds::Kinds()
    : built_in_{
          {"", "v1", "Namespace", "namespaces", false},
          {"", "v1", "Node", "nodes", false},
          {"", "v1", "Pod", "pods"},
          {"", "v1", "Service", "services"},
          {"", "v1", "Endpoints", "endpoints"},
          {"", "v1", "ConfigMap", "configmaps"},
          {"", "v1", "Secret", "secrets"},
          {"", "v1", "ServiceAccount", "serviceaccounts"},
          {"", "v1", "Event", "events"},
          {"apps", "v1", "Deployment", "deployments"},
          {"apps", "v1", "ReplicaSet", "replicasets"},
          {"apps", "v1", "DaemonSet", "daemonsets"},
          {"discovery.k8s.io", "v1", "EndpointSlice", "endpointslices"},
          {"coordination.k8s.io", "v1", "Lease", "leases"},
          {"networking.k8s.io", "v1", "NetworkPolicy", "networkpolicies"},
          {"networking.k8s.io", "v1", "Ingress", "ingresses"},
          {"networking.k8s.io", "v1", "IngressClass", "ingressclasses", false},
          {"apiextensions.k8s.io", "v1", "CustomResourceDefinition", "customresourcedefinitions", false},
      } {}

void Kinds::learn(const std::string& name, const k8s::Json* after) {
  custom_.erase(name);
  if (!after) return;
  bool established = false;
  for (const auto& condition : items(*after, "status", "conditions")) {
    established |= text(condition, "type") == "Established" && text(condition, "status") == "True";
  }
  if (!established) return;
  Kind kind{std::string(text(*after, "spec", "group")), "", std::string(text(*after, "spec", "names", "kind")),
            std::string(text(*after, "spec", "names", "plural")), text(*after, "spec", "scope") == "Namespaced"};
  for (const auto& version : items(*after, "spec", "versions")) {
    if (truth(version, "served") && (kind.version.empty() || truth(version, "storage"))) kind.version = text(version, "name");
  }
  if (!kind.version.empty()) custom_[name] = std::move(kind);
}

std::vector<Kind> Kinds::all() const {
  auto kinds = built_in_;
  for (const auto& [name, kind] : custom_) kinds.push_back(kind);
  return kinds;
}

std::optional<Kind> Kinds::find(std::string_view api_version, std::string_view kind) const {
  const auto slash = api_version.find('/');
  const auto group = slash == std::string_view::npos ? std::string_view{} : api_version.substr(0, slash);
  for (const auto& known : built_in_) {
    if (known.group == group && known.kind == kind) return known;
  }
  for (const auto& [name, known] : custom_) {
    if (known.group == group && known.kind == kind) return known;
  }
  return std::nullopt;
}

}  // namespace fairway::controllers
