// The messages of NetlinkBatch: each is built in a buffer of its own and appended.
#include <arpa/inet.h>
#include <endian.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/ip.h>
#include <linux/lwtunnel.h>
#include <linux/neighbour.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/veth.h>
#include <net/if.h>

#include <algorithm>
#include <cstring>

#include "io/netlink.h"

namespace fairway::io {
namespace {

constexpr std::size_t kMaxRequestBytes = 2048;     // ours are a few hundred at most
constexpr std::uint32_t kSkipStatistics = 1 << 3;  // RTEXT_FILTER_SKIP_STATS: half the cost of reading a link

// One message under construction.
class Message {
 public:
  Message(std::uint16_t type, std::uint16_t flags) {
    header_ = mnl_nlmsg_put_header(bytes_);
    header_->nlmsg_type = type;
    header_->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | NLM_F_ACK | flags);
  }
  template <typename T>
  T& body() {
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header_, sizeof(T)));
  }
  void u8(std::uint16_t type, std::uint8_t value) { mnl_attr_put_u8(header_, type, value); }
  void u16(std::uint16_t type, std::uint16_t value) { mnl_attr_put_u16(header_, type, value); }
  void u32(std::uint16_t type, std::uint32_t value) { mnl_attr_put_u32(header_, type, value); }
  void u64(std::uint16_t type, std::uint64_t value) { mnl_attr_put_u64(header_, type, value); }
  void text(std::uint16_t type, std::string_view value) { mnl_attr_put_strz(header_, type, std::string(value).c_str()); }
  void mac(std::uint16_t type, const net::MacAddr& value) { mnl_attr_put(header_, type, value.bytes.size(), value.bytes.data()); }
  void blob(std::uint16_t type, const void* data, std::size_t size) { mnl_attr_put(header_, type, size, data); }
  void addr(std::uint16_t type, const net::IpAddr& value) {
    if (value.is_v4()) blob(type, value.v4_bytes().data(), 4);
    else blob(type, value.bytes().data(), 16);
  }
  nlattr* open(std::uint16_t type) { return mnl_attr_nest_start(header_, type); }
  void close(nlattr* nest) { mnl_attr_nest_end(header_, nest); }
  const nlmsghdr* header() const { return header_; }

 private:
  alignas(nlmsghdr) char bytes_[kMaxRequestBytes] = {};
  nlmsghdr* header_;
};

std::uint8_t family_number(net::Family family) { return family == net::Family::kV4 ? AF_INET : AF_INET6; }

// One queue: a veth has no queue of its own to contend for, and each one more costs sysfs objects at every pod's start.
void put_single_queue(Message& message) {
  message.u32(IFLA_NUM_TX_QUEUES, 1);
  message.u32(IFLA_NUM_RX_QUEUES, 1);
}

rtmsg& put_route(Message& message, const RouteSpec& spec) {
  const auto family = spec.dst.family();
  auto& route = message.body<rtmsg>();
  route.rtm_family = family_number(family);
  route.rtm_dst_len = static_cast<std::uint8_t>(spec.dst.length());
  route.rtm_table = spec.table < 256 ? static_cast<std::uint8_t>(spec.table) : std::uint8_t{RT_TABLE_COMPAT};
  route.rtm_protocol = kRouteProtocol;
  route.rtm_type = spec.type;
  const bool link_scope = family == net::Family::kV4 && !spec.gateway && spec.type == RTN_UNICAST;
  route.rtm_scope = link_scope ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE;
  if (spec.onlink) route.rtm_flags |= RTNH_F_ONLINK;
  message.u32(RTA_TABLE, spec.table);
  message.addr(RTA_DST, spec.dst.addr());
  if (spec.link != 0) message.u32(RTA_OIF, spec.link);
  if (spec.metric != 0) message.u32(RTA_PRIORITY, spec.metric);
  return route;
}

void put_gateway(Message& message, const RouteSpec& spec) {
  if (!spec.gateway) return;
  if (spec.gateway->family() == spec.dst.family()) {
    message.addr(RTA_GATEWAY, *spec.gateway);
    return;
  }
  std::uint8_t via[sizeof(std::uint16_t) + 16];  // struct rtvia
  const std::uint16_t family = family_number(spec.gateway->family());
  std::memcpy(via, &family, sizeof family);
  std::memcpy(via + sizeof family, spec.gateway->bytes().data(), 16);
  message.blob(RTA_VIA, via, sizeof via);
}

void put_tunnel(Message& message, const TunnelKey& key) {
  const bool v4 = key.remote.is_v4();
  message.u16(RTA_ENCAP_TYPE, v4 ? LWTUNNEL_ENCAP_IP : LWTUNNEL_ENCAP_IP6);
  static_assert(int{LWTUNNEL_IP_ID} == int{LWTUNNEL_IP6_ID} && int{LWTUNNEL_IP_DST} == int{LWTUNNEL_IP6_DST});
  nlattr* nest = message.open(RTA_ENCAP);
  message.u64(LWTUNNEL_IP_ID, htobe64(key.vni));
  message.addr(LWTUNNEL_IP_DST, key.remote);
  message.close(nest);
}

void put_address(Message& message, const AddressSpec& spec) {
  auto& body = message.body<ifaddrmsg>();
  body.ifa_family = family_number(spec.addr.family());
  body.ifa_prefixlen = static_cast<std::uint8_t>(spec.prefix_length);
  body.ifa_index = spec.link;
  body.ifa_scope = spec.addr.is_loopback() || spec.never_source      ? RT_SCOPE_HOST
                   : spec.addr.is_link_local() && !spec.addr.is_v4() ? RT_SCOPE_LINK
                                                                     : RT_SCOPE_UNIVERSE;
  message.addr(IFA_LOCAL, spec.addr);
  message.addr(IFA_ADDRESS, spec.addr);
}

std::string on_link(std::uint32_t link) { return " on link " + std::to_string(link); }

}  // namespace

void NetlinkBatch::append(const void* message, Forgive forgive, std::string what) {
  const auto* header = static_cast<const nlmsghdr*>(message);
  const auto* begin = static_cast<const std::uint8_t*>(message);
  requests_.push_back({bytes_.size(), forgive, std::move(what)});
  bytes_.insert(bytes_.end(), begin, begin + header->nlmsg_len);
  bytes_.resize(MNL_ALIGN(bytes_.size()));
}

void NetlinkBatch::create_veth(const VethSpec& spec) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, spec.name);
  message.mac(IFLA_ADDRESS, spec.mac);
  message.u32(IFLA_MTU, spec.mtu);
  if (spec.group != 0) message.u32(IFLA_GROUP, spec.group);
  put_single_queue(message);
  nlattr* info = message.open(IFLA_LINKINFO);
  message.text(IFLA_INFO_KIND, "veth");
  nlattr* data = message.open(IFLA_INFO_DATA);
  nlattr* peer = message.open(VETH_INFO_PEER);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, spec.peer_name);
  message.mac(IFLA_ADDRESS, spec.peer_mac);
  message.u32(IFLA_MTU, spec.mtu);
  put_single_queue(message);
  if (spec.peer_netns_fd >= 0) message.u32(IFLA_NET_NS_FD, static_cast<std::uint32_t>(spec.peer_netns_fd));
  message.close(peer);
  message.close(data);
  message.close(info);
  append(message.header(), Forgive::kNothing, "create veth " + spec.name + " with peer " + spec.peer_name);
}

void NetlinkBatch::create_vxlan(const VxlanSpec& spec) {
  Message message(RTM_NEWLINK, NLM_F_CREATE | NLM_F_EXCL);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, spec.name);
  message.mac(IFLA_ADDRESS, spec.mac);
  message.u32(IFLA_MTU, spec.mtu);
  nlattr* info = message.open(IFLA_LINKINFO);
  message.text(IFLA_INFO_KIND, "vxlan");
  nlattr* data = message.open(IFLA_INFO_DATA);
  message.u8(IFLA_VXLAN_COLLECT_METADATA, 1);
  message.u8(IFLA_VXLAN_LEARNING, 0);
  message.u16(IFLA_VXLAN_PORT, htons(spec.port));
  message.u8(IFLA_VXLAN_UDP_ZERO_CSUM6_RX, 1);  // RFC 6935: peers may leave out the outer checksum
  message.close(data);
  message.close(info);
  append(message.header(), Forgive::kNothing, "create VXLAN device " + spec.name);
}

void NetlinkBatch::change_link(const LinkChange& change) {
  Message message(RTM_NEWLINK, 0);
  auto& body = message.body<ifinfomsg>();
  body.ifi_index = static_cast<int>(change.index);
  if (change.up) {
    body.ifi_change = IFF_UP;
    body.ifi_flags = *change.up ? unsigned{IFF_UP} : 0U;
  }
  if (change.mtu) message.u32(IFLA_MTU, *change.mtu);
  if (change.group) message.u32(IFLA_GROUP, *change.group);
  if (change.no_link_local || change.rp_filter || change.accept_local) {
    nlattr* spec = message.open(IFLA_AF_SPEC);
    if (change.rp_filter || change.accept_local) {
      nlattr* v4 = message.open(AF_INET);
      nlattr* conf = message.open(IFLA_INET_CONF);
      if (change.rp_filter) message.u32(IPV4_DEVCONF_RP_FILTER, static_cast<std::uint32_t>(*change.rp_filter));
      if (change.accept_local) message.u32(IPV4_DEVCONF_ACCEPT_LOCAL, *change.accept_local ? 1 : 0);
      message.close(conf);
      message.close(v4);
    }
    if (change.no_link_local) {
      nlattr* v6 = message.open(AF_INET6);
      message.u8(IFLA_INET6_ADDR_GEN_MODE, IN6_ADDR_GEN_MODE_NONE);
      message.close(v6);
    }
    message.close(spec);
  }
  append(message.header(), Forgive::kNothing, "change link " + std::to_string(change.index));
}

void NetlinkBatch::move_link(std::string_view name, std::uint32_t group) {
  Message message(RTM_SETLINK, 0);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, name);
  message.u32(IFLA_GROUP, group);
  append(message.header(), Forgive::kMissing, "move link " + std::string(name) + " to group " + std::to_string(group));
}

void NetlinkBatch::delete_link(std::uint32_t index) {
  Message message(RTM_DELLINK, 0);
  message.body<ifinfomsg>().ifi_index = static_cast<int>(index);
  append(message.header(), Forgive::kMissing, "delete link " + std::to_string(index));
}

void NetlinkBatch::delete_link(std::string_view name) {
  Message message(RTM_DELLINK, 0);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, name);
  append(message.header(), Forgive::kMissing, "delete link " + std::string(name));
}

void NetlinkBatch::delete_link_group(std::uint32_t group) {
  Message message(RTM_DELLINK, 0);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.u32(IFLA_GROUP, group);
  append(message.header(), Forgive::kMissing, "delete link group " + std::to_string(group));
}

void NetlinkBatch::get_link(std::string_view name) {
  Message message(RTM_GETLINK, 0);
  message.body<ifinfomsg>().ifi_family = AF_UNSPEC;
  message.text(IFLA_IFNAME, name);
  message.u32(IFLA_EXT_MASK, kSkipStatistics);
  append(message.header(), Forgive::kNothing, "read link " + std::string(name));
}

void NetlinkBatch::get_link(std::uint32_t index) {
  Message message(RTM_GETLINK, 0);
  message.body<ifinfomsg>().ifi_index = static_cast<int>(index);
  message.u32(IFLA_EXT_MASK, kSkipStatistics);
  append(message.header(), Forgive::kNothing, "read link " + std::to_string(index));
}

void NetlinkBatch::replace_address(const AddressSpec& spec) {
  Message message(RTM_NEWADDR, NLM_F_CREATE | NLM_F_REPLACE);
  put_address(message, spec);
  std::uint32_t flags = IFA_F_PERMANENT | IFA_F_NODAD;
  if (spec.prefix_length == spec.addr.bits()) flags |= IFA_F_NOPREFIXROUTE;
  message.u32(IFA_FLAGS, flags);
  if (spec.never_source) {
    // IPv6 knows no scope here; a preferred lifetime of 0 says the same (RFC 6724, rule 3).
    const ifa_cacheinfo lifetimes{.ifa_prefered = 0, .ifa_valid = 0xffffffff, .cstamp = 0, .tstamp = 0};
    if (!spec.addr.is_v4()) message.blob(IFA_CACHEINFO, &lifetimes, sizeof lifetimes);
  }
  append(message.header(), Forgive::kNothing, "add address " + spec.addr.to_string() + on_link(spec.link));
}

void NetlinkBatch::delete_address(const AddressSpec& spec) {
  Message message(RTM_DELADDR, 0);
  put_address(message, spec);
  append(message.header(), Forgive::kMissing, "delete address " + spec.addr.to_string() + on_link(spec.link));
}

void NetlinkBatch::replace_route(const RouteSpec& spec) {
  Message message(RTM_NEWROUTE, NLM_F_CREATE | (spec.keep_existing ? NLM_F_EXCL : NLM_F_REPLACE));
  put_route(message, spec);
  put_gateway(message, spec);
  if (spec.prefer_source) message.addr(RTA_PREFSRC, *spec.prefer_source);
  if (spec.tunnel) put_tunnel(message, *spec.tunnel);
  if (spec.mtu != 0) {
    nlattr* metrics = message.open(RTA_METRICS);
    message.u32(RTAX_MTU, spec.mtu);
    message.close(metrics);
  }
  append(message.header(), spec.keep_existing ? Forgive::kExisting : Forgive::kNothing,
         "set route " + spec.dst.to_string() + on_link(spec.link));
}

void NetlinkBatch::delete_route(const RouteSpec& spec) {
  Message message(RTM_DELROUTE, 0);
  put_route(message, spec).rtm_scope = RT_SCOPE_NOWHERE;  // of whatever scope: the gateway need not be told
  append(message.header(), Forgive::kMissing, "delete route " + spec.dst.to_string() + on_link(spec.link));
}

void NetlinkBatch::replace_neighbour(const NeighbourSpec& spec) {
  Message message(RTM_NEWNEIGH, NLM_F_CREATE | NLM_F_REPLACE);
  auto& body = message.body<ndmsg>();
  body.ndm_family = family_number(spec.addr.family());
  body.ndm_ifindex = static_cast<int>(spec.link);
  body.ndm_state = NUD_PERMANENT;
  message.addr(NDA_DST, spec.addr);
  message.mac(NDA_LLADDR, spec.mac);
  append(message.header(), Forgive::kNothing, "set neighbour " + spec.addr.to_string() + on_link(spec.link));
}

void NetlinkBatch::replace_shaper(const ShaperSpec& spec) {
  constexpr std::uint64_t kLatencyMs = 25;  // longest wait in the queue
  Message message(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_REPLACE);
  auto& body = message.body<tcmsg>();
  body.tcm_ifindex = static_cast<int>(spec.link);
  body.tcm_parent = TC_H_ROOT;
  body.tcm_handle = TC_H_MAKE(1U << 16, 0);
  message.text(TCA_KIND, "tbf");
  nlattr* options = message.open(TCA_OPTIONS);
  tc_tbf_qopt parameters{};
  parameters.rate.linklayer = TC_LINKLAYER_ETHERNET;  // else the kernel wants a rate table
  parameters.rate.rate = static_cast<std::uint32_t>(std::min<std::uint64_t>(spec.rate_bytes_per_second, UINT32_MAX));
  const std::uint64_t limit = spec.rate_bytes_per_second * kLatencyMs / 1000 + spec.burst_bytes;
  parameters.limit = static_cast<std::uint32_t>(std::min<std::uint64_t>(limit, UINT32_MAX));
  message.blob(TCA_TBF_PARMS, &parameters, sizeof parameters);
  message.u32(TCA_TBF_BURST, spec.burst_bytes);
  if (spec.rate_bytes_per_second > UINT32_MAX) message.u64(TCA_TBF_RATE64, spec.rate_bytes_per_second);
  message.close(options);
  append(message.header(), Forgive::kNothing, "set bandwidth" + on_link(spec.link));
}

}  // namespace fairway::io
