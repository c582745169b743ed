#include "compile/routing/compile.h"

#include <algorithm>
#include <cstring>

namespace fairway::compile::routing {
namespace {

constexpr std::uint32_t kOverheadV4 = 50;  // inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20
constexpr std::uint32_t kOverheadV6 = 70;
// Ports of masqueraded flows: above Linux' default ip_local_port_range (32768-60999) and the NodePorts (30000-32767),
// so that no socket of the node clashes.
constexpr std::uint16_t kMasqueradeMin = 61000;
constexpr std::uint16_t kMasqueradeMax = 65535;

fw_addr addr_to_abi(const net::IpAddr& addr) {
  fw_addr out;
  std::memcpy(out.bytes, addr.bytes().data(), sizeof(out.bytes));
  return out;
}

const net::IpAddr* of_family(const std::vector<net::IpAddr>& addrs, net::Family family) {
  const auto it = std::find_if(addrs.begin(), addrs.end(), [&](const auto& a) { return a.family() == family; });
  return it == addrs.end() ? nullptr : &*it;
}

const net::Prefix* of_family(const std::vector<net::Prefix>& prefixes, net::Family family) {
  const auto it = std::find_if(prefixes.begin(), prefixes.end(), [&](const auto& p) { return p.family() == family; });
  return it == prefixes.end() ? nullptr : &*it;
}

}  // namespace

std::optional<Mode> parse_mode(std::string_view text) {
  if (text == "auto") return Mode::kAuto;
  if (text == "native") return Mode::kNative;
  if (text == "vxlan") return Mode::kVxlan;
  return std::nullopt;
}

void NodeIds::adopt(std::uint32_t id, const fw_node& row) {
  for (const fw_addr* addr : {&row.underlay_v4, &row.underlay_v6}) {
    const auto ip = net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(addr->bytes));
    if (!ip.is_unset()) adopted_.emplace(ip, id);
  }
  next_ = std::max(next_, id + 1);
}

std::uint32_t NodeIds::get(const model::Node& node) {
  if (const auto it = by_name_.find(node.name); it != by_name_.end()) return it->second;
  std::uint32_t id = 0;
  for (const auto& addr : node.addresses) {
    const auto it = adopted_.find(addr);
    if (it == adopted_.end()) continue;
    if (id == 0) id = it->second;
    adopted_.erase(it);
  }
  if (id == 0) id = next_++;
  by_name_.emplace(node.name, id);
  return id;
}

std::optional<std::uint32_t> NodeIds::find(std::string_view name) const {
  const auto it = by_name_.find(name);
  return it == by_name_.end() ? std::nullopt : std::optional(it->second);
}

void NodeIds::forget(std::string_view name) {
  if (const auto it = by_name_.find(name); it != by_name_.end()) by_name_.erase(it);
}

CompiledNode compile_node(const model::Node& node, const Local& local) {
  CompiledNode out;
  const net::IpAddr* v4 = of_family(node.addresses, net::Family::kV4);
  const net::IpAddr* v6 = of_family(node.addresses, net::Family::kV6);
  if (v4 != nullptr) out.row.underlay_v4 = addr_to_abi(*v4);
  if (v6 != nullptr) out.row.underlay_v6 = addr_to_abi(*v6);
  // The underlay is of a family that both nodes have, IPv4 first.
  const net::IpAddr* underlay = v4 != nullptr && of_family(local.addresses, net::Family::kV4) != nullptr   ? v4
                                : v6 != nullptr && of_family(local.addresses, net::Family::kV6) != nullptr ? v6
                                                                                                           : nullptr;
  if (underlay == nullptr) {
    out.problems.push_back({"status.addresses", "no InternalIP of a family that this node has: its pods cannot be reached"});
    return out;
  }
  const auto on_link = [&](const net::IpAddr& addr) {
    return std::any_of(local.subnets.begin(), local.subnets.end(), [&](const net::Prefix& p) { return p.contains(addr); });
  };
  // Native needs a neighbour of each pod range's family; a v4 next hop carries v6 ranges badly, so all must be on-link.
  const bool neighbours = std::all_of(node.addresses.begin(), node.addresses.end(), on_link);
  const bool overlay = local.mode == Mode::kVxlan || (local.mode == Mode::kAuto && !neighbours);
  const std::uint32_t overhead = underlay->is_v4() ? kOverheadV4 : kOverheadV6;
  out.row.mode = overlay ? FW_NODE_VXLAN : FW_NODE_NATIVE;
  out.row.mtu = local.uplink_mtu - (overlay ? std::min(overhead, local.uplink_mtu) : 0);
  if (local.mode == Mode::kNative && !neighbours)
    out.problems.push_back({"status.addresses", "not on this node's subnet: with --datapath native, the network must route its pods"});
  for (const net::Prefix& pods : node.pod_cidrs) {
    const net::IpAddr* next = underlay;
    if (!overlay) {
      const net::IpAddr* same_family = of_family(node.addresses, pods.family());
      if (same_family != nullptr) next = same_family;
    }
    out.routes.push_back({pods, *next, overlay, out.row.mtu});
  }
  return out;
}

std::optional<fw_endpoint> compile_endpoint(const Owner& owner, const Local& local, const NodeIds& ids) {
  fw_endpoint row{};
  if (owner.node) {
    row.flags = FW_EP_NODE;
    if (*owner.node == local.name) return row;
    const auto id = ids.find(*owner.node);
    if (!id) return std::nullopt;
    row.node = *id;
    return row;
  }
  for (const model::Pod& pod : owner.pods) {
    if (pod.host_network || pod.node.empty()) continue;
    if (pod.node == local.name) return std::nullopt;
    const auto id = ids.find(pod.node);
    if (!id) continue;
    row.node = *id;
    row.generation = generation_of(pod.uid);
    return row;
  }
  return std::nullopt;
}

std::uint32_t generation_of(std::string_view pod_uid) {
  std::uint32_t hash = 2166136261U;  // FNV-1a
  for (const char c : pod_uid) hash = (hash ^ static_cast<unsigned char>(c)) * 16777619U;
  return hash;
}

fw_config compile_config(const Local& local, bool services_synced) {
  fw_config row{};
  if (const auto* addr = of_family(local.addresses, net::Family::kV4)) row.node_v4 = addr_to_abi(*addr);
  if (const auto* addr = of_family(local.addresses, net::Family::kV6)) row.node_v6 = addr_to_abi(*addr);
  row.uplink_ifindex = local.uplink_ifindex;
  row.vxlan_ifindex = local.vxlan_ifindex;
  row.vxlan_vni = local.vni;
  row.uplink_mtu = local.uplink_mtu;
  const auto range = [](const std::vector<net::Prefix>& ranges, net::Family family, fw_addr& addr, __u8& length) {
    const net::Prefix* prefix = of_family(ranges, family);
    if (prefix == nullptr) return;
    addr = addr_to_abi(prefix->addr());
    length = static_cast<__u8>(prefix->length() + (family == net::Family::kV4 ? 96 : 0));
  };
  range(local.cluster_ranges, net::Family::kV4, row.cluster_v4, row.cluster_v4_len);
  range(local.cluster_ranges, net::Family::kV6, row.cluster_v6, row.cluster_v6_len);
  range(local.service_ranges, net::Family::kV4, row.service_v4, row.service_v4_len);
  range(local.service_ranges, net::Family::kV6, row.service_v6, row.service_v6_len);
  if (local.masquerade && of_family(local.addresses, net::Family::kV4) != nullptr) row.flags |= FW_CFG_MASQUERADE_V4;
  if (local.masquerade && of_family(local.addresses, net::Family::kV6) != nullptr) row.flags |= FW_CFG_MASQUERADE_V6;
  if (services_synced) row.flags |= FW_CFG_SERVICES_SYNCED;
  row.host_service_ifindex = local.host_service_ifindex;
  row.masq_port_min = kMasqueradeMin;
  row.masq_port_max = kMasqueradeMax;
  return row;
}

}  // namespace fairway::compile::routing
