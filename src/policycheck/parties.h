// Parties: the ends that connections can have, each standing for all that no policy can tell from it.
//
// Place: rows of a cluster -> [Parties] -> reachability.h. A group is pods of equal namespace, labels and named ports; a party is a
// group's addresses that lie between the same ends of ipBlocks, or a part of the outside, or a node. 100,000 pods of 10,000
// Deployments are 10,000 parties. Pure.
#pragma once

#include <array>
#include <boost/unordered/unordered_flat_map.hpp>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compile/policy/oracle.h"

namespace fairway::policycheck {

using compile::policy::ClusterState;
using GroupId = std::uint32_t;
using PartyId = std::uint32_t;
constexpr std::uint32_t kNobody = UINT32_MAX;

struct Party {
  enum class Kind : std::uint8_t { kPod, kOutside, kNode };
  Kind kind = Kind::kPod;
  net::IpAddr addr;                  // of one of those it stands for
  GroupId group = kNobody;           // kPod: who is judged where it is the subject
  std::uint32_t pod = kNobody;       // kPod: one of them, an index in ClusterState::pods
  std::size_t count = 1;             // how many addresses it stands for; the outside counts as one
  std::string name;                  // kOutside, kNode: "outside", "192.0.2.0/24", "node/a"
  std::vector<GroupId> owners;       // where its address has several pods, or is a node's too: their groups
  std::vector<std::uint32_t> nodes;  // of ClusterState::nodes that have the address
  bool shared = false;               // `owners` say who it is, not `group`
};

class Parties {
 public:
  // `state` outlives it. The outside's addresses are none of `pod_ranges`. Each pod that counts has an address (inventory.h gives one to
  // those without).
  Parties(const ClusterState& state, const std::vector<net::Prefix>& pod_ranges);

  const std::vector<Party>& all() const { return parties_; }
  const Party& operator[](PartyId id) const { return parties_[id]; }
  std::size_t groups() const { return groups_.size(); }
  const model::Pod& pod_of(GroupId group) const { return state_.pods[groups_[group].pod]; }
  // Of a pod: a party for each of its addresses, kNobody where it has fewer.
  const std::array<PartyId, 2>& of_pod(std::size_t pod) const { return of_pod_[pod]; }
  const std::vector<PartyId>& of_group(GroupId group) const { return groups_[group].parties; }
  const std::vector<PartyId>& shared() const { return shared_; }
  const std::vector<PartyId>& outside() const { return outside_; }
  // The parts of the outside to which addresses of the network belong, sorted.
  std::vector<PartyId> outside_within(const net::Prefix& network) const;
  const std::vector<PartyId>& nodes() const { return nodes_; }  // those with an address of a node

  // Groups that a selector of a policy in namespace `own` matches, sorted.
  std::vector<GroupId> select(const model::PodSelector& selector, const std::string& own) const;
  // Groups that have a port of the name.
  const std::vector<GroupId>& with_port(const std::string& name) const;
  // Addresses between the same two ends of ipBlocks: an ipBlock holds for all or none of them.
  std::size_t intervals() const { return bounds_.size(); }
  const net::IpAddr& first_of(std::size_t interval) const { return bounds_[interval]; }
  std::size_t interval_of(const net::IpAddr& addr) const;
  const std::vector<PartyId>& in_interval(std::size_t interval) const { return by_interval_[interval]; }

 private:
  struct Group {
    std::uint32_t pod = 0, ns = 0;
    std::vector<PartyId> parties;
  };
  void cut_addresses();
  template <typename Value>
  using ByAddress = boost::unordered_flat_map<net::IpAddr, Value, std::hash<net::IpAddr>>;
  struct Owners {
    ByAddress<std::uint32_t> pod;             // the first that has it
    ByAddress<std::vector<GroupId>> several;  // where more than one has it
    ByAddress<std::vector<std::uint32_t>> nodes;
  };
  void group_pods();
  Owners find_owners() const;
  void place_pods(const Owners& owners);
  void add_nodes(const Owners& owners);
  void name_outside(const std::vector<net::Prefix>& pod_ranges);
  PartyId add(Party party);
  void index_labels();
  void add_with_label(std::uint64_t label, std::vector<GroupId>& out) const;
  std::vector<GroupId> candidates(const model::PodSelector& selector, std::uint32_t ns) const;

  const ClusterState& state_;
  std::vector<net::Prefix> prefixes_;  // of policies, sorted, unique
  std::vector<net::IpAddr> bounds_;    // first addresses of the intervals
  std::vector<Group> groups_;
  std::vector<GroupId> group_of_pod_;
  std::vector<Party> parties_;
  std::vector<std::array<PartyId, 2>> of_pod_;
  std::vector<PartyId> shared_, outside_, nodes_;
  std::vector<std::vector<PartyId>> by_interval_;
  std::vector<PartyId> outside_by_interval_;
  boost::unordered_flat_map<std::string_view, std::uint32_t> namespaces_;  // numbers from 1 on, of pods' namespaces
  std::vector<const model::Namespace*> namespace_rows_;                    // by number; nullptr: not known
  std::vector<std::vector<GroupId>> by_namespace_;
  std::vector<std::pair<std::uint64_t, GroupId>> by_label_;  // hash of place, key and value: looked at before use; sorted
  std::map<std::string, std::vector<GroupId>, std::less<>> by_port_;
};

// The network's first and last address, and the one behind an address (nothing behind the last).
net::IpAddr last_of(const net::Prefix& prefix);
std::optional<net::IpAddr> next_of(const net::IpAddr& addr);
bool counts(const model::Pod& pod);  // policies apply to it

}  // namespace fairway::policycheck
