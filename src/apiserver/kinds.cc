#include "apiserver/kinds.h"

#include <algorithm>

#include "apiserver/table.h"
#include "base/check.h"

namespace fairway::apiserver {
namespace {

using Names = std::vector<std::string>;

Kind workload(std::string kind, std::string resource, std::string singular, std::string short_name, const Printer& printer) {
  Kind row;
  row.group = "apps";
  row.version = "v1";
  row.kind = std::move(kind);
  row.resource = std::move(resource);
  row.singular = std::move(singular);
  row.short_names = {std::move(short_name)};
  row.categories = {"all"};
  row.subresources = {"status"};
  row.counts_generations = true;
  row.printer = &printer;
  return row;
}

Kind plain(std::string group, std::string kind, std::string resource, Names short_names, bool namespaced, const Printer& printer) {
  Kind row;
  row.group = std::move(group);
  row.version = "v1";
  row.kind = std::move(kind);
  row.resource = std::move(resource);
  row.short_names = std::move(short_names);
  row.namespaced = namespaced;
  row.printer = &printer;
  row.singular = row.kind;
  std::transform(row.singular.begin(), row.singular.end(), row.singular.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return row;
}

void add_core(std::vector<Kind>& rows) {
  Kind ns = plain("", "Namespace", "namespaces", {"ns"}, false, printers::kNamespace);
  ns.subresources = {"finalize", "status"};
  ns.name_rule = NameRule::kLabel;
  ns.selectable_fields = {"status.phase"};
  ns.defaults = rules::default_namespace;
  ns.prepare_update = rules::prepare_namespace_update;
  rows.push_back(std::move(ns));

  Kind node = plain("", "Node", "nodes", {"no"}, false, printers::kNode);
  node.subresources = {"status"};
  node.keeps_status_on_create = true;
  node.selectable_fields = {"spec.unschedulable"};
  node.validate = rules::validate_node;
  rows.push_back(std::move(node));

  Kind pod = plain("", "Pod", "pods", {"po"}, true, printers::kPod);
  pod.categories = {"all"};
  pod.subresources = {"attach", "binding", "ephemeralcontainers", "eviction", "exec", "log", "portforward", "status"};
  pod.selectable_fields = {"spec.nodeName",    "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName",
                           "spec.hostNetwork", "status.phase",       "status.podIP",       "status.nominatedNodeName"};
  pod.defaults = rules::default_pod;
  pod.prepare_create = rules::prepare_pod_create;
  pod.prepare_update = rules::prepare_pod_update;
  pod.validate = rules::validate_pod;
  rows.push_back(std::move(pod));

  Kind service = plain("", "Service", "services", {"svc"}, true, printers::kService);
  service.categories = {"all"};
  service.subresources = {"status"};
  service.name_rule = NameRule::kDns1035;
  service.selectable_fields = {"spec.clusterIP", "spec.type"};
  service.defaults = rules::default_service;
  service.prepare_update = rules::prepare_service_update;
  service.validate = rules::validate_service;
  rows.push_back(std::move(service));

  Kind endpoints = plain("", "Endpoints", "endpoints", {"ep"}, true, printers::kEndpoints);
  endpoints.validate = rules::validate_endpoints;
  rows.push_back(std::move(endpoints));

  Kind config_map = plain("", "ConfigMap", "configmaps", {"cm"}, true, printers::kConfigMap);
  config_map.validate = rules::validate_config_map;
  rows.push_back(std::move(config_map));

  Kind secret = plain("", "Secret", "secrets", {}, true, printers::kSecret);
  secret.selectable_fields = {"type"};
  secret.defaults = rules::default_secret;
  secret.validate = rules::validate_secret;
  rows.push_back(std::move(secret));

  rows.push_back(plain("", "ServiceAccount", "serviceaccounts", {"sa"}, true, printers::kServiceAccount));

  Kind event = plain("", "Event", "events", {"ev"}, true, printers::kEvent);
  event.selectable_fields = {"involvedObject.kind",
                             "involvedObject.namespace",
                             "involvedObject.name",
                             "involvedObject.uid",
                             "involvedObject.apiVersion",
                             "involvedObject.resourceVersion",
                             "involvedObject.fieldPath",
                             "reason",
                             "reportingComponent",
                             "source",
                             "type"};
  event.validate = rules::validate_event;
  rows.push_back(std::move(event));
}

void add_apps(std::vector<Kind>& rows) {
  Kind deployment = workload("Deployment", "deployments", "deployment", "deploy", printers::kDeployment);
  deployment.subresources = {"scale", "status"};
  deployment.defaults = rules::default_workload;
  deployment.validate = rules::validate_workload;
  rows.push_back(std::move(deployment));
  Kind replica_set = workload("ReplicaSet", "replicasets", "replicaset", "rs", printers::kReplicaSet);
  replica_set.subresources = {"scale", "status"};
  replica_set.selectable_fields = {"status.replicas"};
  replica_set.defaults = rules::default_workload;
  replica_set.validate = rules::validate_workload;
  rows.push_back(std::move(replica_set));
  Kind daemon_set = workload("DaemonSet", "daemonsets", "daemonset", "ds", printers::kDaemonSet);
  daemon_set.defaults = rules::default_daemon_set;
  daemon_set.validate = rules::validate_daemon_set;
  rows.push_back(std::move(daemon_set));
  rows.push_back(plain("apps", "ControllerRevision", "controllerrevisions", {}, true, printers::kControllerRevision));
}

void add_networking(std::vector<Kind>& rows) {
  rows.push_back(plain("coordination.k8s.io", "Lease", "leases", {}, true, printers::kLease));

  Kind slice = plain("discovery.k8s.io", "EndpointSlice", "endpointslices", {}, true, printers::kEndpointSlice);
  slice.counts_generations = true;
  slice.validate = rules::validate_endpoint_slice;
  rows.push_back(std::move(slice));

  Kind policy = plain("networking.k8s.io", "NetworkPolicy", "networkpolicies", {"netpol"}, true, printers::kNetworkPolicy);
  policy.counts_generations = true;
  policy.defaults = rules::default_network_policy;
  policy.validate = rules::validate_network_policy;
  rows.push_back(std::move(policy));

  Kind ingress = plain("networking.k8s.io", "Ingress", "ingresses", {"ing"}, true, printers::kIngress);
  ingress.subresources = {"status"};
  ingress.counts_generations = true;
  ingress.validate = rules::validate_ingress;
  rows.push_back(std::move(ingress));

  Kind ingress_class = plain("networking.k8s.io", "IngressClass", "ingressclasses", {}, false, printers::kIngressClass);
  ingress_class.counts_generations = true;
  ingress_class.validate = rules::validate_ingress_class;
  rows.push_back(std::move(ingress_class));
}

void add_extensions(std::vector<Kind>& rows) {
  Kind crd = plain("apiextensions.k8s.io", "CustomResourceDefinition", "customresourcedefinitions", {"crd", "crds"}, false, printers::kCrd);
  crd.categories = {"api-extensions"};
  crd.subresources = {"status"};
  crd.counts_generations = true;
  crd.defaults = rules::default_crd;
  crd.validate = rules::validate_crd;
  rows.push_back(std::move(crd));
  for (auto [group, kind, resource] : {std::tuple{"authentication.k8s.io", "SelfSubjectReview", "selfsubjectreviews"},
                                       std::tuple{"authorization.k8s.io", "SelfSubjectAccessReview", "selfsubjectaccessreviews"},
                                       std::tuple{"authorization.k8s.io", "SelfSubjectRulesReview", "selfsubjectrulesreviews"}}) {
    Kind review = plain(group, kind, resource, {}, false, printers::kDefault);
    review.review = true;
    rows.push_back(std::move(review));
  }
}

// What manifests made for other clusters bring, and nothing here would act on. They are served so that whoever applies one is
// told so: else kubectl asks for a CustomResourceDefinition.
void add_not_run(std::vector<Kind>& rows) {
  struct NotRun {
    const char *group, *version, *kind, *resource;
    Names short_names;
    bool namespaced;
    std::string_view why;
  };
  constexpr std::string_view kNoRoles = "a lab has no roles: whoever it knows may do everything; leave it out";
  constexpr std::string_view kNoVolumes = "a lab has no persistent volumes; use a volume of kind emptyDir or hostPath";
  constexpr std::string_view kNoQuotas = "a lab limits no namespace; leave it out, or set the pods' own resources";
  // clang-format off
  const NotRun all[] = {
      {"apps", "v1", "StatefulSet", "statefulsets", {"sts"}, true, "a lab runs no StatefulSets; use a Deployment, with an emptyDir for its data"},
      {"batch", "v1", "Job", "jobs", {}, true, "a lab runs no Jobs; use a Pod with restartPolicy: OnFailure"},
      {"batch", "v1", "CronJob", "cronjobs", {"cj"}, true, "a lab runs no CronJobs; use a Pod with restartPolicy: OnFailure, whenever one is due"},
      {"", "v1", "ReplicationController", "replicationcontrollers", {"rc"}, true, "a lab runs no ReplicationControllers; use a Deployment"},
      {"", "v1", "PersistentVolumeClaim", "persistentvolumeclaims", {"pvc"}, true, kNoVolumes},
      {"", "v1", "PersistentVolume", "persistentvolumes", {"pv"}, false, kNoVolumes},
      {"storage.k8s.io", "v1", "StorageClass", "storageclasses", {"sc"}, false, kNoVolumes},
      {"", "v1", "LimitRange", "limitranges", {"limits"}, true, kNoQuotas},
      {"", "v1", "ResourceQuota", "resourcequotas", {"quota"}, true, kNoQuotas},
      {"autoscaling", "v2", "HorizontalPodAutoscaler", "horizontalpodautoscalers", {"hpa"}, true, "a lab measures no load; set the number of replicas: kubectl scale"},
      {"policy", "v1", "PodDisruptionBudget", "poddisruptionbudgets", {"pdb"}, true, "a lab keeps no budget of evictions; leave it out"},
      {"scheduling.k8s.io", "v1", "PriorityClass", "priorityclasses", {"pc"}, false, "a lab's scheduler knows no priorities; leave it out"},
      {"rbac.authorization.k8s.io", "v1", "Role", "roles", {}, true, kNoRoles},
      {"rbac.authorization.k8s.io", "v1", "RoleBinding", "rolebindings", {}, true, kNoRoles},
      {"rbac.authorization.k8s.io", "v1", "ClusterRole", "clusterroles", {}, false, kNoRoles},
      {"rbac.authorization.k8s.io", "v1", "ClusterRoleBinding", "clusterrolebindings", {}, false, kNoRoles},
  };
  // clang-format on
  for (const NotRun& one : all) {
    Kind row = plain(one.group, one.kind, one.resource, one.short_names, one.namespaced, printers::kDefault);
    row.version = one.version;
    row.not_run = one.why;
    rows.push_back(std::move(row));
  }
}

}  // namespace

bool Kind::has(std::string_view subresource) const {
  return std::find(subresources.begin(), subresources.end(), subresource) != subresources.end();
}

std::vector<std::string> Kind::verbs() const {
  if (review) return {"create"};
  if (!not_run.empty()) return {"get", "list", "watch"};
  return {"create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"};
}

KindTable::KindTable() {
  std::vector<Kind> rows;
  add_core(rows);
  add_apps(rows);
  add_networking(rows);
  add_extensions(rows);
  add_not_run(rows);
  for (Kind& row : rows) {
    row.message = Schemas::builtin().find(row.not_run.empty() ? row.kind : "NotRun");
    FW_CHECK(row.message != nullptr);
    builtin_.push_back(std::make_shared<const Kind>(std::move(row)));
  }
  rebuild();
}

void KindTable::rebuild() {
  kinds_ = builtin_;
  for (const auto& [definition, kinds] : custom_) kinds_.insert(kinds_.end(), kinds.begin(), kinds.end());
}

void KindTable::set_custom(const std::string& definition, std::vector<KindPtr> kinds) {
  if (kinds.empty()) custom_.erase(definition);
  else custom_[definition] = std::move(kinds);
  rebuild();
}

KindPtr KindTable::find(std::string_view group, std::string_view version, std::string_view resource) const {
  for (const KindPtr& kind : kinds_) {
    if (kind->resource == resource && kind->group == group && kind->version == version) return kind;
  }
  return nullptr;
}

KindPtr KindTable::find_kind(std::string_view api_version, std::string_view name) const {
  for (const KindPtr& kind : kinds_) {
    if (kind->kind == name && kind->api_version() == api_version) return kind;
  }
  return nullptr;
}

bool KindTable::has_group_version(std::string_view group, std::string_view version) const {
  return std::any_of(kinds_.begin(), kinds_.end(), [&](const KindPtr& kind) { return kind->group == group && kind->version == version; });
}

}  // namespace fairway::apiserver
