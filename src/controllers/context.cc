#include "controllers/context.h"

#include "controllers/json.h"
#include "controllers/owners.h"

namespace fairway::controllers {
namespace {

ResourceRef core(std::string resource) { return {.group = "", .version = "v1", .resource = std::move(resource)}; }
ResourceRef in_group(std::string group, std::string resource) {
  return {.group = std::move(group), .version = "v1", .resource = std::move(resource)};
}

std::vector<std::string> owner_uid(const Json& object) {
  const Json* owner = controller_of(object);
  return owner ? std::vector<std::string>{std::string(text(*owner, "uid"))} : std::vector<std::string>{};
}

std::vector<std::string> node_name(const Json& pod) {
  const auto node = text(pod, "spec", "nodeName");
  return node.empty() ? std::vector<std::string>{} : std::vector<std::string>{std::string(node)};
}

std::vector<std::string> service_key(const Json& slice) {
  const auto service = text(slice, "metadata", "labels", "kubernetes.io/service-name");
  return {key_for(namespace_of(slice), service)};
}

}  // namespace

Stores::Stores(Api& api)
    : pods(api, core("pods")),
      nodes(api, core("nodes")),
      services(api, core("services")),
      endpoints(api, core("endpoints")),
      endpoint_slices(api, in_group("discovery.k8s.io", "endpointslices")),
      replica_sets(api, in_group("apps", "replicasets")),
      deployments(api, in_group("apps", "deployments")),
      daemon_sets(api, in_group("apps", "daemonsets")),
      namespaces(api, core("namespaces")),
      service_accounts(api, core("serviceaccounts")),
      config_maps(api, core("configmaps")),
      leases(api, in_group("coordination.k8s.io", "leases")),
      definitions(api, in_group("apiextensions.k8s.io", "customresourcedefinitions")) {
  pods.add_index(std::string(kByOwner), owner_uid);
  pods.add_index(std::string(kByNode), node_name);
  replica_sets.add_index(std::string(kByOwner), owner_uid);
  endpoint_slices.add_index(std::string(kByService), service_key);
}

std::vector<Store*> Stores::all() {
  return {&pods,        &nodes,      &services,         &endpoints,   &endpoint_slices, &replica_sets, &deployments,
          &daemon_sets, &namespaces, &service_accounts, &config_maps, &leases,          &definitions};
}

Context::Context(io::Loop& loop, k8s::ApiClient& client, ControllerConfig with)
    : config(std::move(with)), api(loop, client), stores(api), events(api) {}

}  // namespace fairway::controllers
