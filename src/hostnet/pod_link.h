// PodLink: a pod's interface. One veth pair, made with its peer already in the pod's namespace.
//
// Pod side: /32 and /128, a link-local gateway with a permanent neighbour (the host side's MAC), default routes.
// Host side: a route and a permanent neighbour per address. Neither side ever needs ARP, NDP, DAD or router
// advertisements, so the pod can speak the moment its link is up.
//
// Blocks on the rtnl lock: worker threads only. Node's namespace = that of `node` (a Netlink opened there).
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "io/netlink.h"
#include "net/ip.h"
#include "sys/fd.h"

namespace fairway::hostnet {

// Device group of the host sides: with the name's prefix it says 'ours', also to the one who cleans up after a crash.
inline constexpr std::uint32_t kPodLinkGroup = 0x6677;
inline constexpr std::uint32_t kDyingLinkGroup = 0x6678;

net::IpAddr pod_gateway(net::Family family);  // 169.254.1.1 and fe80::1
// "fw" and 13 hex digits of a hash of both.
std::string host_link_name(std::string_view sandbox_id, std::string_view ifname);
bool is_host_link_name(std::string_view name);
net::MacAddr host_link_mac(std::string_view sandbox_id, std::string_view ifname);  // locally administered
net::MacAddr pod_link_mac(const std::vector<net::IpAddr>& ips);                    // likewise, follows the first address

struct PodLink {
  std::string host_name;  // in the node's namespace
  net::MacAddr host_mac;
  std::uint32_t host_ifindex = 0;  // create_pod_link() fills both indexes
  std::string pod_name;            // in the pod's: eth0
  net::MacAddr pod_mac;
  std::uint32_t pod_ifindex = 0;
  std::vector<net::IpAddr> ips;  // at most one a family
  std::uint32_t mtu = 1500;
  std::uint64_t ingress_rate_bits = 0, ingress_burst_bits = 0;  // towards the pod; 0: no limit
  std::uint64_t egress_rate_bits = 0, egress_burst_bits = 0;    // from the pod
};

// Makes the pair and configures the pod's side; the host side stays down, so no packet passes yet.
// Fills both indexes. Returns a socket in the pod's namespace, for the next step. On failure nothing is left.
Result<io::Netlink> create_pod_link(io::Netlink& node, const sys::Fd& pod_netns, PodLink& link);
// Host side up, with its routes, neighbours and shaper; returns when both ends accept packets.
Status activate_pod_link(io::Netlink& node, io::Netlink& pod, const PodLink& link);
// Both ends of a running pod's interface; packets under way are not lost.
Status set_pod_link_mtu(io::Netlink& node, io::Netlink& pod, const PodLink& link, std::uint32_t mtu);
// CHECK: the first thing on either side that is not as made.
Status check_pod_link(io::Netlink& node, io::Netlink& pod, const PodLink& link);
// Removes host sides (and so the pairs), all in one RCU grace period. Missing ones are no error.
Status delete_pod_links(io::Netlink& node, const std::vector<std::string>& host_ifnames);
// Every device that is ours by group and name.
Result<std::vector<io::LinkInfo>> dump_pod_links(io::Netlink& node);

}  // namespace fairway::hostnet
