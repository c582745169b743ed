// The node's own side of the network: uplink, sysctls, overlay device, host-service veth, routes to remote pods.
//
// Everything acts on the calling thread's network namespace, which is the node's, and is idempotent: called again it
// repairs what is missing. Nothing here touches firewall rules or devices that are not named here.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/ip.h"

namespace fairway::hostnet {

inline constexpr char kVxlanName[] = "fw-vxlan";
inline constexpr char kServiceVethName[] = "fw-svc";  // service ranges are routed to it; the program is at its egress
inline constexpr char kServiceVethPeer[] = "fw-svc-peer";
inline constexpr std::uint16_t kVxlanPort = 4789;
inline constexpr std::uint32_t kVxlanOverheadV4 = 50;  // bytes: inner Ethernet 14, VXLAN 8, UDP 8, IPv4 20
inline constexpr std::uint32_t kVxlanOverheadV6 = 70;

struct Uplink {
  std::uint32_t ifindex = 0;
  std::string name;
  net::MacAddr mac;
  std::uint32_t mtu = 0;
  std::vector<net::IpAddr> addresses;  // the node addresses that it holds
  std::vector<net::Prefix> subnets;    // on-link: a node within them is reached natively
  std::vector<net::IpAddr> gateways;   // default, at most one a family
};

// The device that holds `node_addresses` (the Node's InternalIPs); without any, the one of the default route.
Result<Uplink> find_uplink(const std::vector<net::IpAddr>& node_addresses);

// Largest packet of a pod: the uplink's, less the encapsulation where any node is reached through VXLAN.
std::uint32_t pod_mtu(const Uplink& uplink, bool overlay, net::Family underlay);

// Finds the uplink and sets what forwarding needs: net.ipv4.ip_forward, net.ipv6.conf.all.forwarding. An uplink that
// learns its IPv6 default route from router advertisements keeps doing so (accept_ra 2).
Result<Uplink> prepare_node(const std::vector<net::IpAddr>& node_addresses);

struct Device {
  std::uint32_t ifindex = 0;
  net::MacAddr mac;
};
// The overlay device's MAC follows from the node's underlay address, so that no node has to tell another.
net::MacAddr overlay_mac(const net::IpAddr& underlay);
// Makes the one VXLAN device (collect-metadata), or mends its MTU. One of another shape under our name is replaced.
Result<Device> ensure_vxlan(const net::IpAddr& own_underlay, std::uint32_t mtu, std::uint16_t port = kVxlanPort);
Status remove_vxlan();

struct ServiceVeth {
  Device host;  // kServiceVethName: what host processes send to ClusterIPs leaves by it
  Device peer;  // kServiceVethPeer: where it would come out if no program took it
};
struct ServiceVethSpec {
  std::vector<net::Prefix> service_ranges;
  std::vector<net::IpAddr> node_addresses;  // preferred source of such packets
  std::uint32_t mtu = 1500;
};
Result<ServiceVeth> ensure_host_service_veth(const ServiceVethSpec& spec);

// A local address on lo (the DNS Service's VIP). False: it was there already.
Result<bool> ensure_local_address(const net::IpAddr& addr);
Status remove_local_address(const net::IpAddr& addr);

// The kernel's slow path to the pods of another node: carries what the BPF path hands over, and answers packets that
// are too large with a true ICMP, from `mtu`.
struct RemoteRange {
  net::Prefix pods;
  net::IpAddr underlay;  // the node's address, either family
  bool overlay = false;  // through VXLAN, else natively through the uplink
  std::uint32_t mtu = 0;
  std::uint32_t vni = 0;
  std::optional<net::IpAddr> prefer_source;  // this node's address
  auto operator<=>(const RemoteRange&) const = default;
};
Status apply_remote_range(const RemoteRange& range, const Uplink& uplink, std::uint32_t vxlan_ifindex);
Status remove_remote_range(const net::Prefix& pods);
// All ranges that apply_remote_range() has put there: the reconciler diffs against them.
Result<std::vector<net::Prefix>> dump_remote_ranges();

// This node's own pod ranges as unreachable routes: an address that no pod has is refused at once, not looped to the
// default gateway. A node without an address of a range's family takes the range's first (IPAM gives it to no pod): it
// could not send an ICMP error else, and a packet too large for the overlay would vanish.
Status ensure_blackhole(const std::vector<net::Prefix>& pod_cidrs);

}  // namespace fairway::hostnet
