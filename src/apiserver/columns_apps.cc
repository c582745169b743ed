// The columns of workloads, networking kinds, Leases and CustomResourceDefinitions.
#include <algorithm>

#include "apiserver/columns_common.h"

namespace fairway::apiserver::printers {
namespace {

constexpr std::string_view kTemplate = "spec.template.spec.containers";

void add_template(Cells& cells, const Object& object) {
  cells.push_back(containers_text(object, kTemplate, "name"));
  cells.push_back(containers_text(object, kTemplate, "image"));
  cells.push_back(selector_cell(object, "spec.selector"));
}

Cells deployment_cells(const Object& object) {
  Cells cells{name_of(object), fmt::format("{}/{}", int_at(object, "status.readyReplicas"), int_at(object, "spec.replicas")),
              count_of(object, "status.updatedReplicas"), count_of(object, "status.availableReplicas"), age_of(object)};
  add_template(cells, object);
  return cells;
}

Cells replica_set_cells(const Object& object) {
  Cells cells{name_of(object), count_of(object, "spec.replicas"), count_of(object, "status.replicas"),
              count_of(object, "status.readyReplicas"), age_of(object)};
  add_template(cells, object);
  return cells;
}

Cells daemon_set_cells(const Object& object) {
  Cells cells{name_of(object),
              count_of(object, "status.desiredNumberScheduled"),
              count_of(object, "status.currentNumberScheduled"),
              count_of(object, "status.numberReady"),
              count_of(object, "status.updatedNumberScheduled"),
              count_of(object, "status.numberAvailable"),
              labels_text(object_at(object, "spec.template.spec.nodeSelector")),
              age_of(object)};
  add_template(cells, object);
  return cells;
}

Cells revision_cells(const Object& object) {
  std::string controller = "<none>";
  for (const Json& owner : array_at(object, "metadata.ownerReferences")) {
    if (!bool_at(owner, "controller")) continue;
    std::string kind(text_at(owner, "kind"));
    std::transform(kind.begin(), kind.end(), kind.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    controller = fmt::format("{}.apps/{}", kind, text_at(owner, "name"));
  }
  return {name_of(object), controller, count_of(object, "revision"), age_of(object)};
}

Cells lease_cells(const Object& object) { return {name_of(object), std::string(text_at(object, "spec.holderIdentity")), age_of(object)}; }

std::string first_three(const std::vector<std::string>& all) {
  std::string text = join({all.begin(), all.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(all.size(), 3))});
  if (all.size() > 3) text += fmt::format(" + {} more...", all.size() - 3);
  return text;
}

Cells slice_cells(const Object& object) {
  std::vector<std::string> ports, addresses;
  for (const Json& port : array_at(object, "ports")) {
    const auto number = int_at(port, "port");
    ports.push_back(number != 0 ? std::to_string(number) : "*");
  }
  for (const Json& endpoint : array_at(object, "endpoints")) {
    for (const Json& address : array_at(endpoint, "addresses")) addresses.emplace_back(view(address.get_string()));
  }
  return {name_of(object), std::string(text_at(object, "addressType")), ports.empty() ? "<unset>" : first_three(ports),
          addresses.empty() ? "<unset>" : first_three(addresses), age_of(object)};
}

Cells policy_cells(const Object& object) {
  const Json* selector = find(object, "spec.podSelector");
  const std::string text = selector != nullptr ? selector_text(*selector) : "";
  return {name_of(object), or_none(text), age_of(object)};
}

Cells ingress_cells(const Object& object) {
  std::vector<std::string> hosts, addresses;
  const Array& rules = array_at(object, "spec.rules");
  for (const Json& rule : rules) {
    const std::string_view host = text_at(rule, "host");
    hosts.emplace_back(host.empty() ? "*" : host);
  }
  for (const Json& ingress : array_at(object, "status.loadBalancer.ingress")) {
    const std::string_view ip = text_at(ingress, "ip");
    addresses.emplace_back(ip.empty() ? text_at(ingress, "hostname") : ip);
  }
  const bool tls = !array_at(object, "spec.tls").empty();
  return {name_of(object),
          or_none(std::string(text_at(object, "spec.ingressClassName"))),
          hosts.empty() ? "*" : first_three(hosts),
          join(addresses),
          tls ? "80, 443" : "80",
          age_of(object)};
}

Cells ingress_class_cells(const Object& object) {
  std::string parameters = "<none>";
  if (const Json* reference = find(object, "spec.parameters")) {
    parameters = text_at(*reference, "kind");
    if (const std::string_view group = text_at(*reference, "apiGroup"); !group.empty()) parameters += fmt::format(".{}", group);
    parameters += fmt::format("/{}", text_at(*reference, "name"));
  }
  return {name_of(object), std::string(text_at(object, "spec.controller")), parameters, age_of(object)};
}

Cells crd_cells(const Object& object) { return {name_of(object), std::string(text_at(object, "metadata.creationTimestamp"))}; }

}  // namespace

const Printer kDeployment{"Name Ready Up-to-date Available Age|Containers Images Selector", deployment_cells};
const Printer kReplicaSet{"Name Desired Current Ready Age|Containers Images Selector", replica_set_cells};
const Printer kDaemonSet{"Name Desired Current Ready Up-to-date Available Node_Selector Age|Containers Images Selector", daemon_set_cells};
const Printer kControllerRevision{"Name Controller Revision Age", revision_cells};
const Printer kLease{"Name Holder Age", lease_cells};
const Printer kEndpointSlice{"Name AddressType Ports Endpoints Age", slice_cells};
const Printer kNetworkPolicy{"Name Pod-Selector Age", policy_cells};
const Printer kIngress{"Name Class Hosts Address Ports Age", ingress_cells};
const Printer kIngressClass{"Name Controller Parameters Age", ingress_class_cells};
const Printer kCrd{"Name Created_At", crd_cells};

}  // namespace fairway::apiserver::printers
