#include "policycheck/masks.h"

#include <algorithm>
#include <bit>
#include <tuple>

namespace fairway::policycheck {
namespace {

std::size_t hash_of(const model::LabelSelector& selector, std::size_t h) {
  const std::hash<std::string> text;
  for (const auto& r : selector.requirements) {
    h = h * 31 + text(r.key) + static_cast<std::size_t>(r.op);
    for (const auto& value : r.values) h = h * 31 + text(value);
  }
  return h;
}
std::size_t hash_of(const model::PolicyRule& rule) {
  std::size_t h = rule.all_peers ? 1 : 2;
  for (const auto& peer : rule.peers) {
    h = hash_of(peer.pods.pods, h * 31 + static_cast<std::size_t>(peer.kind));
    if (peer.pods.namespaces) h = hash_of(*peer.pods.namespaces, h * 31);
    h = h * 31 + std::hash<net::IpAddr>{}(peer.network.addr());
  }
  return h;
}
bool same_peers(const model::PolicyRule& a, const model::PolicyRule& b) {
  return a.all_peers == b.all_peers && (a.action == model::PolicyAction::kDeny) == (b.action == model::PolicyAction::kDeny) &&
         a.peers == b.peers;
}
// Of whatever namespace the policy is.
bool anywhere_the_same(const model::PolicyRule& rule) {
  return std::all_of(rule.peers.begin(), rule.peers.end(),
                     [](const model::PolicyPeer& peer) { return peer.kind != model::PolicyPeer::Kind::kPods || peer.pods.namespaces; });
}

}  // namespace

bool Mask::move(Words& from, Words& to, bool take) const {
  std::uint64_t any = 0;
  const auto word = [&](std::size_t i, std::uint64_t mask) {
    const std::uint64_t hit = from[i] & mask;
    any |= hit;
    to[i] |= hit;
    if (take) from[i] &= ~mask;
  };
  for (const PartyId id : list) word(id / 64, 1ULL << id % 64);
  for (std::size_t i = 0; i < bits.size(); ++i) word(i, bits[i]);
  return any != 0;
}

Row Row::of_list(std::vector<PartyId> list) {
  std::sort(list.begin(), list.end());
  list.erase(std::unique(list.begin(), list.end()), list.end());
  Row out;
  out.list_ = std::move(list);
  return out;
}

Row Row::of_bits(Words bits, std::size_t parties) {
  std::size_t set = 0;
  for (const std::uint64_t word : bits) set += static_cast<std::size_t>(std::popcount(word));
  Row out;
  if (set > bits.size() && parties - set > bits.size()) {
    out.form_ = Form::kBits;
    out.bits_ = std::move(bits);
    return out;
  }
  const bool but = set > bits.size();
  out.form_ = but ? Form::kAllBut : Form::kList;
  out.list_.reserve(but ? parties - set : set);
  for (std::size_t i = 0; i < bits.size(); ++i) {
    const std::uint64_t within = i + 1 < bits.size() || parties % 64 == 0 ? ~0ULL : (1ULL << parties % 64) - 1;
    for (std::uint64_t rest = (but ? ~bits[i] : bits[i]) & within; rest != 0; rest &= rest - 1)
      out.list_.push_back(static_cast<PartyId>(i * 64 + static_cast<std::size_t>(std::countr_zero(rest))));
  }
  return out;
}

bool Row::has(PartyId party) const {
  if (form_ == Form::kBits) return (bits_[party / 64] >> party % 64 & 1) != 0;
  return std::binary_search(list_.begin(), list_.end(), party) == (form_ == Form::kList);
}

bool Masks::has_number(GroupId group, const NamedNumber& number) const {
  const auto& ports = parties_.pod_of(group).ports;
  return std::any_of(ports.begin(), ports.end(), [&](const model::NamedPort& p) {
    return p.name == number.name && p.protocol == number.protocol && p.port == number.port;
  });
}

std::vector<NamedNumber> Masks::numbers(const model::PolicyPort& port) const {
  std::vector<NamedNumber> out;
  for (const GroupId group : parties_.with_port(port.name))
    for (const auto& p : parties_.pod_of(group).ports)
      if (p.name == port.name && (!port.protocol || *port.protocol == p.protocol)) out.push_back({p.name, p.protocol, p.port});
  const auto key = [](const NamedNumber& n) { return std::tie(n.protocol, n.port); };
  std::sort(out.begin(), out.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  out.erase(std::unique(out.begin(), out.end(), [&](const auto& a, const auto& b) { return key(a) == key(b); }), out.end());
  return out;
}

// Of parties with several owners: what denies holds if it does for one of them, what allows if for all.
template <typename Holds>
void Masks::add_owned(const std::vector<PartyId>& candidates, bool any, Holds holds, std::vector<PartyId>& out) const {
  for (const PartyId id : candidates) {
    const auto& owners = parties_[id].owners;
    if (any ? std::any_of(owners.begin(), owners.end(), holds) : std::all_of(owners.begin(), owners.end(), holds)) out.push_back(id);
  }
}

void Masks::add_pods(const model::Policy& policy, const model::PodSelector& selector, bool any, const NamedNumber* number,
                     std::vector<PartyId>& out) const {
  const auto groups = parties_.select(selector, policy.id.ns);
  const auto holds = [&](GroupId group) {
    return std::binary_search(groups.begin(), groups.end(), group) && (number == nullptr || has_number(group, *number));
  };
  for (const GroupId group : groups) {
    if (number != nullptr && !has_number(group, *number)) continue;
    for (const PartyId id : parties_.of_group(group))
      if (!parties_[id].shared) out.push_back(id);
  }
  add_owned(parties_.shared(), any, holds, out);
}

// nullptr: every address.
void Masks::add_network(const model::PolicyPeer* peer, bool any, const NamedNumber* number, std::vector<PartyId>& out) const {
  const auto has = [&](GroupId group) { return has_number(group, *number); };
  const std::size_t first = peer == nullptr ? 0 : parties_.interval_of(peer->network.addr());
  const std::size_t last = peer == nullptr ? parties_.intervals() - 1 : parties_.interval_of(last_of(peer->network));
  for (std::size_t i = first; i <= last; ++i) {
    const auto outside = [&](const net::Prefix& hole) { return hole.contains(parties_.first_of(i)); };
    if (peer != nullptr &&
        (!peer->network.contains(parties_.first_of(i)) || std::any_of(peer->except.begin(), peer->except.end(), outside)))
      continue;
    for (const PartyId id : parties_.in_interval(i)) {
      const Party& party = parties_[id];
      if (number == nullptr || (!party.shared && party.group != kNobody && has(party.group))) out.push_back(id);
      else if (party.shared) add_owned({id}, any, has, out);
    }
  }
}

void Masks::add_nodes(const model::LabelSelector& selector, bool any, std::vector<PartyId>& out) const {
  for (const PartyId id : parties_.nodes()) {
    const auto holds = [&](std::uint32_t node) { return model::matches(selector, state_.nodes[node].labels); };
    const auto& nodes = parties_[id].nodes;
    if (any ? std::any_of(nodes.begin(), nodes.end(), holds) : std::all_of(nodes.begin(), nodes.end(), holds)) out.push_back(id);
  }
}

Mask Masks::make(const model::Policy& policy, const model::PolicyRule& rule, const NamedNumber* number) const {
  const bool any = rule.action == model::PolicyAction::kDeny;
  Mask out;
  if (rule.all_peers) add_network(nullptr, any, number, out.list);
  for (const auto& peer : rule.peers) {
    if (rule.all_peers) break;
    if (peer.kind == model::PolicyPeer::Kind::kPods) add_pods(policy, peer.pods, any, number, out.list);
    else if (peer.kind == model::PolicyPeer::Kind::kNetwork) add_network(&peer, any, number, out.list);
    else if (number == nullptr) add_nodes(peer.nodes, any, out.list);
  }
  if (!std::is_sorted(out.list.begin(), out.list.end())) std::sort(out.list.begin(), out.list.end());
  out.list.erase(std::unique(out.list.begin(), out.list.end()), out.list.end());
  const std::size_t words = (parties_.all().size() + 63) / 64;
  if (out.list.size() > words) {
    out.bits.resize(words);
    for (const PartyId id : out.list) out.bits[id / 64] |= 1ULL << id % 64;
    out.list = {};
  }
  return out;
}

std::uint32_t Masks::of_rule(const model::Policy& policy, const model::PolicyRule& rule, const NamedNumber* number) {
  const auto next = static_cast<std::uint32_t>(masks_.size());
  if (number == nullptr && anywhere_the_same(rule)) {
    auto& known = known_[hash_of(rule)];
    for (const auto& [other, mask] : known)
      if (same_peers(*other, rule)) return mask;
    known.emplace_back(&rule, next);
  }
  masks_.push_back(make(policy, rule, number));
  return next;
}

}  // namespace fairway::policycheck
