// Netlink: synchronous rtnetlink over libmnl, for one network namespace.
//
// A socket belongs to the namespace in which it was opened, whatever its thread does later. Requests are queued in a
// NetlinkBatch and go to the kernel in one system call, since at pod start each call and each turn at the
// rtnl lock counts. Blocks for as long as others hold the rtnl lock: keep long batches off the control thread.
// One thread at a time per object. Kernel side: net/core/rtnetlink.c; uapi linux/if_link.h, linux/rtnetlink.h.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "net/ip.h"
#include "sys/fd.h"

namespace fairway::io {

// rtm_protocol of every route that Fairway writes, so that `ip route` shows whose they are.
inline constexpr std::uint8_t kRouteProtocol = 102;

struct LinkInfo {
  std::uint32_t index = 0;
  std::string name;
  std::string kind;  // "veth", "vxlan"; empty for a plain device
  std::optional<net::MacAddr> mac;
  std::uint32_t mtu = 0;
  std::uint32_t flags = 0;  // IFF_*
  std::uint32_t group = 0;
  std::uint32_t peer_index = 0;  // veth: the other end, in its own namespace
  std::string qdisc;             // "noop": it drops what is sent, since its carrier has not been noticed yet
  bool up() const;               // administratively
  bool running() const;          // operational
};

struct AddressInfo {
  std::uint32_t link = 0;
  net::IpAddr addr;
  unsigned prefix_length = 0;
  std::uint32_t flags = 0;  // IFA_F_*
  std::uint8_t scope = 0;   // RT_SCOPE_*
};

struct RouteInfo {
  net::Prefix dst;
  std::uint32_t link = 0;
  std::optional<net::IpAddr> gateway;  // of either family (RTA_VIA)
  std::optional<net::IpAddr> prefer_source;
  std::uint32_t mtu = 0;
  std::uint32_t metric = 0;
  std::uint32_t table = 0;
  std::uint8_t protocol = 0;
  std::uint8_t type = 0;  // RTN_*
};

inline constexpr std::uint16_t kNeighbourPermanent = 0x80;  // NUD_PERMANENT

struct NeighbourInfo {
  std::uint32_t link = 0;
  net::IpAddr addr;
  std::optional<net::MacAddr> mac;
  std::uint16_t state = 0;  // NUD_*
};

// Names, MACs and MTU are set at creation, so that udev finds nothing to rename or readdress.
struct VethSpec {
  std::string name;
  net::MacAddr mac;
  std::string peer_name;
  net::MacAddr peer_mac;
  int peer_netns_fd = -1;  // -1: the socket's own
  std::uint32_t mtu = 1500;
  std::uint32_t group = 0;
};

// Collect-metadata ("external") mode: one device for all remote nodes; routes or BPF programs give the tunnel key.
struct VxlanSpec {
  std::string name;
  net::MacAddr mac;
  std::uint16_t port = 4789;
  std::uint32_t mtu = 1450;
};

struct LinkChange {
  std::uint32_t index = 0;
  std::optional<bool> up;
  std::optional<std::uint32_t> mtu;
  std::optional<std::uint32_t> group;
  bool no_link_local = false;        // IPv6 addr_gen_mode none: no automatic fe80:: address
  std::optional<int> rp_filter;      // IPv4 conf of this device
  std::optional<bool> accept_local;  // likewise: packets whose source is an address of this machine
};

struct TunnelKey {  // `encap ip id ID dst REMOTE`
  std::uint32_t vni = 0;
  net::IpAddr remote;
};

struct RouteSpec {
  net::Prefix dst;
  std::uint32_t link = 0;
  std::optional<net::IpAddr> gateway;  // an IPv6 link-local one serves IPv4 routes too (kernel 5.2)
  bool onlink = false;                 // the gateway is reached on `link` though no route says so
  std::optional<net::IpAddr> prefer_source;
  std::optional<TunnelKey> tunnel;
  std::uint32_t mtu = 0;  // 0: the device's
  std::uint32_t metric = 0;
  std::uint32_t table = 254;   // RT_TABLE_MAIN
  std::uint8_t type = 1;       // RTN_UNICAST; RTN_UNREACHABLE (7) needs no link
  bool keep_existing = false;  // a route of another to the same destination stays, and is no error
};

struct AddressSpec {
  std::uint32_t link = 0;
  net::IpAddr addr;
  unsigned prefix_length = 0;
  bool never_source = false;  // local, but chosen as the source of no connection: a VIP
};

struct NeighbourSpec {  // permanent
  std::uint32_t link = 0;
  net::IpAddr addr;
  net::MacAddr mac;
};

struct ShaperSpec {  // tbf at the root of a device: limits what leaves by it
  std::uint32_t link = 0;
  std::uint64_t rate_bytes_per_second = 0;
  std::uint32_t burst_bytes = 0;
};

// Requests in order. The kernel goes on after a failed one: the caller undoes.
// "replace" and "ensure" requests are idempotent; "delete" of what is not there is no error.
class NetlinkBatch {
 public:
  void create_veth(const VethSpec& spec);
  void create_vxlan(const VxlanSpec& spec);
  void change_link(const LinkChange& change);
  void move_link(std::string_view name, std::uint32_t group);  // a missing link is no error
  void delete_link(std::uint32_t index);
  void delete_link(std::string_view name);
  void delete_link_group(std::uint32_t group);  // all at once: one RCU grace period for the lot
  void get_link(std::string_view name);         // the answers: NetlinkAnswers::links, in order
  void get_link(std::uint32_t index);
  void replace_address(const AddressSpec& spec);  // IPv6 without duplicate detection
  void delete_address(const AddressSpec& spec);
  void replace_route(const RouteSpec& spec);
  void delete_route(const RouteSpec& spec);
  void replace_neighbour(const NeighbourSpec& spec);
  void replace_shaper(const ShaperSpec& spec);
  bool empty() const { return requests_.empty(); }
  std::size_t size() const { return requests_.size(); }

 private:
  friend class Netlink;
  enum class Forgive : std::uint8_t { kNothing, kMissing, kExisting };
  struct Request {
    std::size_t offset = 0;  // in bytes_
    Forgive forgive = Forgive::kNothing;
    std::string what;  // "create veth fw0123 with peer eth0", for the error
  };
  void append(const void* message, Forgive forgive, std::string what);
  std::vector<std::uint8_t> bytes_;
  std::vector<Request> requests_;
};

struct NetlinkAnswers {
  std::vector<LinkInfo> links;  // of get_link
};

class Netlink {
 public:
  static Result<Netlink> open();                         // in the calling thread's namespace
  static Result<Netlink> open_in(const sys::Fd& netns);  // enters it for a moment (sys::in_netns)

  // Sends the whole batch; the first failure, with the kernel's own words (extended ack), if any request failed.
  Result<NetlinkAnswers> run(const NetlinkBatch& batch);

  Result<LinkInfo> link(std::string_view name);  // kNotFound
  Result<LinkInfo> link(std::uint32_t index);
  Result<std::vector<LinkInfo>> links();
  Result<std::vector<AddressInfo>> addresses(std::uint32_t link = 0);  // 0: of all links
  Result<std::vector<RouteInfo>> routes(std::uint32_t table = 254);    // both families
  Result<std::vector<NeighbourInfo>> neighbours(std::uint32_t link = 0);

  // The namespace's cookie (SO_NETNS_COOKIE, kernel 5.14): never re-used while the machine runs.
  Result<std::uint64_t> netns_cookie() const;

 private:
  explicit Netlink(sys::Fd fd) : fd_(std::move(fd)) {}
  Status dump(void* request, std::string_view what, const std::function<void(const void* message)>& on_message);
  Result<LinkInfo> one_link(const NetlinkBatch& batch, std::string_view what);
  sys::Fd fd_;
  std::uint32_t sequence_ = 0;
};

}  // namespace fairway::io
