// ClusterNetworkPolicy (policy.networking.k8s.io/v1alpha2), which a lab has from the start: its definition, as a
// CustomResourceDefinition like any other, and the checks that upstream's definition writes in CEL, with its words.
// Source: kubernetes-sigs/network-policy-api, the experimental channel (with nodes and domainNames).
#include "apiserver/cluster_network_policy.h"

#include "apiserver/crd_schema.h"
#include "apiserver/formats.h"

namespace fairway::apiserver {
namespace {

constexpr const char* kNamedPortsOfNobody =
    "networks/nodes/domainNames peer cannot be set with namedPorts since there are no namedPorts for networks/nodes/domainNames";
constexpr const char* kStartBelowEnd = "Start port must be less than End port";
constexpr const char* kBadCidr = "Invalid CIDR format provided";
constexpr const char* kLabelType =
    "^([a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])$";

// --- the schema, built from its parts

Json text(Object more = {}) {
  more["type"] = "string";
  return more;
}
Json number(std::int64_t least, std::int64_t most) {
  return Object{{"type", "integer"}, {"format", "int32"}, {"minimum", least}, {"maximum", most}};
}
Json one_of(Array values) { return Object{{"type", "string"}, {"enum", std::move(values)}}; }
Json list(Json of, std::int64_t least, std::int64_t most) {
  Object out{{"type", "array"}, {"items", std::move(of)}};
  if (least > 0) out["minItems"] = least;
  if (most > 0) out["maxItems"] = most;
  return out;
}
Json object(Object properties, Array required = {}) {
  Object out{{"type", "object"}, {"properties", std::move(properties)}};
  if (!required.empty()) out["required"] = std::move(required);
  return out;
}
Json with(Json schema, Object more) {
  for (auto& [key, value] : more) schema.get_object()[key] = std::move(value);
  return schema;
}
// What has several fields, of which one is to be set.
Json exactly_one(Object properties) { return with(object(std::move(properties)), {{"minProperties", 1}, {"maxProperties", 1}}); }
Json told(Json schema, const char* about) { return with(std::move(schema), {{"description", about}}); }
Json rule(Json schema, const char* cel, const char* message) {
  return with(std::move(schema), {{"x-kubernetes-validations", Array{Object{{"rule", cel}, {"message", message}}}}});
}

Json selector() {
  Json requirement = object({{"key", text()}, {"operator", text()}, {"values", list(text(), 0, 0)}}, {"key", "operator"});
  Json labels = Object{{"type", "object"}, {"additionalProperties", text()}};
  return with(object({{"matchExpressions", list(std::move(requirement), 0, 0)}, {"matchLabels", std::move(labels)}}),
              {{"x-kubernetes-map-type", "atomic"}});
}
Json namespaced_pods() { return object({{"namespaceSelector", selector()}, {"podSelector", selector()}}, {"podSelector"}); }

Object inside_peer() {
  return {{"namespaces", told(selector(), "All pods of the namespaces that are selected.")},
          {"pods", told(namespaced_pods(), "Pods by their own and their namespace's labels. Host network pods are not among them.")}};
}
Object any_peer() {
  Object peer = inside_peer();
  Json cidr = rule(text({{"maxLength", 43}}), "isCIDR(self)", kBadCidr);
  Json name = text({{"pattern", "^(\\*\\.)?([a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\\.)+[a-zA-z0-9]([-a-zA-Z0-9_]*[a-zA-Z0-9])?\\.?$"}});
  const Object set{{"x-kubernetes-list-type", "set"}};
  peer["nodes"] = told(selector(), "Nodes by their labels: their own addresses.");
  peer["networks"] = told(with(list(std::move(cidr), 1, 25), set), "Any address of these ranges, inside the cluster too.");
  peer["domainNames"] = told(with(list(std::move(name), 1, 25), set), "Fairway does not support them: they match nothing.");
  return peer;
}

Json protocol() {
  Json range =
      rule(object({{"start", number(1, 65535)}, {"end", number(1, 65535)}}, {"start", "end"}), "self.start < self.end", kStartBelowEnd);
  Json port = exactly_one({{"number", number(1, 65535)}, {"range", std::move(range)}});
  const Json ports = with(object({{"destinationPort", std::move(port)}}), {{"minProperties", 1}});
  return exactly_one({{"tcp", ports}, {"udp", ports}, {"sctp", ports}, {"destinationNamedPort", text()}});
}

Json rules(const char* peers, Object peer) {
  Json one = object({{"name", text({{"maxLength", 100}})},
                     {"action", told(one_of({"Accept", "Deny", "Pass"}), "Accept and Deny decide; Pass leaves it to the next tier.")},
                     {peers, list(exactly_one(std::move(peer)), 1, 25)},
                     {"protocols", list(protocol(), 1, 25)}},
                    {"action", peers});
  if (std::string_view(peers) == "to")
    one = rule(std::move(one),
               "!(self.to.exists(peer, has(peer.networks) || has(peer.nodes) || has(peer.domainNames)) && has(self.protocols) && "
               "self.protocols.exists(protocol, has(protocol.destinationNamedPort)))",
               kNamedPortsOfNobody);
  return told(list(std::move(one), 0, 25), "In their order: the first that matches decides.");
}

Json spec() {
  return object({{"tier", told(one_of({"Admin", "Baseline"}), "Admin comes before NetworkPolicies, Baseline after them.")},
                 {"priority", told(number(0, 1000), "Within the tier: the lower comes first.")},
                 {"subject", told(exactly_one(inside_peer()), "The pods that the policy is for.")},
                 {"ingress", rules("from", inside_peer())},
                 {"egress", rules("to", any_peer())}},
                {"tier", "priority", "subject"});
}

Json status() {
  Json condition =
      object({{"type", text({{"maxLength", 316}, {"pattern", kLabelType}})},
              {"status", one_of({"True", "False", "Unknown"})},
              {"observedGeneration", Object{{"type", "integer"}, {"format", "int64"}, {"minimum", 0}}},
              {"lastTransitionTime", text({{"format", "date-time"}})},
              {"reason", text({{"minLength", 1}, {"maxLength", 1024}, {"pattern", "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$"}})},
              {"message", text({{"maxLength", 32768}})}},
             {"type", "status", "lastTransitionTime", "reason", "message"});
  Json conditions =
      with(list(std::move(condition), 0, 0), {{"x-kubernetes-list-type", "map"}, {"x-kubernetes-list-map-keys", Array{"type"}}});
  return object({{"conditions", std::move(conditions)}}, {"conditions"});
}

// --- what the schema says in CEL

void check_cidrs(const Json& peer, const std::string& path, FieldErrors& errors) {
  const Array& networks = array_at(peer, "networks");
  for (std::size_t i = 0; i < networks.size(); ++i)
    if (networks[i].is_string() && !lenient_cidr(view(networks[i].get_string())))
      errors.invalid(item(path + ".networks", i), networks[i], kBadCidr);
}

void check_ranges(const Json& rule, const std::string& path, FieldErrors& errors) {
  const Array& protocols = array_at(rule, "protocols");
  for (std::size_t i = 0; i < protocols.size(); ++i)
    for (const char* name : {"tcp", "udp", "sctp"}) {
      const std::string inner = std::string(name) + ".destinationPort.range";
      const Json* range = find(protocols[i], inner);
      if (range != nullptr && int_at(*range, "start") >= int_at(*range, "end"))
        errors.invalid_text(child(item(path + ".protocols", i), inner), "object", kStartBelowEnd);
    }
}

void check_named_ports(const Json& rule, const std::string& path, FieldErrors& errors) {
  bool outside = false, named = false;
  for (const Json& peer : array_at(rule, "to"))
    for (const char* kind : {"networks", "nodes", "domainNames"}) outside |= find(peer, kind) != nullptr;
  for (const Json& protocol : array_at(rule, "protocols")) named |= find(protocol, "destinationNamedPort") != nullptr;
  if (outside && named) errors.invalid_text(path, "object", kNamedPortsOfNobody);
}

}  // namespace

Json cluster_network_policy_definition() {
  const auto column = [](const char* name, const char* type, const char* path) {
    return Object{{"name", name}, {"type", type}, {"jsonPath", path}};
  };
  Json schema =
      object({{"apiVersion", text()}, {"kind", text()}, {"metadata", Object{{"type", "object"}}}, {"spec", spec()}, {"status", status()}},
             {"metadata", "spec"});
  Json version =
      Object{{"name", "v1alpha2"},
             {"served", true},
             {"storage", true},
             {"subresources", Object{{"status", Object()}}},
             {"additionalPrinterColumns", Array{column("Tier", "string", ".spec.tier"), column("Priority", "string", ".spec.priority"),
                                                column("Age", "date", ".metadata.creationTimestamp")}},
             {"schema", Object{{"openAPIV3Schema", told(std::move(schema), "ClusterNetworkPolicy is a cluster-wide network policy.")}}}};
  Json names = Object{{"kind", "ClusterNetworkPolicy"},
                      {"listKind", "ClusterNetworkPolicyList"},
                      {"plural", "clusternetworkpolicies"},
                      {"singular", "clusternetworkpolicy"},
                      {"shortNames", Array{"cnp"}}};
  return Object{{"metadata", Object{{"name", kClusterNetworkPolicies}}},
                {"spec", Object{{"group", "policy.networking.k8s.io"},
                                {"scope", "Cluster"},
                                {"names", std::move(names)},
                                {"versions", Array{std::move(version)}}}}};
}

void rules::validate_cluster_network_policy(const Object& object, const Object*, FieldErrors& errors) {
  if (!errors.empty()) return;  // as upstream's: CEL looks at what fits the schema
  for (const char* direction : {"ingress", "egress"}) {
    const std::string path = std::string("spec.") + direction;
    const Array& all = array_at(object, path);
    for (std::size_t i = 0; i < all.size(); ++i) {
      const std::string at = item(path, i);
      const Array& to = array_at(all[i], "to");
      for (std::size_t k = 0; k < to.size(); ++k) check_cidrs(to[k], item(at + ".to", k), errors);
      check_ranges(all[i], at, errors);
      check_named_ports(all[i], at, errors);
    }
  }
}

}  // namespace fairway::apiserver
