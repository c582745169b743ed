#include "hostnet/node_network.h"

#include <algorithm>

#include "abi/overlay.h"
#include "hostnet/pod_link.h"
#include "hostnet/sysctl.h"
#include "io/netlink.h"

namespace fairway::hostnet {
namespace {

constexpr std::uint8_t kUnreachable = 7;  // RTN_UNREACHABLE
constexpr std::uint8_t kProtocolRa = 9;   // RTPROT_RA: a route from a router advertisement
constexpr char kLoopback[] = "lo";
constexpr std::uint32_t kServiceVethV4 = 0xa9fe0102;  // 169.254.1.2, beside the pods' gateway
constexpr std::uint32_t kBlackholeMetric = 0xffff;    // worse than any route to a pod or a range

static_assert(kVxlanPort == FW_VXLAN_PORT);

bool is_default(const io::RouteInfo& route) { return route.dst.length() == 0 && route.link != 0; }

Result<std::uint32_t> uplink_index(io::Netlink& netlink, const std::vector<net::IpAddr>& node_addresses) {
  if (!node_addresses.empty()) {
    FW_ASSIGN(const auto addresses, netlink.addresses());
    for (const auto& wanted : node_addresses) {
      for (const auto& row : addresses)
        if (row.addr == wanted) return row.link;
    }
    return make_error(Code::kNotFound, "no interface of this node has its address " + node_addresses.front().to_string());
  }
  FW_ASSIGN(const auto routes, netlink.routes());
  for (const auto& route : routes)
    if (is_default(route)) return route.link;
  return make_error(Code::kNotFound, "this node has neither a known address nor a default route: no uplink");
}

// Mixes both halves of an address to what is unique enough within one cluster's underlay.
std::uint64_t fold(const net::IpAddr& addr) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  for (const auto byte : addr.bytes()) hash = (hash ^ byte) * 0x100000001b3ULL;
  return (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdULL;
}

// The next hop of a node on the overlay: a link-local address made from its underlay address, the same for both families.
net::IpAddr overlay_hop(const net::IpAddr& underlay) {
  std::array<std::uint8_t, 16> bytes{};
  bytes[0] = 0xfe;
  bytes[1] = 0x80;
  const std::uint64_t hash = fold(underlay);
  for (std::size_t i = 0; i < 8; ++i) bytes[8 + i] = static_cast<std::uint8_t>(hash >> (8 * i));
  return net::IpAddr::from_bytes(bytes);
}

Status set_forwarding() {
  FW_TRY(ensure_sysctl("net/ipv4/ip_forward", "1"));
  Status v6 = ensure_sysctl("net/ipv6/conf/all/forwarding", "1");
  return v6.ok() || v6.error().code == Code::kNotFound ? Status{} : v6;
}

// Forwarding makes a host ignore router advertisements at accept_ra 1 (RFC 4861 6.2.2): 2 keeps the uplink's routes.
Status keep_advertised_routes(io::Netlink& netlink, const Uplink& uplink) {
  FW_ASSIGN(const auto routes, netlink.routes());
  const bool advertised =
      std::any_of(routes.begin(), routes.end(), [&](const auto& row) { return row.link == uplink.ifindex && row.protocol == kProtocolRa; });
  return advertised ? ensure_sysctl("net/ipv6/conf/" + uplink.name + "/accept_ra", "2") : Status{};
}

// The device, made by `create` if there is none of this kind.
Result<io::LinkInfo> ensure_device(io::Netlink& netlink, const std::string& name, const std::string& kind, const net::MacAddr& mac,
                                   const io::NetlinkBatch& create) {
  auto found = netlink.link(name);
  if (!found.ok() && found.error().code != Code::kNotFound) return std::move(found).error();
  if (found.ok() && found->kind == kind && found->mac == mac) return std::move(*found);
  if (found.ok()) {
    io::NetlinkBatch remove;
    remove.delete_link(found->index);
    FW_TRY(netlink.run(remove));
  }
  FW_TRY(netlink.run(create));
  return netlink.link(name);
}

net::MacAddr service_veth_mac(std::uint8_t last) { return net::MacAddr{{0x02, 0x66, 0x77, 0x73, 0x76, last}}; }

// A failure of IPv6 alone, on a kernel without it, is none.
Status without_v6(Status status) { return status.ok() || status.error().code == Code::kNotFound ? Status{} : status; }

}  // namespace

Result<Uplink> find_uplink(const std::vector<net::IpAddr>& node_addresses) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const std::uint32_t index, uplink_index(netlink, node_addresses));
  FW_ASSIGN(const io::LinkInfo link, netlink.link(index));
  Uplink out{.ifindex = link.index, .name = link.name, .mac = link.mac.value_or(net::MacAddr{}), .mtu = link.mtu};
  FW_ASSIGN(const auto addresses, netlink.addresses(index));
  for (const auto& row : addresses) {
    if (row.addr.is_link_local()) continue;
    const bool ours = node_addresses.empty() || std::find(node_addresses.begin(), node_addresses.end(), row.addr) != node_addresses.end();
    if (ours) out.addresses.push_back(row.addr);
    if (row.prefix_length < row.addr.bits()) out.subnets.emplace_back(row.addr, row.prefix_length);
  }
  FW_ASSIGN(const auto routes, netlink.routes());
  for (const auto& route : routes) {
    if (is_default(route) && route.link == index && route.gateway) out.gateways.push_back(*route.gateway);
  }
  return out;
}

std::uint32_t pod_mtu(const Uplink& uplink, bool overlay, net::Family underlay) {
  if (!overlay) return uplink.mtu;
  const std::uint32_t overhead = underlay == net::Family::kV4 ? kVxlanOverheadV4 : kVxlanOverheadV6;
  return uplink.mtu > overhead ? uplink.mtu - overhead : uplink.mtu;
}

Result<Uplink> prepare_node(const std::vector<net::IpAddr>& node_addresses) {
  FW_ASSIGN(Uplink uplink, find_uplink(node_addresses));
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_TRY(keep_advertised_routes(netlink, uplink));  // before forwarding turns them off
  FW_TRY(set_forwarding());
  return uplink;
}

net::MacAddr overlay_mac(const net::IpAddr& underlay) {
  net::MacAddr mac;
  const std::uint64_t hash = fold(underlay);
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & 0xfc) | 0x02);
  return mac;
}

Result<Device> ensure_vxlan(const net::IpAddr& own_underlay, std::uint32_t mtu, std::uint16_t port) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  const net::MacAddr mac = overlay_mac(own_underlay);
  io::NetlinkBatch create;
  create.create_vxlan({.name = kVxlanName, .mac = mac, .port = port, .mtu = mtu});
  FW_ASSIGN(const io::LinkInfo link, ensure_device(netlink, kVxlanName, "vxlan", mac, create));
  io::NetlinkBatch batch;
  batch.change_link({.index = link.index, .mtu = mtu, .no_link_local = true});
  batch.change_link({.index = link.index, .up = true});
  FW_TRY(netlink.run(batch));
  FW_TRY(without_v6(ensure_sysctl(std::string("net/ipv6/conf/") + kVxlanName + "/accept_ra", "0")));
  return Device{link.index, mac};
}

Status remove_vxlan() {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  io::NetlinkBatch batch;
  batch.delete_link(kVxlanName);
  FW_TRY(netlink.run(batch));
  return {};
}

Result<ServiceVeth> ensure_host_service_veth(const ServiceVethSpec& spec) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  ServiceVeth out{.host = {0, service_veth_mac(1)}, .peer = {0, service_veth_mac(2)}};
  io::NetlinkBatch create;
  create.create_veth(
      {.name = kServiceVethName, .mac = out.host.mac, .peer_name = kServiceVethPeer, .peer_mac = out.peer.mac, .mtu = spec.mtu});
  FW_ASSIGN(const io::LinkInfo host, ensure_device(netlink, kServiceVethName, "veth", out.host.mac, create));
  FW_ASSIGN(const io::LinkInfo peer, netlink.link(kServiceVethPeer));
  out.host.ifindex = host.index;
  out.peer.ifindex = peer.index;
  io::NetlinkBatch batch;
  for (const auto index : {host.index, peer.index}) {
    // Replies enter with sources that are routed elsewhere, or are the node's own (a hostPort's): strict reverse-path
    // filtering would eat them. 2 is loose, and the larger of `all` and the device's own counts.
    batch.change_link({.index = index, .mtu = spec.mtu, .no_link_local = true, .rp_filter = 2, .accept_local = true});
    batch.change_link({.index = index, .up = true});
  }
  // The loose filter refuses the node's own addresses as sources on a device that has none itself (__fib_validate_source).
  batch.replace_address({.link = host.index, .addr = net::IpAddr::v4(kServiceVethV4), .prefix_length = 32, .never_source = true});
  for (const auto& range : spec.service_ranges) {
    const net::IpAddr hop = pod_gateway(range.family());
    const auto source = std::find_if(spec.node_addresses.begin(), spec.node_addresses.end(),
                                     [&](const auto& addr) { return addr.family() == range.family(); });
    batch.replace_neighbour({.link = host.index, .addr = hop, .mac = out.peer.mac});
    io::RouteSpec route{.dst = range, .link = host.index, .gateway = hop, .onlink = true};
    if (source != spec.node_addresses.end()) route.prefer_source = *source;
    batch.replace_route(route);
  }
  batch.get_link(host.index);  // lets the kernel notice the carrier now (see pod_link.cc)
  batch.get_link(peer.index);
  FW_TRY(netlink.run(batch));
  for (const char* name : {kServiceVethName, kServiceVethPeer})
    FW_TRY(without_v6(ensure_sysctl(std::string("net/ipv6/conf/") + name + "/accept_ra", "0")));
  return out;
}

Result<bool> ensure_local_address(const net::IpAddr& addr) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const io::LinkInfo lo, netlink.link(kLoopback));
  FW_ASSIGN(const auto addresses, netlink.addresses(lo.index));
  if (std::any_of(addresses.begin(), addresses.end(), [&](const auto& row) { return row.addr == addr; })) return false;
  io::NetlinkBatch batch;
  batch.replace_address({.link = lo.index, .addr = addr, .prefix_length = addr.bits(), .never_source = true});
  FW_TRY(netlink.run(batch));
  return true;
}

Status remove_local_address(const net::IpAddr& addr) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const io::LinkInfo lo, netlink.link(kLoopback));
  io::NetlinkBatch batch;
  batch.delete_address({.link = lo.index, .addr = addr, .prefix_length = addr.bits()});
  FW_TRY(netlink.run(batch));
  return {};
}

Status apply_remote_range(const RemoteRange& range, const Uplink& uplink, std::uint32_t vxlan_ifindex) {
  if (!range.overlay && range.pods.family() != range.underlay.family() && range.underlay.is_v4())
    return make_error(Code::kUnsupported, "pod range " + range.pods.to_string() + " is IPv6 and node " + range.underlay.to_string() +
                                              " has IPv4 alone: it needs the overlay");
  io::NetlinkBatch batch;
  io::RouteSpec route{
      .dst = range.pods, .link = uplink.ifindex, .gateway = range.underlay, .prefer_source = range.prefer_source, .mtu = range.mtu};
  if (range.overlay) {
    const net::IpAddr hop = overlay_hop(range.underlay);
    batch.replace_neighbour({.link = vxlan_ifindex, .addr = hop, .mac = overlay_mac(range.underlay)});
    route.link = vxlan_ifindex;
    route.gateway = hop;
    route.onlink = true;
    route.tunnel = io::TunnelKey{range.vni, range.underlay};
  }
  batch.replace_route(route);
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_TRY(netlink.run(batch));
  return {};
}

Status remove_remote_range(const net::Prefix& pods) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const auto routes, netlink.routes());
  io::NetlinkBatch batch;
  for (const auto& row : routes) {
    if (row.protocol == io::kRouteProtocol && row.dst == pods && row.gateway) batch.delete_route({.dst = pods, .link = row.link});
  }
  FW_TRY(netlink.run(batch));
  return {};
}

Result<std::vector<net::Prefix>> dump_remote_ranges() {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const auto routes, netlink.routes());
  const auto service = netlink.link(kServiceVethName);  // its routes have gateways too
  std::vector<net::Prefix> out;
  for (const auto& row : routes) {
    if (row.protocol != io::kRouteProtocol || !row.gateway || (service.ok() && row.link == service->index)) continue;
    out.push_back(row.dst);
  }
  return out;
}

Status ensure_blackhole(const std::vector<net::Prefix>& pod_cidrs) {
  FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
  FW_ASSIGN(const io::LinkInfo lo, netlink.link(kLoopback));
  FW_ASSIGN(const auto addresses, netlink.addresses());
  io::NetlinkBatch batch;
  for (const auto& range : pod_cidrs) {
    batch.replace_route({.dst = range, .metric = kBlackholeMetric, .type = kUnreachable});
    const bool has_address = std::any_of(addresses.begin(), addresses.end(), [&](const io::AddressInfo& row) {
      return row.addr.family() == range.family() && !row.addr.is_loopback() && !row.addr.is_link_local() && row.link != lo.index;
    });
    const auto own = range.nth(1);
    if (!has_address && own && range.size() >= 8) batch.replace_address({.link = lo.index, .addr = *own, .prefix_length = own->bits()});
  }
  FW_TRY(netlink.run(batch));
  return {};
}

}  // namespace fairway::hostnet
