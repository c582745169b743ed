#include "policycheck/inventory.h"

#include <algorithm>
#include <boost/json.hpp>
#include <map>
#include <set>

#include "k8s/decode.h"
#include "policycheck/placement.h"
#include "reflect/reflect.h"

namespace fairway::policycheck {
namespace {

namespace bj = boost::json;
using apiserver::array_at;
using apiserver::bool_at;
using apiserver::object_at;
using apiserver::text_at;
using k8s::Kind;

constexpr std::string_view kPolicyVersion = "policy.networking.k8s.io/v1alpha2";

// Where a kind keeps its pods' template.
std::string_view template_of(const std::string& kind) {
  for (const char* one : {"Deployment", "ReplicaSet", "StatefulSet", "DaemonSet", "Job", "ReplicationController"})
    if (kind == one) return "spec.template";
  return kind == "CronJob" ? "spec.jobTemplate.spec.template" : "";
}

struct Owner {
  std::string kind, name;
};
std::optional<Owner> owner_of(const Json& object) {
  for (const Json& one : array_at(object, "metadata.ownerReferences")) {
    if (!bool_at(one, "controller")) continue;
    Owner out{std::string(text_at(one, "kind")), std::string(text_at(one, "name"))};
    const auto* labels = object_at(object, "metadata.labels");
    const auto* hash = labels != nullptr ? labels->if_contains("pod-template-hash") : nullptr;
    if (out.kind == "ReplicaSet" && hash != nullptr && hash->is_string() && out.name.ends_with("-" + std::string(hash->get_string())))
      return Owner{"Deployment", out.name.substr(0, out.name.size() - hash->get_string().size() - 1)};
    return out;
  }
  return std::nullopt;
}

class Taker {
 public:
  Inventory take(Manifests manifests);

 private:
  using Key = std::pair<std::string, model::Name>;
  void add(const ManifestObject& object);
  void add_template(const ManifestObject& object, std::string_view path);
  void add_pod(const ManifestObject& object);
  void add_service(const ManifestObject& object);
  void add_policy(const ManifestObject& object);
  bool known_version(const ManifestObject& object);
  template <typename Row>
  std::optional<Row> reflect(Kind kind, const ManifestObject& object, const Json& value, const std::string& prefix,
                             reflect::Reflected<Row> (*reflector)(const k8s::SlimObject&));
  Workload& workload(const std::string& kind, const model::Name& id);
  void name_namespaces();
  std::uint16_t port_of(const ManifestObject& object, const Json& port, const char* field);

  Inventory out_;
  std::map<Key, std::size_t> workloads_;
  std::map<Key, std::size_t> templates_;  // pods' rows
  std::map<Kind, std::unique_ptr<k8s::Decoder>> decoders_;
};

template <typename Row>
std::optional<Row> Taker::reflect(Kind kind, const ManifestObject& object, const Json& value, const std::string& prefix,
                                  reflect::Reflected<Row> (*reflector)(const k8s::SlimObject&)) {
  auto& decoder = decoders_[kind];
  if (!decoder) decoder = std::make_unique<k8s::Decoder>(kind);
  std::string text = bj::serialize(value);
  text.reserve(text.size() + k8s::Decoder::kPadding);
  const auto refuse = [&](const std::string& field, const std::string& reason) {
    out_.faults.push_back({object.source.place(prefix + field), object.name(), prefix + field, reason});
    return std::nullopt;
  };
  if (const auto decoded = decoder->decode_object(text); !decoded.ok()) return refuse("", decoded.error().message);
  const k8s::SlimObject& slim = decoder->object();
  if (!slim.bad_field.empty()) return refuse(slim.bad_field, slim.bad_reason);
  if (const auto name = reflect::reflect_name(slim); !name.row) return refuse(name.problems.front().field, name.problems.front().reason);
  auto reflected = reflector(slim);
  if (!reflected.row && !reflected.problems.empty()) {
    std::string reason = reflected.problems.front().reason;
    if (const auto at = reason.find(": the old policy stays in force"); at != std::string::npos) reason.resize(at);
    return refuse(reflected.problems.front().field, reason);
  }
  for (const auto& problem : reflected.problems)
    out_.findings.push_back({Severity::kError, "invalid-part", object.name(), problem.field, problem.reason,
                             problem.field.starts_with("spec.policyTypes")
                                 ? "write it as the API has it: a direction that is not named is not restricted"
                                 : "write it as the API has it: what cannot be read lets nothing through",
                             object.source.place(prefix + problem.field)});
  return std::move(reflected.row);
}

// With the object's name and namespace, which a template lacks and a manifest may.
Json named(const ManifestObject& object, const Json* from) {
  bj::object value = from != nullptr && from->is_object() ? from->get_object() : bj::object{};
  bj::object metadata;
  if (const auto* own = value.if_contains("metadata"); own != nullptr && own->is_object()) metadata = own->get_object();
  metadata["name"] = object.id.name;
  if (!object.id.ns.empty()) metadata["namespace"] = object.id.ns;
  value["metadata"] = std::move(metadata);
  return value;
}

Workload& Taker::workload(const std::string& kind, const model::Name& id) {
  const auto [at, fresh] = workloads_.try_emplace({kind, id}, out_.workloads.size());
  if (fresh) out_.workloads.push_back({.kind = kind, .id = id});
  return out_.workloads[at->second];
}

void Taker::add_template(const ManifestObject& object, std::string_view path) {
  if (owner_of(object.value)) return;  // its owner has the template
  auto pod = reflect(Kind::kPod, object, named(object, apiserver::find(object.value, path)), std::string(path) + ".", reflect::reflect_pod);
  if (!pod) return;
  Workload& own = workload(object.kind, object.id);
  own.host_network = pod->host_network;
  own.pods = {out_.state.pods.size()};
  templates_[{object.kind, object.id}] = out_.state.pods.size();
  out_.state.pods.push_back(std::move(*pod));
}

// Pods come when all templates are known: one that has an owner there is what the owner's template says, at its address.
void Taker::add_pod(const ManifestObject& object) {
  auto pod = reflect(Kind::kPod, object, named(object, &object.value), "", reflect::reflect_pod);
  if (!pod || pod->terminated) return;
  const auto owner = owner_of(object.value);
  const model::Name id = owner ? model::Name{object.id.ns, owner->name} : object.id;
  const std::string kind = owner ? owner->kind : "Pod";
  const bool has_template = templates_.contains({kind, id});
  Workload& own = workload(kind, id);
  own.host_network |= pod->host_network;
  if (has_template) {
    model::Pod& nominal = out_.state.pods[templates_.at({kind, id})];
    if (nominal.ips.empty()) {
      nominal.ips = pod->ips;
      nominal.id = pod->id;
      nominal.node = pod->node;
      return;
    }
    pod->labels = nominal.labels;
    pod->ports = nominal.ports;
  }
  own.pods.push_back(out_.state.pods.size());
  out_.state.pods.push_back(std::move(*pod));
}

std::uint16_t Taker::port_of(const ManifestObject& object, const Json& port, const char* field) {
  const std::int64_t number = apiserver::int_at(port, field);
  if (number >= 1 && number <= 65535) return static_cast<std::uint16_t>(number);
  if (apiserver::find(port, field) != nullptr)
    out_.faults.push_back(
        {object.source.place("spec.ports"), object.name(), std::string("spec.ports[].") + field, "is not a number from 1 to 65535"});
  return 0;
}

// The field by which a Service is of IPv6 too.
std::string v6_field_of(const Json& service, const std::vector<net::IpAddr>& addresses) {
  if (text_at(service, "spec.ipFamilyPolicy").ends_with("DualStack")) return "spec.ipFamilyPolicy";
  for (const Json& family : array_at(service, "spec.ipFamilies"))
    if (family.is_string() && family.get_string() == "IPv6") return "spec.ipFamilies";
  const bool has = std::any_of(addresses.begin(), addresses.end(), [](const net::IpAddr& addr) { return !addr.is_v4(); });
  return has ? "spec.clusterIP" : "";
}

void Taker::add_service(const ManifestObject& object) {
  if (!reflect(Kind::kService, object, named(object, &object.value), "", reflect::reflect_service)) return;
  Service out{.id = object.id, .source = object.source};
  if (const auto* selector = object_at(object.value, "spec.selector"))
    for (const auto& [key, value] : *selector)
      if (value.is_string()) out.selector.emplace(key, value.get_string());
  std::set<net::IpAddr> addresses;
  if (const auto one = net::IpAddr::parse(text_at(object.value, "spec.clusterIP")); one.ok()) addresses.insert(*one);
  for (const Json& text : array_at(object.value, "spec.clusterIPs"))
    if (const auto one = net::IpAddr::parse(text.is_string() ? std::string_view(text.get_string()) : ""); one.ok()) addresses.insert(*one);
  out.addresses.assign(addresses.begin(), addresses.end());
  out.v6_field = v6_field_of(object.value, out.addresses);
  for (const Json& port : array_at(object.value, "spec.ports")) {
    ServicePort one;
    one.name = text_at(port, "name");
    one.protocol = net::parse_protocol(text_at(port, "protocol", "TCP")).value_or(net::Protocol::kTcp);
    one.port = one.target = port_of(object, port, "port");
    if (const auto* target = apiserver::find(port, "targetPort"); target != nullptr && target->is_string()) {
      one.target = 0;
      one.target_name = text_at(port, "targetPort");
    } else if (target != nullptr) {
      one.target = port_of(object, port, "targetPort");
    }
    out.ports.push_back(std::move(one));
  }
  out_.services.push_back(std::move(out));
}

void Taker::add_policy(const ManifestObject& object) {
  const bool namespaced = object.kind == "NetworkPolicy";
  auto row = reflect(namespaced ? Kind::kNetworkPolicy : Kind::kClusterNetworkPolicy, object, named(object, &object.value), "",
                     namespaced ? reflect::reflect_network_policy : reflect::reflect_cluster_network_policy);
  if (!row) return;
  out_.state.policies.push_back(std::move(*row));
  out_.policy_sources.push_back(object.source);
}

// Another version of a kind that counts may not be passed over in silence.
bool Taker::known_version(const ManifestObject& object) {
  const std::string& kind = object.kind;
  const std::string_view wanted = kind == "NetworkPolicy"          ? "networking.k8s.io/v1"
                                  : kind == "ClusterNetworkPolicy" ? kPolicyVersion
                                                                   : std::string_view{};
  if (wanted.empty() ? !kind.ends_with("NetworkPolicy")
                     : object.version == wanted || (object.version.empty() && !object.source.path.empty()))
    return true;
  out_.findings.push_back(
      {Severity::kWarning, "foreign-policy", object.name(), "apiVersion",
       object.version + " is not understood: this policy is no part of the result",
       "write it as a NetworkPolicy (networking.k8s.io/v1) or a ClusterNetworkPolicy (" + std::string(kPolicyVersion) + ")",
       object.source.place("apiVersion")});
  return false;
}

void Taker::add(const ManifestObject& object) {
  if (!known_version(object)) return;
  const std::string& kind = object.kind;
  const auto value = [&] { return named(object, &object.value); };
  if (const auto path = template_of(kind); !path.empty()) return add_template(object, path);
  if (kind == "Pod") return add_pod(object);
  if (kind == "Service") return add_service(object);
  if (kind == "NetworkPolicy" || kind == "ClusterNetworkPolicy") return add_policy(object);
  if (kind == "Namespace") {
    if (auto row = reflect(Kind::kNamespace, object, value(), "", reflect::reflect_namespace)) {
      row->labels["kubernetes.io/metadata.name"] = row->name;
      out_.state.namespaces.push_back(std::move(*row));
    }
    return;
  }
  if (kind == "Node") {
    if (auto row = reflect(Kind::kNode, object, value(), "", reflect::reflect_node)) out_.state.nodes.push_back(std::move(*row));
    return;
  }
  ++out_.skipped;
}

void Taker::name_namespaces() {
  std::set<std::string> known, missing;
  for (const auto& row : out_.state.namespaces) known.insert(row.name);
  for (const auto& row : out_.state.pods) missing.insert(row.id.ns);
  for (const auto& row : out_.state.policies) missing.insert(row.id.ns);
  missing.erase("");
  std::string names;
  for (const auto& name : missing) {
    if (known.contains(name)) continue;
    out_.state.namespaces.push_back({name, {{"kubernetes.io/metadata.name", name}}, false});
    names += (names.empty() ? "" : ", ") + name;
  }
  if (!names.empty())
    out_.notes.push_back("no manifest of namespace " + names + ": taken to have the label kubernetes.io/metadata.name alone");
}

Inventory Taker::take(Manifests manifests) {
  out_.faults = std::move(manifests.faults);
  out_.notes = std::move(manifests.notes);
  std::map<Key, const ManifestObject*> known;
  std::vector<const ManifestObject*> all, pods;
  for (const auto& object : manifests.objects) {
    const auto [at, fresh] = known.try_emplace({object.kind, object.id}, &object);
    if (fresh) {
      (object.kind == "Pod" ? pods : all).push_back(&object);
      continue;
    }
    out_.findings.push_back({Severity::kWarning, "duplicate-object", object.name(), "",
                             "is also in " + at->second->source.place().to_string() + "; only that one counts here", "keep one of them",
                             object.source.place()});
  }
  all.insert(all.end(), pods.begin(), pods.end());
  for (const auto* object : all) add(*object);
  name_namespaces();
  std::sort(out_.workloads.begin(), out_.workloads.end(),
            [](const Workload& a, const Workload& b) { return std::tie(a.id, a.kind) < std::tie(b.id, b.kind); });
  return std::move(out_);
}

}  // namespace

std::string_view to_string(Severity severity) {
  return severity == Severity::kError ? "error" : severity == Severity::kWarning ? "warning" : "note";
}

Inventory take_rows(Manifests manifests) { return Taker().take(std::move(manifests)); }

Inventory take_inventory(Manifests manifests, const InventoryOptions& options) {
  Inventory out = take_rows(std::move(manifests));
  place_pods(out, options);
  return out;
}

}  // namespace fairway::policycheck
