#include "io/netlink.h"

#include <arpa/inet.h>
#include <libmnl/libmnl.h>
#include <linux/if_addr.h>
#include <linux/if_link.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "sys/netns.h"

#ifndef SO_NETNS_COOKIE
#define SO_NETNS_COOKIE 71
#endif

namespace fairway::io {
namespace {

constexpr std::size_t kReceiveBytes = 32 << 10;  // the kernel's own limit on one dump message
constexpr int kDumpAttempts = 5;

// What a message says in its attributes; the last of a kind wins. One size for all kinds of message: g++ 12 folds the members of a
// template into one and then warns of the smaller ones' bounds.
class Attributes {
 public:
  Attributes(const nlmsghdr* header, std::size_t body_bytes) {
    const auto* end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(header));
    for (const auto* attr = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(header, body_bytes));
         mnl_attr_ok(attr, static_cast<int>(end - reinterpret_cast<const char*>(attr))); attr = mnl_attr_next(attr)) {
      remember(attr);
    }
  }
  explicit Attributes(const nlattr* nest) {
    const auto* begin = static_cast<const char*>(mnl_attr_get_payload(nest));
    const char* end = begin + mnl_attr_get_payload_len(nest);
    for (const auto* attr = reinterpret_cast<const nlattr*>(begin);
         mnl_attr_ok(attr, static_cast<int>(end - reinterpret_cast<const char*>(attr))); attr = mnl_attr_next(attr)) {
      remember(attr);
    }
  }
  const nlattr* get(std::size_t type) const { return found_[type]; }
  std::uint32_t u32(std::size_t type) const {
    const nlattr* attr = found_[type];
    return attr != nullptr && mnl_attr_get_payload_len(attr) >= sizeof(std::uint32_t) ? mnl_attr_get_u32(attr) : 0;
  }
  std::string text(std::size_t type) const {
    const nlattr* attr = found_[type];
    if (attr == nullptr) return {};
    const auto* begin = static_cast<const char*>(mnl_attr_get_payload(attr));
    return std::string(begin, ::strnlen(begin, mnl_attr_get_payload_len(attr)));
  }
  std::optional<net::MacAddr> mac(std::size_t type) const {
    const nlattr* attr = found_[type];
    if (attr == nullptr || mnl_attr_get_payload_len(attr) != 6) return std::nullopt;
    net::MacAddr out;
    std::memcpy(out.bytes.data(), mnl_attr_get_payload(attr), 6);
    return out;
  }
  std::optional<net::IpAddr> addr(std::size_t type) const {
    const nlattr* attr = found_[type];
    if (attr == nullptr) return std::nullopt;
    return parse_addr(mnl_attr_get_payload(attr), mnl_attr_get_payload_len(attr));
  }
  static std::optional<net::IpAddr> parse_addr(const void* data, std::size_t size) {
    const auto* bytes = static_cast<const std::uint8_t*>(data);
    if (size == 4) return net::IpAddr::from_v4_bytes(std::span<const std::uint8_t, 4>(bytes, 4));
    if (size == 16) return net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(bytes, 16));
    return std::nullopt;
  }

 private:
  void remember(const nlattr* attr) {
    const std::size_t type = mnl_attr_get_type(attr);
    if (type < found_.size()) found_[type] = attr;
  }
  static constexpr std::size_t kTypes = 64;
  static_assert(IFLA_MAX < kTypes && IFA_MAX < kTypes && RTA_MAX < kTypes && RTAX_MAX < kTypes && NDA_MAX < kTypes);
  std::array<const nlattr*, kTypes> found_{};
};

net::IpAddr any_addr(std::uint8_t family) { return family == AF_INET ? net::IpAddr::v4(0) : net::IpAddr{}; }

LinkInfo parse_link(const nlmsghdr* header) {
  const auto* body = static_cast<const ifinfomsg*>(mnl_nlmsg_get_payload(header));
  const Attributes attrs(header, sizeof(ifinfomsg));
  LinkInfo out;
  out.index = static_cast<std::uint32_t>(body->ifi_index);
  out.flags = body->ifi_flags;
  out.name = attrs.text(IFLA_IFNAME);
  out.mac = attrs.mac(IFLA_ADDRESS);
  out.mtu = attrs.u32(IFLA_MTU);
  out.group = attrs.u32(IFLA_GROUP);
  out.peer_index = attrs.u32(IFLA_LINK);
  out.qdisc = attrs.text(IFLA_QDISC);
  if (const nlattr* info = attrs.get(IFLA_LINKINFO)) out.kind = Attributes(info).text(IFLA_INFO_KIND);
  return out;
}

AddressInfo parse_address(const nlmsghdr* header) {
  const auto* body = static_cast<const ifaddrmsg*>(mnl_nlmsg_get_payload(header));
  const Attributes attrs(header, sizeof(ifaddrmsg));
  AddressInfo out;
  out.link = body->ifa_index;
  out.prefix_length = body->ifa_prefixlen;
  out.scope = body->ifa_scope;
  out.flags = attrs.get(IFA_FLAGS) != nullptr ? attrs.u32(IFA_FLAGS) : body->ifa_flags;
  const auto local = attrs.addr(IFA_LOCAL);
  out.addr = local ? *local : attrs.addr(IFA_ADDRESS).value_or(net::IpAddr{});
  return out;
}

RouteInfo parse_route(const nlmsghdr* header) {
  const auto* body = static_cast<const rtmsg*>(mnl_nlmsg_get_payload(header));
  const Attributes attrs(header, sizeof(rtmsg));
  RouteInfo out;
  out.dst = net::Prefix(attrs.addr(RTA_DST).value_or(any_addr(body->rtm_family)), body->rtm_dst_len);
  out.link = attrs.u32(RTA_OIF);
  out.gateway = attrs.addr(RTA_GATEWAY);
  if (const nlattr* via = attrs.get(RTA_VIA); via != nullptr && mnl_attr_get_payload_len(via) > sizeof(std::uint16_t)) {
    const auto* bytes = static_cast<const std::uint8_t*>(mnl_attr_get_payload(via));
    out.gateway = attrs.parse_addr(bytes + sizeof(std::uint16_t), mnl_attr_get_payload_len(via) - sizeof(std::uint16_t));
  }
  out.prefer_source = attrs.addr(RTA_PREFSRC);
  out.metric = attrs.u32(RTA_PRIORITY);
  out.table = attrs.get(RTA_TABLE) != nullptr ? attrs.u32(RTA_TABLE) : body->rtm_table;
  out.protocol = body->rtm_protocol;
  out.type = body->rtm_type;
  if (const nlattr* metrics = attrs.get(RTA_METRICS)) out.mtu = Attributes(metrics).u32(RTAX_MTU);
  return out;
}

NeighbourInfo parse_neighbour(const nlmsghdr* header) {
  const auto* body = static_cast<const ndmsg*>(mnl_nlmsg_get_payload(header));
  const Attributes attrs(header, sizeof(ndmsg));
  NeighbourInfo out;
  out.link = static_cast<std::uint32_t>(body->ndm_ifindex);
  out.state = body->ndm_state;
  out.addr = attrs.addr(NDA_DST).value_or(net::IpAddr{});
  out.mac = attrs.mac(NDA_LLADDR);
  return out;
}

// The kernel's own explanation, where it gives one (NETLINK_EXT_ACK).
std::string kernel_words(const nlmsghdr* header) {
  if ((header->nlmsg_flags & NLM_F_ACK_TLVS) == 0) return {};
  const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header));
  std::size_t skip = sizeof(nlmsgerr);
  if ((header->nlmsg_flags & NLM_F_CAPPED) == 0) skip += error->msg.nlmsg_len - sizeof(nlmsghdr);
  if (skip > mnl_nlmsg_get_payload_len(header)) return {};
  return Attributes(header, skip).text(NLMSGERR_ATTR_MSG);
}

Error kernel_error(const nlmsghdr* header, std::string_view what) {
  const int err = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
  Error error = errno_error(err, what);
  if (const std::string words = kernel_words(header); !words.empty()) error.message += " (" + words + ")";
  return error;
}

bool is_missing(int err) { return err == ENODEV || err == ENOENT || err == ESRCH || err == EADDRNOTAVAIL; }

Result<std::size_t> receive(int fd, char* buffer) {
  for (;;) {
    const ssize_t n = ::recv(fd, buffer, kReceiveBytes, 0);
    if (n >= 0) return static_cast<std::size_t>(n);
    if (errno != EINTR) return errno_error(errno, "receive from rtnetlink");
  }
}

}  // namespace

bool LinkInfo::up() const { return (flags & IFF_UP) != 0; }
bool LinkInfo::running() const { return (flags & IFF_RUNNING) != 0; }

Result<Netlink> Netlink::open() {
  sys::Fd fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE));
  if (!fd) return errno_error(errno, "open rtnetlink socket");
  const int on = 1;
  for (const int option : {NETLINK_EXT_ACK, NETLINK_CAP_ACK, NETLINK_GET_STRICT_CHK}) {
    if (::setsockopt(fd.get(), SOL_NETLINK, option, &on, sizeof on) < 0) return errno_error(errno, "set up rtnetlink socket");
  }
  return Netlink(std::move(fd));
}

Result<Netlink> Netlink::open_in(const sys::Fd& netns) {
  std::optional<Result<Netlink>> opened;
  FW_TRY(sys::in_netns(netns, [&]() -> Status {
    opened = open();
    return {};
  }));
  return std::move(*opened);
}

Result<std::uint64_t> Netlink::netns_cookie() const {
  std::uint64_t cookie = 0;
  socklen_t size = sizeof cookie;
  if (::getsockopt(fd_.get(), SOL_SOCKET, SO_NETNS_COOKIE, &cookie, &size) < 0) return errno_error(errno, "read network namespace cookie");
  return cookie;
}

Result<NetlinkAnswers> Netlink::run(const NetlinkBatch& batch) {
  NetlinkAnswers answers;
  if (batch.empty()) return answers;
  std::vector<std::uint8_t> bytes = batch.bytes_;
  const std::uint32_t first = sequence_ + 1;
  for (const auto& request : batch.requests_) reinterpret_cast<nlmsghdr*>(bytes.data() + request.offset)->nlmsg_seq = ++sequence_;
  ssize_t sent;
  do sent = ::send(fd_.get(), bytes.data(), bytes.size(), 0);
  while (sent < 0 && errno == EINTR);
  if (sent < 0) return errno_error(errno, "send " + batch.requests_.front().what);
  std::optional<Error> failed;
  alignas(nlmsghdr) char buffer[kReceiveBytes];
  for (std::size_t done = 0; done < batch.size();) {
    FW_ASSIGN(const std::size_t size, receive(fd_.get(), buffer));
    int left = static_cast<int>(size);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      const std::uint32_t index = header->nlmsg_seq - first;
      if (index >= batch.size()) continue;  // of an earlier batch that was given up
      if (header->nlmsg_type == RTM_NEWLINK) answers.links.push_back(parse_link(header));
      if (header->nlmsg_type != NLMSG_ERROR) continue;
      ++done;
      const auto& request = batch.requests_[index];
      const int err = -static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header))->error;
      if (err == 0 || failed) continue;
      if (request.forgive == NetlinkBatch::Forgive::kMissing && is_missing(err)) continue;
      if (request.forgive == NetlinkBatch::Forgive::kExisting && err == EEXIST) continue;
      failed = kernel_error(header, request.what);
    }
  }
  if (failed) return std::move(*failed);
  return answers;
}

Status Netlink::dump(void* request, std::string_view what, const std::function<void(const void*)>& on_message) {
  auto* const query = static_cast<nlmsghdr*>(request);
  query->nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  query->nlmsg_seq = ++sequence_;
  if (::send(fd_.get(), query, query->nlmsg_len, 0) < 0) return errno_error(errno, what);
  bool interrupted = false;
  alignas(nlmsghdr) char buffer[kReceiveBytes];
  for (;;) {
    FW_ASSIGN(const std::size_t size, receive(fd_.get(), buffer));
    int left = static_cast<int>(size);
    for (const auto* header = reinterpret_cast<const nlmsghdr*>(buffer); mnl_nlmsg_ok(header, left);
         header = mnl_nlmsg_next(header, &left)) {
      if (header->nlmsg_seq != sequence_) continue;
      if ((header->nlmsg_flags & NLM_F_DUMP_INTR) != 0) interrupted = true;
      if (header->nlmsg_type == NLMSG_ERROR) return kernel_error(header, what);
      if (header->nlmsg_type == NLMSG_DONE) {
        if (interrupted) return make_error(Code::kConflict, std::string(what) + ": changed while it was read");
        return {};
      }
      on_message(header);
    }
  }
}

// A dump that changed under the reader is read anew; the caller sees one consistent list.
template <typename T, typename Fill>
static Result<std::vector<T>> dump_all(Fill fill) {
  for (int attempt = 1;; ++attempt) {
    std::vector<T> rows;
    Status status = fill(rows);
    if (status.ok()) return rows;
    if (status.error().code != Code::kConflict || attempt == kDumpAttempts) return std::move(status).error();
  }
}

struct DumpRequest {
  alignas(nlmsghdr) char bytes[128] = {};
  nlmsghdr* header = mnl_nlmsg_put_header(bytes);
  template <typename T>
  T& body(std::uint16_t type) {
    header->nlmsg_type = type;
    return *static_cast<T*>(mnl_nlmsg_put_extra_header(header, sizeof(T)));
  }
};

Result<std::vector<LinkInfo>> Netlink::links() {
  return dump_all<LinkInfo>([&](std::vector<LinkInfo>& rows) -> Status {
    DumpRequest request;
    request.body<ifinfomsg>(RTM_GETLINK).ifi_family = AF_UNSPEC;
    mnl_attr_put_u32(request.header, IFLA_EXT_MASK, 1 << 3);  // without statistics
    return dump(request.header, "list links",
                [&](const void* message) { rows.push_back(parse_link(static_cast<const nlmsghdr*>(message))); });
  });
}

Result<std::vector<AddressInfo>> Netlink::addresses(std::uint32_t link) {
  return dump_all<AddressInfo>([&](std::vector<AddressInfo>& rows) -> Status {
    for (const std::uint8_t family : {AF_INET, AF_INET6}) {
      DumpRequest request;
      auto& body = request.body<ifaddrmsg>(RTM_GETADDR);
      body.ifa_family = family;
      body.ifa_index = link;
      FW_TRY(dump(request.header, "list addresses", [&](const void* message) {
        AddressInfo row = parse_address(static_cast<const nlmsghdr*>(message));
        if (link == 0 || row.link == link) rows.push_back(row);
      }));
    }
    return {};
  });
}

Result<std::vector<RouteInfo>> Netlink::routes(std::uint32_t table) {
  return dump_all<RouteInfo>([&](std::vector<RouteInfo>& rows) -> Status {
    for (const std::uint8_t family : {AF_INET, AF_INET6}) {
      DumpRequest request;
      request.body<rtmsg>(RTM_GETROUTE).rtm_family = family;
      mnl_attr_put_u32(request.header, RTA_TABLE, table);
      Status status = dump(request.header, "list routes", [&](const void* message) {
        const auto* header = static_cast<const nlmsghdr*>(message);
        if (header->nlmsg_type != RTM_NEWROUTE) return;
        RouteInfo row = parse_route(header);
        if (row.table == table) rows.push_back(row);
      });
      if (!status.ok() && status.error().sys_errno != ENOENT) return status;  // ENOENT: no such table yet
    }
    return {};
  });
}

Result<std::vector<NeighbourInfo>> Netlink::neighbours(std::uint32_t link) {
  return dump_all<NeighbourInfo>([&](std::vector<NeighbourInfo>& rows) -> Status {
    for (const std::uint8_t family : {AF_INET, AF_INET6}) {
      DumpRequest request;
      request.body<ndmsg>(RTM_GETNEIGH).ndm_family = family;
      if (link != 0) mnl_attr_put_u32(request.header, NDA_IFINDEX, link);
      FW_TRY(dump(request.header, "list neighbours", [&](const void* message) {
        NeighbourInfo row = parse_neighbour(static_cast<const nlmsghdr*>(message));
        if (link == 0 || row.link == link) rows.push_back(row);
      }));
    }
    return {};
  });
}

Result<LinkInfo> Netlink::one_link(const NetlinkBatch& batch, std::string_view what) {
  FW_ASSIGN(NetlinkAnswers answers, run(batch));
  if (answers.links.size() != 1) return make_error(Code::kInternal, std::string(what) + ": no answer from rtnetlink");
  return std::move(answers.links.front());
}

Result<LinkInfo> Netlink::link(std::string_view name) {
  NetlinkBatch batch;
  batch.get_link(name);
  return one_link(batch, name);
}

Result<LinkInfo> Netlink::link(std::uint32_t index) {
  NetlinkBatch batch;
  batch.get_link(index);
  return one_link(batch, std::to_string(index));
}

}  // namespace fairway::io
