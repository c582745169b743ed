#include "hostnet/pod_link.h"

#include <linux/rtnetlink.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <limits>
#include <optional>
#include <thread>

#include "hostnet/sysctl.h"
#include "sys/netns.h"

namespace fairway::hostnet {
namespace {

constexpr char kHostPrefix[] = "fw";
constexpr std::size_t kHostNameLength = 15;  // IFNAMSIZ - 1
constexpr auto kActivationPoll = std::chrono::microseconds(200);
constexpr auto kActivationLimit = std::chrono::seconds(20);  // of a machine that takes hundreds of namespaces away meanwhile

// FNV-1a with a final mix (that of MurmurHash3): spreads ids that differ in their last characters only.
std::uint64_t hash_of(std::string_view sandbox_id, std::string_view ifname) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;
  const auto add = [&hash](unsigned char byte) { hash = (hash ^ byte) * 0x100000001b3ULL; };
  for (const char c : sandbox_id) add(static_cast<unsigned char>(c));
  add(0);
  for (const char c : ifname) add(static_cast<unsigned char>(c));
  hash = (hash ^ (hash >> 33)) * 0xff51afd7ed558ccdULL;
  hash = (hash ^ (hash >> 33)) * 0xc4ceb9fe1a85ec53ULL;
  return hash ^ (hash >> 33);
}

io::RouteSpec default_route(const PodLink& link, net::Family family) {
  const net::IpAddr any = family == net::Family::kV4 ? net::IpAddr::v4(0) : net::IpAddr{};
  return {.dst = net::Prefix(any, 0), .link = link.pod_ifindex, .gateway = pod_gateway(family), .onlink = true, .keep_existing = true};
}

// tbf needs a burst of at least one packet; without a wish, 10 ms of the rate.
std::optional<io::ShaperSpec> shaper(std::uint32_t ifindex, std::uint64_t rate_bits, std::uint64_t burst_bits, std::uint32_t mtu) {
  if (rate_bits == 0) return std::nullopt;
  const std::uint64_t rate = std::max<std::uint64_t>(rate_bits / 8, 1);
  const std::uint64_t wish = burst_bits != 0 ? burst_bits / 8 : rate / 100;
  const std::uint64_t burst = std::clamp<std::uint64_t>(wish, 2ULL * mtu, std::numeric_limits<std::uint32_t>::max());
  return io::ShaperSpec{.link = ifindex, .rate_bytes_per_second = rate, .burst_bytes = static_cast<std::uint32_t>(burst)};
}

Status configure_pod_side(io::Netlink& pod, const PodLink& link) {
  io::NetlinkBatch batch;
  // In this order: the automatic fe80:: address would be made as the link goes up, and its DAD sent.
  batch.change_link({.index = link.pod_ifindex, .no_link_local = true});
  batch.change_link({.index = link.pod_ifindex, .up = true});
  for (const auto& ip : link.ips) {
    batch.replace_address({.link = link.pod_ifindex, .addr = ip, .prefix_length = ip.bits()});
    batch.replace_neighbour({.link = link.pod_ifindex, .addr = pod_gateway(ip.family()), .mac = link.host_mac});
    batch.replace_route(default_route(link, ip.family()));
  }
  if (const auto limit = shaper(link.pod_ifindex, link.egress_rate_bits, link.egress_burst_bits, link.mtu)) batch.replace_shaper(*limit);
  FW_TRY(pod.run(batch));
  return {};
}

// The pod takes no router advertisements, from whomever. IPv6 may have been turned off in the namespace by its maker.
Status set_pod_sysctls(const PodLink& link) {
  const std::string conf = "net/ipv6/conf/" + link.pod_name + "/";
  const bool has_v6 = std::any_of(link.ips.begin(), link.ips.end(), [](const net::IpAddr& ip) { return !ip.is_v4(); });
  if (has_v6) FW_TRY(ensure_sysctl(conf + "disable_ipv6", "0"));
  if (Status status = ensure_sysctl(conf + "accept_ra", "0"); !status.ok() && (has_v6 || status.error().code != Code::kNotFound))
    return status;
  return {};
}

Status make_pair(io::Netlink& node, const sys::Fd& pod_netns, PodLink& link) {
  io::NetlinkBatch batch;
  batch.create_veth({.name = link.host_name,
                     .mac = link.host_mac,
                     .peer_name = link.pod_name,
                     .peer_mac = link.pod_mac,
                     .peer_netns_fd = pod_netns.get(),
                     .mtu = link.mtu,
                     .group = kPodLinkGroup});
  batch.get_link(link.host_name);
  FW_ASSIGN(const io::NetlinkAnswers answers, node.run(batch));
  if (answers.links.size() != 1 || answers.links.front().peer_index == 0)
    return make_error(Code::kInternal, "the kernel did not tell the indexes of veth " + link.host_name);
  link.host_ifindex = answers.links.front().index;
  link.pod_ifindex = answers.links.front().peer_index;
  return {};
}

// An IPv6 address comes into force behind the request's back: the kernel makes its local route in a work queue (addrconf), once
// that gets the rtnl lock. Until then what is sent to the address is lost.
Result<bool> are_in_force(io::Netlink& pod, const std::vector<net::IpAddr>& ips) {
  if (std::all_of(ips.begin(), ips.end(), [](const net::IpAddr& ip) { return ip.is_v4(); })) return true;
  FW_ASSIGN(const auto local, pod.routes(RT_TABLE_LOCAL));
  return std::all_of(ips.begin(), ips.end(), [&](const net::IpAddr& ip) {
    return ip.is_v4() || std::any_of(local.begin(), local.end(), [&](const auto& route) { return route.dst == net::Prefix(ip); });
  });
}

}  // namespace

net::IpAddr pod_gateway(net::Family family) {
  if (family == net::Family::kV4) return net::IpAddr::v4(0xa9fe0101);
  std::array<std::uint8_t, 16> bytes{};
  bytes[0] = 0xfe;
  bytes[1] = 0x80;
  bytes[15] = 1;
  return net::IpAddr::from_bytes(bytes);
}

std::string host_link_name(std::string_view sandbox_id, std::string_view ifname) {
  char text[kHostNameLength + 1];
  std::snprintf(text, sizeof text, "%s%013llx", kHostPrefix, static_cast<unsigned long long>(hash_of(sandbox_id, ifname) >> 12));
  return text;
}

bool is_host_link_name(std::string_view name) {
  if (name.size() != kHostNameLength || !name.starts_with(kHostPrefix)) return false;
  return name.find_first_not_of("0123456789abcdef", sizeof kHostPrefix - 1) == std::string_view::npos;
}

net::MacAddr host_link_mac(std::string_view sandbox_id, std::string_view ifname) {
  const std::uint64_t hash = hash_of(sandbox_id, ifname);
  net::MacAddr mac;
  for (std::size_t i = 0; i < mac.bytes.size(); ++i) mac.bytes[i] = static_cast<std::uint8_t>(hash >> (8 * i));
  mac.bytes[0] = static_cast<std::uint8_t>((mac.bytes[0] & 0xfc) | 0x02);  // unicast, locally administered
  return mac;
}

net::MacAddr pod_link_mac(const std::vector<net::IpAddr>& ips) {
  net::MacAddr mac{{0x0a, 0x58, 0, 0, 0, 0}};
  if (ips.empty()) return mac;
  const auto& bytes = ips.front().bytes();
  std::copy(bytes.end() - 4, bytes.end(), mac.bytes.begin() + 2);
  return mac;
}

Result<io::Netlink> create_pod_link(io::Netlink& node, const sys::Fd& pod_netns, PodLink& link) {
  FW_TRY(make_pair(node, pod_netns, link));
  std::optional<io::Netlink> pod;
  Status status = sys::in_netns(pod_netns, [&]() -> Status {
    FW_ASSIGN(pod, io::Netlink::open());
    FW_TRY(set_pod_sysctls(link));
    return configure_pod_side(*pod, link);
  });
  if (status.ok()) return std::move(*pod);
  io::NetlinkBatch undo;
  undo.delete_link(link.host_ifindex);
  if (auto undone = node.run(undo); !undone.ok()) status.error().message += "; and undoing it: " + undone.error().message;
  return std::move(status).error();
}

Status activate_pod_link(io::Netlink& node, io::Netlink& pod, const PodLink& link) {
  if (Status status = ensure_sysctl("net/ipv6/conf/" + link.host_name + "/accept_ra", "0");
      !status.ok() && status.error().code != Code::kNotFound)
    return status;
  io::NetlinkBatch batch;
  batch.change_link({.index = link.host_ifindex, .no_link_local = true});
  batch.change_link({.index = link.host_ifindex, .up = true});
  for (const auto& ip : link.ips) {
    batch.replace_neighbour({.link = link.host_ifindex, .addr = ip, .mac = link.pod_mac});
    batch.replace_route({.dst = net::Prefix(ip), .link = link.host_ifindex});
  }
  if (const auto limit = shaper(link.host_ifindex, link.ingress_rate_bits, link.ingress_burst_bits, link.mtu)) batch.replace_shaper(*limit);
  batch.get_link(link.host_ifindex);  // for its side effect, see below
  FW_TRY(node.run(batch));
  // The end that went up first still has the noop queue, which drops: the kernel swaps it when its link watcher
  // has seen the carrier. Reading the link makes it look at once (kernel 6.4); before, it may take a moment.
  const auto deadline = std::chrono::steady_clock::now() + kActivationLimit;
  for (;;) {
    FW_ASSIGN(const io::LinkInfo end, pod.link(link.pod_ifindex));
    const bool carrier = end.qdisc != "noop";
    FW_ASSIGN(const bool in_force, are_in_force(pod, link.ips));
    if (carrier && in_force) return {};
    if (std::chrono::steady_clock::now() > deadline)
      return make_error(Code::kTimeout, "interface " + link.pod_name + " of the pod got no " + (carrier ? "IPv6 address" : "carrier"));
    std::this_thread::sleep_for(kActivationPoll);
  }
}

Status set_pod_link_mtu(io::Netlink& node, io::Netlink& pod, const PodLink& link, std::uint32_t mtu) {
  io::NetlinkBatch host_end, pod_end;
  host_end.change_link({.index = link.host_ifindex, .mtu = mtu});
  pod_end.change_link({.index = link.pod_ifindex, .mtu = mtu});
  FW_TRY(node.run(host_end));
  FW_TRY(pod.run(pod_end));
  return {};
}

namespace {

Error differs(const std::string& what, const std::string& is, const std::string& should) {
  return make_error(Code::kConflict, what + " is " + is + ", not " + should);
}

// One end as the kernel shows it against what it was made as.
struct End {
  std::string_view side;
  std::string name;
  std::uint32_t ifindex;
  net::MacAddr mac;
  std::uint32_t peer_ifindex;
};

Status check_end(io::Netlink& netlink, const End& end, std::uint32_t mtu) {
  const std::string who = std::string(end.side) + " interface " + end.name;
  auto found = netlink.link(end.name);
  if (!found.ok()) {
    if (found.error().code == Code::kNotFound) return make_error(Code::kNotFound, who + " does not exist");
    return std::move(found).error().with_context(who);
  }
  const io::LinkInfo& link = *found;
  if (link.kind != "veth" || link.index != end.ifindex || link.peer_index != end.peer_ifindex)
    return make_error(Code::kConflict, who + " is not the one that ADD made");
  if (link.mac != end.mac) return differs("MAC of " + who, link.mac ? link.mac->to_string() : "absent", end.mac.to_string());
  if (!link.up()) return make_error(Code::kConflict, who + " is down");
  if (link.mtu != mtu) return differs("MTU of " + who, std::to_string(link.mtu), std::to_string(mtu));
  return {};
}

bool has_neighbour(const std::vector<io::NeighbourInfo>& rows, const net::IpAddr& addr, const net::MacAddr& mac) {
  return std::any_of(rows.begin(), rows.end(), [&](const io::NeighbourInfo& row) {
    return row.addr == addr && row.mac == mac && (row.state & io::kNeighbourPermanent) != 0;
  });
}

Status check_pod_side(io::Netlink& pod, const PodLink& link) {
  const std::string on = " on " + link.pod_name + " of the pod";
  FW_ASSIGN(const auto addresses, pod.addresses(link.pod_ifindex));
  FW_ASSIGN(const auto routes, pod.routes());
  FW_ASSIGN(const auto neighbours, pod.neighbours(link.pod_ifindex));
  for (const auto& ip : link.ips) {
    const net::IpAddr gateway = pod_gateway(ip.family());
    const bool has_address =
        std::any_of(addresses.begin(), addresses.end(), [&](const auto& row) { return row.addr == ip && row.prefix_length == ip.bits(); });
    if (!has_address) return make_error(Code::kNotFound, "address " + ip.to_string() + on + " is missing");
    const bool has_default = std::any_of(routes.begin(), routes.end(),
                                         [&](const auto& row) { return row.dst.length() == 0 && row.dst.family() == ip.family(); });
    if (!has_default) return make_error(Code::kNotFound, "default route via " + gateway.to_string() + on + " is missing");
    if (!has_neighbour(neighbours, gateway, link.host_mac))
      return make_error(Code::kNotFound, "permanent neighbour " + gateway.to_string() + on + " is missing");
  }
  return {};
}

Status check_host_side(io::Netlink& node, const PodLink& link) {
  const std::string on = " on host interface " + link.host_name;
  FW_ASSIGN(const auto routes, node.routes());
  FW_ASSIGN(const auto neighbours, node.neighbours(link.host_ifindex));
  for (const auto& ip : link.ips) {
    const net::Prefix own(ip);
    const bool has_route =
        std::any_of(routes.begin(), routes.end(), [&](const auto& row) { return row.dst == own && row.link == link.host_ifindex; });
    if (!has_route) return make_error(Code::kNotFound, "route to " + own.to_string() + on + " is missing");
    if (!has_neighbour(neighbours, ip, link.pod_mac))
      return make_error(Code::kNotFound, "permanent neighbour " + ip.to_string() + on + " is missing");
  }
  return {};
}

}  // namespace

Status check_pod_link(io::Netlink& node, io::Netlink& pod, const PodLink& link) {
  FW_TRY(check_end(pod, {"pod", link.pod_name, link.pod_ifindex, link.pod_mac, link.host_ifindex}, link.mtu));
  FW_TRY(check_end(node, {"host", link.host_name, link.host_ifindex, link.host_mac, link.pod_ifindex}, link.mtu));
  FW_TRY(check_pod_side(pod, link));
  return check_host_side(node, link);
}

Status delete_pod_links(io::Netlink& node, const std::vector<std::string>& host_ifnames) {
  io::NetlinkBatch batch;
  for (const auto& name : host_ifnames) batch.move_link(name, kDyingLinkGroup);
  batch.delete_link_group(kDyingLinkGroup);
  FW_TRY(node.run(batch));
  return {};
}

Result<std::vector<io::LinkInfo>> dump_pod_links(io::Netlink& node) {
  FW_ASSIGN(std::vector<io::LinkInfo> links, node.links());
  std::erase_if(links, [](const io::LinkInfo& link) {
    return link.kind != "veth" || !is_host_link_name(link.name) || (link.group != kPodLinkGroup && link.group != kDyingLinkGroup);
  });
  return links;
}

}  // namespace fairway::hostnet
