// Masks: the parties for which a rule's peers hold; rows: the parties that pass. As lists or, where those are long, as bits. Internal to
// policycheck/.
#pragma once

#include <optional>
#include <unordered_map>

#include "policycheck/parties.h"

namespace fairway::policycheck {

using Words = std::vector<std::uint64_t>;

struct Mask {
  std::vector<PartyId> list;  // sorted; or
  Words bits;                 // a bit a party
  bool empty() const { return list.empty() && bits.empty(); }
  // Of `from`, what is in the mask goes to `to`; and whether that was anything. With `take` it leaves `from`.
  bool move(Words& from, Words& to, bool take) const;
};

// The parties that pass: those of a short list, all but those, or bits.
class Row {
 public:
  static Row of_list(std::vector<PartyId> list);
  static Row of_bits(Words bits, std::size_t parties);
  bool has(PartyId party) const;
  std::size_t bytes() const { return list_.capacity() * sizeof(PartyId) + bits_.size() * sizeof(std::uint64_t) + sizeof(Row); }

 private:
  enum class Form : std::uint8_t { kList, kAllBut, kBits } form_ = Form::kList;
  std::vector<PartyId> list_;  // sorted
  Words bits_;
};

// What a named port of an egress rule asks of the peer: a port of the name with this number.
struct NamedNumber {
  std::string name;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t port = 0;
};

class Masks {
 public:
  explicit Masks(const Parties& parties, const ClusterState& state) : parties_(parties), state_(state) {}
  // The number of a mask; rules whose peers are the same in any namespace share one.
  std::uint32_t of_rule(const model::Policy& policy, const model::PolicyRule& rule, const NamedNumber* number = nullptr);
  const Mask& operator[](std::uint32_t mask) const { return masks_[mask]; }
  // The numbers that the name has anywhere.
  std::vector<NamedNumber> numbers(const model::PolicyPort& port) const;

 private:
  template <typename Holds>
  void add_owned(const std::vector<PartyId>& candidates, bool any, Holds holds, std::vector<PartyId>& out) const;
  void add_pods(const model::Policy& policy, const model::PodSelector& selector, bool any, const NamedNumber* number,
                std::vector<PartyId>& out) const;
  void add_network(const model::PolicyPeer* peer, bool any, const NamedNumber* number, std::vector<PartyId>& out) const;
  void add_nodes(const model::LabelSelector& selector, bool any, std::vector<PartyId>& out) const;
  Mask make(const model::Policy& policy, const model::PolicyRule& rule, const NamedNumber* number) const;
  bool has_number(GroupId group, const NamedNumber& number) const;

  const Parties& parties_;
  const ClusterState& state_;
  std::vector<Mask> masks_;
  std::unordered_map<std::size_t, std::vector<std::pair<const model::PolicyRule*, std::uint32_t>>> known_;
};

}  // namespace fairway::policycheck
