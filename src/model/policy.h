// Policy rows: NetworkPolicy v1 and ClusterNetworkPolicy v1alpha2 in one form, so that all that follows knows one kind.
//
// Reflectors write them, validated: a row means exactly what its object means. What an object says and a row cannot is
// refused there, never read as "allow" (CVE-2025-64715): an unknown peer matches nothing.
// Source: networking.k8s.io/v1 types.go; policy.networking.k8s.io/v1alpha2 (KEP-2091).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/rows.h"
#include "net/ip.h"

namespace fairway::model {

struct LabelRequirement {
  enum class Op : std::uint8_t { kIn, kNotIn, kExists, kDoesNotExist };
  std::string key;
  Op op = Op::kIn;
  std::vector<std::string> values;  // sorted, unique; In with none matches nothing
  auto operator<=>(const LabelRequirement&) const = default;
};

// matchLabels are requirements In with one value. No requirement at all: every object. Requirements are sorted, unique.
struct LabelSelector {
  std::vector<LabelRequirement> requirements;
  auto operator<=>(const LabelSelector&) const = default;
};
bool matches(const LabelSelector& selector, const Labels& labels);
void canonicalize(LabelSelector& selector);  // sorts, and drops what is said twice

// Pods by their namespace's and their own labels. Host network pods are never matched: they have the node's address.
struct PodSelector {
  std::optional<LabelSelector> namespaces;  // nothing: the policy's own namespace alone
  LabelSelector pods;
  auto operator<=>(const PodSelector&) const = default;
};

struct PolicyPeer {
  enum class Kind : std::uint8_t { kPods, kNetwork, kNodes };
  Kind kind = Kind::kPods;
  PodSelector pods;                 // kPods
  net::Prefix network;              // kNetwork: any address in it, pods' and nodes' too
  std::vector<net::Prefix> except;  // sorted
  LabelSelector nodes;              // kNodes: the nodes' own addresses
  auto operator<=>(const PolicyPeer&) const = default;
};

// A named port is looked up at the pod that receives: for ingress the subject, for egress the peer.
struct PolicyPort {
  std::optional<net::Protocol> protocol;  // nothing (with a name): whichever the name has
  std::uint16_t first = 0, last = 65535;  // inclusive; where there is no name
  std::string name;
  auto operator<=>(const PolicyPort&) const = default;
};

enum class PolicyAction : std::uint8_t { kAllow, kDeny, kPass };

struct PolicyRule {
  std::string name;  // ClusterNetworkPolicy's, else empty
  PolicyAction action = PolicyAction::kAllow;
  bool all_peers = false;  // `from`/`to` absent or empty; else a peer of `peers`, and none matches nothing
  std::vector<PolicyPeer> peers;
  bool all_ports = false;  // every protocol too; else a port of `ports`, and none matches nothing
  std::vector<PolicyPort> ports;
  bool operator==(const PolicyRule&) const = default;
};

// Admin rules in the order of priority, name, place; the first that matches decides, and Pass leaves it to NetworkPolicies: if one
// isolates the pod, their union decides; else Baseline rules, as Admin's. Nothing matches: allowed.
enum class PolicyTier : std::uint8_t { kAdmin, kNetworkPolicy, kBaseline };

struct Policy {
  PolicyTier tier = PolicyTier::kNetworkPolicy;
  std::int32_t priority = 0;  // Admin, Baseline: lower first
  Name id;                    // ns empty: a ClusterNetworkPolicy
  std::string uid;
  std::int64_t generation = 0;
  PodSelector subject;            // NetworkPolicy: its own namespace
  bool isolates_ingress = false;  // NetworkPolicy: policyTypes
  bool isolates_egress = false;
  std::vector<PolicyRule> ingress, egress;
  bool operator==(const Policy&) const = default;
};

}  // namespace fairway::model
