// Slim forms of NetworkPolicy v1 and ClusterNetworkPolicy v1alpha2, both in one: what a kind does not have stays empty.
//
// Part of SlimObject. Here a fault does not spoil the whole object: it lies at the part that has it, so that
// reflect/ can let that part match nothing and keep the rest in force. An unknown field is a fault: what it narrows
// cannot be known (CVE-2025-64715). Texts are views, as in objects.h; unlike there, vectors are made for each object.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace fairway::k8s {

// The first of a part. `field` is relative to it: ".port", or empty for the part itself.
struct SlimFault {
  std::string field, reason;
  bool wrong_type = false;  // of JSON; else what is there is not known, or means nothing
  explicit operator bool() const { return !reason.empty(); }
};

struct SlimRequirement {
  std::string_view key, op;
  std::vector<std::string_view> values;
};

struct SlimSelector {
  bool present = false;
  std::vector<std::pair<std::string_view, std::string_view>> labels;
  std::vector<SlimRequirement> expressions;
};

// NetworkPolicy: podSelector, namespaceSelector, ipBlock. ClusterNetworkPolicy, also as its subject: one of namespaces,
// pods (then namespaceSelector and podSelector within it), nodes, networks, domainNames.
struct SlimPolicyPeer {
  SlimSelector pods, namespaces, nodes;
  bool has_pods = false;  // ClusterNetworkPolicy: `pods`
  bool has_block = false;
  std::string_view cidr;
  std::vector<std::string_view> except, networks, domain_names;
  unsigned fields = 0;  // how many were set
  SlimFault fault;
};

// NetworkPolicy: protocol, port, endPort. ClusterNetworkPolicy: one of tcp, udp, sctp, destinationNamedPort.
struct SlimPolicyPort {
  std::string_view protocol, name;
  std::optional<std::int64_t> first, last;
  unsigned fields = 0;  // ClusterNetworkPolicy: how many were set
  SlimFault fault;
};

struct SlimPolicyRule {
  std::string_view name, action;
  std::vector<SlimPolicyPeer> peers;
  std::vector<SlimPolicyPort> ports;
  SlimFault fault;
};

struct SlimPolicy {
  std::int64_t generation = 0;
  std::string_view tier;
  std::optional<std::int64_t> priority;
  SlimPolicyPeer subject;  // NetworkPolicy: `pods` alone
  std::vector<std::string_view> types;
  std::vector<SlimPolicyRule> ingress, egress;
  SlimFault fault;  // of the spec
};

}  // namespace fairway::k8s
