#include "policycheck/parties.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>

namespace fairway::policycheck {
namespace {

std::uint64_t mix(std::uint64_t seed, std::uint64_t value) {
  std::uint64_t x = seed * 0x9e3779b97f4a7c15ULL + value;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  return x ^ x >> 32;
}
std::uint64_t hash_of(std::string_view text) { return std::hash<std::string_view>{}(text); }
std::uint64_t hash_of(std::uint64_t place, std::string_view key, std::string_view value) {
  return mix(mix(place, hash_of(key)), hash_of(value));
}

struct SameGroup {
  bool operator()(const model::Pod* a, const model::Pod* b) const {
    return a->id.ns == b->id.ns && a->labels == b->labels && a->ports == b->ports;
  }
};
struct GroupHash {
  std::size_t operator()(const model::Pod* pod) const {
    std::uint64_t h = hash_of(pod->id.ns);
    for (const auto& [key, value] : pod->labels) h = hash_of(h, key, value);
    for (const auto& port : pod->ports) h = mix(mix(h, hash_of(port.name)), port.port);
    return h;
  }
};

template <typename Visit>
void for_each_block(const ClusterState& state, Visit visit) {
  for (const auto& policy : state.policies)
    for (const auto* rules : {&policy.ingress, &policy.egress})
      for (const auto& rule : *rules)
        for (const auto& peer : rule.peers)
          if (peer.kind == model::PolicyPeer::Kind::kNetwork) visit(peer);
}

// Sorted, without those that lie within another.
std::vector<net::Prefix> widest(std::vector<net::Prefix> ranges) {
  std::sort(ranges.begin(), ranges.end());
  std::vector<net::Prefix> out;
  for (const auto& range : ranges)
    if (out.empty() || !out.back().contains(range.addr())) out.push_back(range);
  return out;
}
// The first address from `addr` on that is in none of the ranges.
std::optional<net::IpAddr> first_free(const std::vector<net::Prefix>& ranges, net::IpAddr addr) {
  auto range =
      std::upper_bound(ranges.begin(), ranges.end(), addr, [](const net::IpAddr& a, const net::Prefix& r) { return a < r.addr(); });
  if (range != ranges.begin() && std::prev(range)->contains(addr)) --range;
  for (; range != ranges.end() && range->contains(addr); ++range) {
    const auto next = next_of(last_of(*range));
    if (!next) return std::nullopt;
    addr = *next;
  }
  return addr;
}

}  // namespace

net::IpAddr last_of(const net::Prefix& prefix) {
  auto bytes = prefix.addr().bytes();
  const unsigned length = prefix.length() + (prefix.family() == net::Family::kV4 ? 96 : 0);
  for (unsigned bit = length; bit < 128; ++bit) bytes[bit / 8] |= static_cast<std::uint8_t>(0x80 >> bit % 8);
  return net::IpAddr::from_bytes(bytes);
}
std::optional<net::IpAddr> next_of(const net::IpAddr& addr) {
  auto bytes = addr.bytes();
  for (std::size_t i = 16; i-- > 0;)
    if (++bytes[i] != 0) return net::IpAddr::from_bytes(bytes);
  return std::nullopt;
}
bool counts(const model::Pod& pod) { return !pod.host_network && !pod.terminated; }

Parties::Parties(const ClusterState& state, const std::vector<net::Prefix>& pod_ranges) : state_(state) {
  cut_addresses();
  by_interval_.resize(bounds_.size());
  group_pods();
  const Owners owners = find_owners();
  place_pods(owners);
  add_nodes(owners);
  name_outside(pod_ranges);
  for (PartyId id = 0; id < parties_.size(); ++id) {
    const Party& party = parties_[id];
    by_interval_[interval_of(party.addr)].push_back(id);
    if (party.kind == Party::Kind::kPod) groups_[party.group].parties.push_back(id);
    if (party.shared) shared_.push_back(id);
    if (!party.nodes.empty()) nodes_.push_back(id);
  }
  index_labels();
}

void Parties::cut_addresses() {
  for_each_block(state_, [&](const model::PolicyPeer& peer) {
    prefixes_.push_back(peer.network);
    prefixes_.insert(prefixes_.end(), peer.except.begin(), peer.except.end());
  });
  std::sort(prefixes_.begin(), prefixes_.end());
  prefixes_.erase(std::unique(prefixes_.begin(), prefixes_.end()), prefixes_.end());
  const net::Prefix v4(net::IpAddr::v4(0), 0);  // a fence: no interval has both families
  const auto cut = [&](const net::Prefix& prefix) {
    bounds_.push_back(prefix.addr());
    if (const auto behind = next_of(last_of(prefix))) bounds_.push_back(*behind);
  };
  bounds_.push_back({});
  cut(v4);
  for (const auto& prefix : prefixes_) cut(prefix);
  std::sort(bounds_.begin(), bounds_.end());
  bounds_.erase(std::unique(bounds_.begin(), bounds_.end()), bounds_.end());
}

std::size_t Parties::interval_of(const net::IpAddr& addr) const {
  return static_cast<std::size_t>(std::upper_bound(bounds_.begin(), bounds_.end(), addr) - bounds_.begin()) - 1;
}

PartyId Parties::add(Party party) {
  parties_.push_back(std::move(party));
  return static_cast<PartyId>(parties_.size() - 1);
}

void Parties::group_pods() {
  boost::unordered_flat_map<const model::Pod*, GroupId, GroupHash, SameGroup> known;
  known.reserve(state_.pods.size());  // a group's hash is not worked out twice
  group_of_pod_.assign(state_.pods.size(), kNobody);
  for (std::uint32_t i = 0; i < state_.pods.size(); ++i) {
    if (!counts(state_.pods[i])) continue;
    const auto [at, fresh] = known.try_emplace(&state_.pods[i], static_cast<GroupId>(groups_.size()));
    if (fresh) groups_.push_back({i, 0, {}});
    group_of_pod_[i] = at->second;
  }
}

Parties::Owners Parties::find_owners() const {
  Owners out;
  out.pod.reserve(state_.pods.size());
  for (std::uint32_t i = 0; i < state_.pods.size(); ++i) {
    if (group_of_pod_[i] == kNobody) continue;
    for (const auto& addr : state_.pods[i].ips) {
      const auto [at, fresh] = out.pod.try_emplace(addr, i);
      if (fresh || at->second == i) continue;
      auto& groups = out.several[addr];
      if (groups.empty()) groups.push_back(group_of_pod_[at->second]);
      groups.push_back(group_of_pod_[i]);
    }
  }
  for (std::uint32_t n = 0; n < state_.nodes.size(); ++n)
    for (const auto* addrs : {&state_.nodes[n].addresses, &state_.nodes[n].other_addresses})
      for (const auto& addr : *addrs) out.nodes[addr].push_back(n);
  return out;
}

// One party a group and interval, but for addresses that are somebody else's too: those have their own.
void Parties::place_pods(const Owners& owners) {
  boost::unordered_flat_map<std::uint64_t, PartyId> places;
  of_pod_.assign(state_.pods.size(), {kNobody, kNobody});
  parties_.reserve(groups_.size() + state_.nodes.size());
  for (std::uint32_t i = 0; i < state_.pods.size(); ++i) {
    const GroupId group = group_of_pod_[i];
    for (std::size_t k = 0; group != kNobody && k < std::min<std::size_t>(2, state_.pods[i].ips.size()); ++k) {
      const net::IpAddr& addr = state_.pods[i].ips[k];
      const auto several = owners.several.find(addr);
      const auto nodes = owners.nodes.find(addr);
      const bool special = several != owners.several.end() || nodes != owners.nodes.end();
      PartyId place = kNobody;
      PartyId& known =
          special ? place : places.try_emplace(static_cast<std::uint64_t>(group) << 32 | interval_of(addr), kNobody).first->second;
      if (known != kNobody) {
        ++parties_[known].count;
        of_pod_[i][k] = known;
        continue;
      }
      Party party{.addr = addr, .group = group, .pod = i};
      if (nodes != owners.nodes.end()) party.nodes = nodes->second;
      if (several != owners.several.end()) party.owners = several->second, party.shared = true;
      of_pod_[i][k] = known = add(std::move(party));
    }
  }
}

void Parties::add_nodes(const Owners& owners) {
  for (const auto& node : state_.nodes) {
    auto addrs = node.addresses;
    addrs.insert(addrs.end(), node.other_addresses.begin(), node.other_addresses.end());
    for (const auto& addr : addrs) {
      Party party{.kind = Party::Kind::kNode, .addr = addr, .name = "node/" + node.name, .nodes = owners.nodes.at(addr)};
      if (const auto pod = owners.pod.find(addr); pod != owners.pod.end()) {
        const auto several = owners.several.find(addr);
        party.owners = several != owners.several.end() ? several->second : std::vector{group_of_pod_[pod->second]};
        party.shared = true;
      }
      add(std::move(party));
    }
  }
}

// A part of the outside for each prefix that a policy names, where it is the longest; the rest is "outside".
void Parties::name_outside(const std::vector<net::Prefix>& pod_ranges) {
  const bool with_v6 = std::any_of(state_.pods.begin(), state_.pods.end(), [](const model::Pod& pod) {
    return std::any_of(pod.ips.begin(), pod.ips.end(), [](const net::IpAddr& addr) { return !addr.is_v4(); });
  });
  boost::unordered_flat_set<net::IpAddr, std::hash<net::IpAddr>> taken;
  for (const Party& party : parties_) taken.insert(party.addr);
  const auto ranges = widest(pod_ranges);
  std::vector<const net::Prefix*> over;  // those that reach over the interval, the longest last
  auto next = prefixes_.begin();
  boost::unordered_flat_map<std::string, PartyId> named;
  outside_by_interval_.assign(bounds_.size(), kNobody);
  for (std::size_t i = 0; i < bounds_.size(); ++i) {
    net::IpAddr addr = bounds_[i];
    while (!over.empty() && last_of(*over.back()) < addr) over.pop_back();
    for (; next != prefixes_.end() && next->addr() == addr; ++next) over.push_back(&*next);
    if (!addr.is_v4() && !with_v6) continue;
    const auto free = first_free(ranges, addr);
    if (!free || interval_of(*free) != i) continue;
    addr = *free;
    const bool rest = over.empty() || !over.back()->contains(addr) || over.back()->length() == 0;
    const std::string name = !rest ? over.back()->to_string() : addr.is_v4() ? "outside" : "outside (IPv6)";
    const auto known = named.find(name);
    if (known == named.end() && !taken.contains(addr)) {
      const PartyId id = named[name] = add({.kind = Party::Kind::kOutside, .addr = addr, .name = name});
      outside_.insert(rest ? outside_.begin() : outside_.end(), id);
      outside_by_interval_[i] = id;
    } else if (known != named.end()) {
      outside_by_interval_[i] = known->second;
    }
  }
}

std::vector<PartyId> Parties::outside_within(const net::Prefix& network) const {
  std::vector<PartyId> out;
  for (std::size_t i = interval_of(network.addr()); i <= interval_of(last_of(network)); ++i)
    if (outside_by_interval_[i] != kNobody && parties_[outside_by_interval_[i]].addr.family() == network.family())
      out.push_back(outside_by_interval_[i]);
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

// --- selectors

void Parties::index_labels() {
  namespace_rows_.resize(1);
  by_namespace_.resize(1);
  boost::unordered_flat_map<std::string_view, const model::Namespace*> rows;
  for (const auto& row : state_.namespaces) rows[row.name] = &row;
  for (GroupId id = 0; id < groups_.size(); ++id) {
    const model::Pod& pod = pod_of(id);
    const auto [at, fresh] = namespaces_.try_emplace(pod.id.ns, static_cast<std::uint32_t>(namespace_rows_.size()));
    if (fresh) {
      const auto row = rows.find(pod.id.ns);
      namespace_rows_.push_back(row == rows.end() ? nullptr : row->second);
      by_namespace_.emplace_back();
    }
    groups_[id].ns = at->second;
    by_namespace_[at->second].push_back(id);
    for (const auto& [key, value] : pod.labels) {
      by_label_.emplace_back(hash_of(0, key, value), id);
      by_label_.emplace_back(hash_of(at->second, key, value), id);
    }
    for (const auto& port : pod.ports) {
      auto& list = by_port_[port.name];
      if (list.empty() || list.back() != id) list.push_back(id);
    }
  }
  std::sort(by_label_.begin(), by_label_.end());
}

void Parties::add_with_label(std::uint64_t label, std::vector<GroupId>& out) const {
  for (auto at = std::lower_bound(by_label_.begin(), by_label_.end(), std::pair<std::uint64_t, GroupId>{label, 0});
       at != by_label_.end() && at->first == label; ++at)
    out.push_back(at->second);
}

// No fewer than match: by the first label that each of them must have.
std::vector<GroupId> Parties::candidates(const model::PodSelector& selector, std::uint32_t ns) const {
  for (const auto& r : selector.pods.requirements) {
    if (r.op != model::LabelRequirement::Op::kIn) continue;
    std::vector<GroupId> out;
    for (const auto& value : r.values) add_with_label(hash_of(ns, r.key, value), out);
    if (r.values.size() > 1) std::sort(out.begin(), out.end());
    return out;
  }
  if (ns != 0) return by_namespace_[ns];
  std::vector<GroupId> out(groups_.size());
  for (GroupId id = 0; id < out.size(); ++id) out[id] = id;
  return out;
}

std::vector<GroupId> Parties::select(const model::PodSelector& selector, const std::string& own) const {
  std::uint32_t ns = 0;
  if (!selector.namespaces) {
    const auto at = namespaces_.find(own);
    if (at == namespaces_.end()) return {};
    ns = at->second;
  }
  auto out = candidates(selector, ns);
  const bool any_namespace = !selector.namespaces || selector.namespaces->requirements.empty();
  std::vector<char> seen(any_namespace ? 0 : namespace_rows_.size());  // 1: matches, 2: does not
  const auto in_namespace = [&](std::uint32_t number) {
    if (any_namespace) return true;
    if (seen[number] == 0) {
      const auto* row = namespace_rows_[number];
      seen[number] = row != nullptr && model::matches(*selector.namespaces, row->labels) ? 1 : 2;
    }
    return seen[number] == 1;
  };
  std::erase_if(out, [&](GroupId id) {
    return (ns != 0 && groups_[id].ns != ns) || !in_namespace(groups_[id].ns) || !model::matches(selector.pods, pod_of(id).labels);
  });
  return out;
}

const std::vector<GroupId>& Parties::with_port(const std::string& name) const {
  static const std::vector<GroupId> kNone;
  const auto at = by_port_.find(name);
  return at == by_port_.end() ? kNone : at->second;
}

}  // namespace fairway::policycheck
