#include "policycheck/placement.h"

#include <algorithm>
#include <deque>
#include <utility>

#include "policycheck/parties.h"

namespace fairway::policycheck {
namespace {

constexpr std::size_t kMaxFamilyNotes = 20;
constexpr const char* kFamilies[] = {"IPv4", "IPv6"};
constexpr const char* kDefaultRanges[] = {"10.244.0.0/16", "fd00:10:244::/56"};

std::size_t family_of(const net::IpAddr& addr) { return addr.is_v4() ? 0 : 1; }

// For each rule: its policy, direction, place in the list.
template <typename Visit>
void for_each_rule(const Inventory& inventory, Visit visit) {
  const auto& policies = inventory.state.policies;
  for (std::size_t i = 0; i < policies.size(); ++i)
    for (const bool in : {true, false}) {
      const auto& rules = in ? policies[i].ingress : policies[i].egress;
      for (std::size_t r = 0; r < rules.size(); ++r)
        visit(i, std::string(in ? "spec.ingress[" : "spec.egress[") + std::to_string(r) + "]", rules[r]);
    }
}
const model::PolicyPeer* block_of_family(const model::PolicyRule& rule, std::size_t family) {
  const auto at = std::find_if(rule.peers.begin(), rule.peers.end(), [&](const model::PolicyPeer& peer) {
    return peer.kind == model::PolicyPeer::Kind::kNetwork && family_of(peer.network.addr()) == family;
  });
  return at == rule.peers.end() ? nullptr : &*at;
}

// Where the manifests speak of IPv6; empty: nowhere.
std::string mention_of_v6(const Inventory& inventory) {
  for (const Service& service : inventory.services)
    if (!service.v6_field.empty())
      return service.source.place(service.v6_field).to_string() + ": Service " + service.id.to_string() + " " + service.v6_field;
  std::string out;
  for_each_rule(inventory, [&](std::size_t policy, const std::string& field, const model::PolicyRule& rule) {
    if (out.empty() && block_of_family(rule, 1) != nullptr)
      out = inventory.policy_sources[policy].place(field).to_string() + ": policy " + inventory.state.policies[policy].id.to_string() +
            " " + field;
  });
  return out;
}

// What is known of real pods and nodes tells which families the cluster has; else it has IPv4, and IPv6 where the manifests speak of it.
std::vector<net::Prefix> ranges_of(const Inventory& inventory, const InventoryOptions& options, std::string& mention) {
  if (!options.pod_ranges.empty()) return options.pod_ranges;
  bool has[2] = {};
  for (const auto& pod : inventory.state.pods)
    for (const auto& addr : pod.ips) has[family_of(addr)] |= counts(pod);
  for (const auto& node : inventory.state.nodes)
    for (const auto& range : node.pod_cidrs) has[family_of(range.addr())] = true;
  if (!has[0] && !has[1]) {
    mention = mention_of_v6(inventory);
    has[0] = true, has[1] = !mention.empty();
  }
  std::vector<net::Prefix> out;
  for (const std::size_t family : {0U, 1U})
    if (has[family]) out.push_back(*net::Prefix::parse(kDefaultRanges[family]));
  return out;
}

// The free addresses of a range, in order.
class FreeAddresses {
 public:
  FreeAddresses(const net::Prefix& range, const Inventory& inventory, const std::set<net::IpAddr>& taken)
      : range_(range), taken_(taken), next_(next_of(range.addr())) {
    const auto add = [&](const net::Prefix& one) {
      if (range.contains(one.addr()) && one.length() > range.length()) narrow_.insert(one);
    };
    for_each_rule(inventory, [&](std::size_t, const std::string&, const model::PolicyRule& rule) {
      for (const auto& peer : rule.peers) {
        if (peer.kind != model::PolicyPeer::Kind::kNetwork) continue;
        add(peer.network);
        for (const auto& hole : peer.except) add(hole);
      }
    });
    at_ = narrow_.begin();
  }
  const net::Prefix& range() const { return range_; }
  const std::set<net::Prefix>& narrow() const { return narrow_; }
  std::optional<net::IpAddr> take() {
    for (; next_ && range_.contains(*next_); next_ = next_of(*next_)) {
      while (at_ != narrow_.end() && last_of(*at_) < *next_) ++at_;
      if (at_ != narrow_.end() && at_->contains(*next_)) next_ = last_of(*at_);
      else if (!taken_.contains(*next_)) return std::exchange(next_, next_of(*next_));
    }
    return std::nullopt;
  }

 private:
  const net::Prefix range_;
  const std::set<net::IpAddr>& taken_;
  std::set<net::Prefix> narrow_;        // ipBlocks within the range
  std::set<net::Prefix>::iterator at_;  // the first that may have next_
  std::optional<net::IpAddr> next_;
};

void give_addresses(Inventory& inventory, const std::vector<net::Prefix>& prefixes, const std::string& mention) {
  std::set<net::IpAddr> taken;
  for (const auto& pod : inventory.state.pods) taken.insert(pod.ips.begin(), pod.ips.end());
  std::deque<FreeAddresses> ranges;  // which never move
  for (const auto& range : prefixes) ranges.emplace_back(range, inventory, taken);
  std::size_t placed = 0;
  for (auto& pod : inventory.state.pods) {
    if (!counts(pod) || !pod.ips.empty()) continue;
    ++placed;
    for (FreeAddresses& range : ranges) {
      const auto addr = range.take();
      if (!addr) {
        inventory.faults.push_back({{},
                                    "Pod " + pod.id.to_string(),
                                    "status.podIPs",
                                    "no address is left in " + range.range().to_string() + "; give a wider one: --pod-range"});
        return;
      }
      pod.ips.push_back(*addr);
      inventory.invented.insert(*addr);
    }
  }
  for (FreeAddresses& range : ranges)
    if (const auto addr = range.take()) inventory.dns_addresses.push_back(*addr);
  if (placed == 0) return;
  for (const FreeAddresses& range : ranges)
    if (const auto& narrow = range.narrow(); !narrow.empty())
      inventory.notes.push_back("pods without an address are taken to have one in " + range.range().to_string() +
                                " (--pod-range) outside " + narrow.begin()->to_string() +
                                (narrow.size() > 1 ? " and the other ipBlocks within it" : ""));
  if (!mention.empty())
    inventory.notes.push_back(mention + " is of IPv6: pods without an address are taken to have one of each family; --pod-range " +
                              kDefaultRanges[0] + " gives them IPv4 alone");
}

// A block of a family that no pod has an address of matches nothing that is asked here.
void note_families(Inventory& inventory) {
  bool has[2] = {};
  for (const auto& pod : inventory.state.pods)
    for (const auto& addr : pod.ips) has[family_of(addr)] = true;
  if (has[0] && has[1]) return;
  std::size_t told = 0;
  for_each_rule(inventory, [&](std::size_t policy, const std::string& field, const model::PolicyRule& rule) {
    const auto* lost = !has[0] ? block_of_family(rule, 0) : nullptr;
    if (lost == nullptr && !has[1]) lost = block_of_family(rule, 1);
    if (lost == nullptr || ++told > kMaxFamilyNotes) return;
    inventory.notes.push_back(inventory.policy_sources[policy].place(field).to_string() + ": policy " +
                              inventory.state.policies[policy].id.to_string() + " " + field + ": " + lost->network.to_string() +
                              " is not judged: no pod here has an " + kFamilies[family_of(lost->network.addr())] + " address");
  });
  if (told > kMaxFamilyNotes) inventory.notes.push_back("so are ipBlocks of " + std::to_string(told - kMaxFamilyNotes) + " more rules");
}

}  // namespace

void place_pods(Inventory& inventory, const InventoryOptions& options) {
  std::string mention;
  inventory.pod_ranges = ranges_of(inventory, options, mention);
  give_addresses(inventory, inventory.pod_ranges, mention);
  note_families(inventory);
  for (const auto& node : inventory.state.nodes)
    inventory.pod_ranges.insert(inventory.pod_ranges.end(), node.pod_cidrs.begin(), node.pod_cidrs.end());
  inventory.service_ranges = options.service_ranges;
}

void place_pods_alike(Inventory& before, Inventory& after, InventoryOptions options) {
  std::string mention;
  const auto old_ranges = ranges_of(before, options, mention), new_ranges = ranges_of(after, options, mention);
  options.pod_ranges = old_ranges.size() > new_ranges.size() ? old_ranges : new_ranges;
  if (old_ranges.size() == 1 && new_ranges.size() == 1 && old_ranges != new_ranges) options.pod_ranges.push_back(old_ranges.front());
  place_pods(before, options);
  place_pods(after, options);
}

}  // namespace fairway::policycheck
