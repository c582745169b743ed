// Check: a cluster's inventory with its reachability, asked by names: the ends that people know, and what passes between two of them.
//
// Place: inventory.h -> [Check] -> the CLI, lint, assertions, diff, pictures. Owns what it was made of; pure.
#pragma once

#include <map>

#include "policycheck/inventory.h"
#include "policycheck/reachability.h"

namespace fairway::policycheck {

// What people call one end: a workload, the outside or a named part of it, the nodes.
struct End {
  enum class Kind : std::uint8_t { kWorkload, kOutside, kNodes };
  Kind kind = Kind::kWorkload;
  std::string name;              // "default/frontend", "outside", "192.0.2.0/24", "nodes"
  std::size_t workload = 0;      // kWorkload: of Inventory::workloads
  std::vector<PartyId> parties;  // sorted, unique
};

// Ports that pass between two ends: for all of their parties, or only for some.
struct Cell {
  PortSet some, every;
  bool uniform() const { return some == every; }
  std::string to_string() const;  // "80", "none"; "~80": not for all pods or addresses
};

struct Port {
  std::uint8_t protocol = 6;  // IANA
  std::uint16_t number = 80;
  std::string to_string() const;  // "80", "53/udp", "icmp"
};
// One of a set that is not empty: a well-known one where there is one.
Port some_port(const PortSet& ports);

struct Connection {
  const End *from = nullptr, *to = nullptr;
  PartyId source = 0, destination = 0;
  Port port;
  std::string to_string() const;  // "default/frontend -> default/backend:80"
};

// Why one connection passes or does not, at both of its ends.
struct Side {
  bool allowed = true;
  std::string decided_by;  // a rule, the policies whose default deny it is, or that none decides
  Place at;                // of the first policy
};
struct Reason {
  Side egress, ingress;
  bool allowed() const { return egress.allowed && ingress.allowed; }
  std::string to_string() const;  // of what passes, both sides; else of the one that denies
};

class Check {
 public:
  explicit Check(Inventory inventory);
  Check(const Check&) = delete;
  Check& operator=(const Check&) = delete;

  const Inventory& inventory() const { return inventory_; }
  const Parties& parties() const { return parties_; }
  const Reachability& reachability() const { return reachability_; }
  const std::vector<End>& ends() const { return ends_; }  // workloads by name, then the outside, then the nodes
  const Workload& workload(const End& end) const { return inventory_.workloads[end.workload]; }

  // Who has the addresses: pods' ends, the nodes, parts of the outside. An error where a network is not the outside's alone, and for an
  // address that is a Service's, or no known one within the ranges of pods and Services: what to name instead.
  Result<std::vector<const End*>> ends_at(const net::Prefix& network) const;
  // One pod, which always reaches itself.
  bool is_itself(const End& from, const End& to) const {
    return &from == &to && from.kind == End::Kind::kWorkload && workload(from).kind == "Pod";
  }
  // By the matrix, but for a pod and itself: all. Both parties are of one family.
  PortSet passing(const Connection& connection) const;
  Cell between(const End& from, const End& to) const;
  // By the naive evaluator; the verdict is that of the matrix.
  Reason why(const Connection& connection) const;
  // Of a policy's field, in its manifest.
  Place place_of(const model::Name& policy, std::string_view field = {}) const;

 private:
  void name_ends();
  void index_addresses();
  Side side(PartyId subject, compile::policy::Direction direction, PartyId peer, Port port) const;

  const Inventory inventory_;
  const Parties parties_;
  const Reachability reachability_;
  std::vector<End> ends_;
  std::map<net::IpAddr, std::vector<const End*>> by_address_;  // of pods and nodes
  std::map<net::IpAddr, const Service*> services_;
};

}  // namespace fairway::policycheck
