// Inventory: objects of manifests, or of a cluster, -> the rows that policies look at: workloads with their pods, Services, namespaces,
// nodes, policies.
//
// Place: manifest.h -> [inventory] -> parties.h, lint.h. Objects go through the agent's own decoder and reflectors, so a policy means here
// exactly what it means there; what of it cannot be read is closed, and a finding. A workload's template stands for its pods.
#pragma once

#include <optional>
#include <set>

#include "compile/policy/oracle.h"
#include "policycheck/manifest.h"

namespace fairway::policycheck {

enum class Severity : std::uint8_t { kNote, kWarning, kError };
std::string_view to_string(Severity severity);  // "warning"

// What is worth a word: which rule of lint, of what, where, and what to do.
struct Finding {
  Severity severity = Severity::kWarning;
  std::string id;  // "selects-nothing": docs/policy.md lists them
  std::string object, field, message, advice;
  Place at;
};

struct Workload {
  std::string kind;
  model::Name id;
  std::vector<std::size_t> pods;  // of ClusterState::pods
  bool host_network = false;      // policies do not apply to it
};

struct ServicePort {
  std::string name;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t port = 0;
  std::uint16_t target = 0;  // or, where it is 0:
  std::string target_name;
};
struct Service {
  model::Name id;
  std::vector<net::IpAddr> addresses;  // its clusterIPs
  std::string v6_field;                // by which it is of IPv6, alone or too: "spec.ipFamilies"; or empty
  model::Labels selector;              // empty: its endpoints are somebody else's business
  std::vector<ServicePort> ports;
  Source source;
};

struct Inventory {
  compile::policy::ClusterState state;
  std::vector<Workload> workloads;  // by namespace and name
  std::vector<Service> services;
  std::vector<Source> policy_sources;  // of ClusterState::policies
  std::vector<Finding> findings;       // of reading
  std::vector<Fault> faults;           // objects without any reading
  std::vector<std::string> notes;
  std::set<net::IpAddr> invented;                       // of pods without an address: nobody can ask for them by it
  std::vector<net::Prefix> pod_ranges, service_ranges;  // addresses in them are never the outside's
  std::vector<net::IpAddr> dns_addresses;               // free ones, for DNS pods that no manifest has: one a family
  std::size_t skipped = 0;                              // objects of kinds that policies do not look at
};

struct InventoryOptions {
  // A pod without an address is taken to have one in each. Empty: 10.244.0.0/16, and fd00:10:244::/56 where the cluster has IPv6.
  std::vector<net::Prefix> pod_ranges = {};
  std::vector<net::Prefix> service_ranges = {};
};

// The objects as they are: pods without addresses have none, until placement.h gives them one.
Inventory take_rows(Manifests manifests);
Inventory take_inventory(Manifests manifests, const InventoryOptions& options);

}  // namespace fairway::policycheck
