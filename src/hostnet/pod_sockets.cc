#include "hostnet/pod_sockets.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <cstring>
#include <set>

#include "sys/netns.h"

namespace fairway::hostnet {
namespace {

struct Request {
  nlmsghdr header;
  inet_diag_req_v2 body;
};

net::SocketAddr address_of(std::uint8_t family, const __be32 (&words)[4], __be16 port_be) {
  if (family == AF_INET) {
    std::array<std::uint8_t, 4> bytes{};
    std::memcpy(bytes.data(), words, bytes.size());
    return {net::IpAddr::from_v4_bytes(bytes), ntohs(port_be)};
  }
  std::array<std::uint8_t, 16> bytes{};
  std::memcpy(bytes.data(), words, bytes.size());
  return {net::IpAddr::from_bytes(bytes), ntohs(port_be)};
}

// Where the remote port is 0 the socket has no other end: it listens, or is a server's that is not connected.
struct Sockets {
  std::set<std::uint16_t> servers;
  std::vector<LiveConnection> live;
  void take(const inet_diag_msg& msg, std::uint8_t protocol) {
    const auto local = address_of(msg.idiag_family, msg.id.idiag_src, msg.id.idiag_sport);
    const auto remote = address_of(msg.idiag_family, msg.id.idiag_dst, msg.id.idiag_dport);
    if (remote.port == 0) {
      servers.insert(local.port);
      return;
    }
    const bool half_open = protocol == IPPROTO_TCP && (msg.idiag_state == TCP_SYN_SENT || msg.idiag_state == TCP_SYN_RECV);
    if (half_open || remote.addr == local.addr || remote.addr.is_loopback()) return;
    live.push_back({local, remote, protocol, true});
  }
};

// Reads one part of the dump: whether more follows.
Result<bool> take_part(const char* data, std::size_t size, std::uint8_t protocol, Sockets& out) {
  auto left = static_cast<unsigned>(size);
  for (auto* header = reinterpret_cast<const nlmsghdr*>(data); NLMSG_OK(header, left); header = NLMSG_NEXT(header, left)) {
    if (header->nlmsg_type == NLMSG_DONE) return false;
    if (header->nlmsg_type == NLMSG_ERROR) {
      nlmsgerr error{};
      std::memcpy(&error, NLMSG_DATA(header), std::min<std::size_t>(sizeof(error), header->nlmsg_len - NLMSG_HDRLEN));
      if (error.error == -ENOENT) return false;  // a family or protocol that this kernel has not
      return errno_error(-error.error, "read the sockets of a pod");
    }
    if (header->nlmsg_type != SOCK_DIAG_BY_FAMILY || header->nlmsg_len < NLMSG_LENGTH(sizeof(inet_diag_msg))) continue;
    inet_diag_msg msg{};
    std::memcpy(&msg, NLMSG_DATA(header), sizeof(msg));
    out.take(msg, protocol);
  }
  return true;
}

Status dump(int fd, std::uint8_t family, std::uint8_t protocol, Sockets& out) {
  Request request{};
  request.header.nlmsg_len = sizeof(request);
  request.header.nlmsg_type = SOCK_DIAG_BY_FAMILY;
  request.header.nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP;
  request.body.sdiag_family = family;
  request.body.sdiag_protocol = protocol;
  request.body.idiag_states = ~0U;
  if (::send(fd, &request, sizeof(request), 0) < 0) return errno_error(errno, "ask for the sockets of a pod");
  std::vector<char> buffer(64 * 1024);
  for (;;) {
    const ssize_t got = ::recv(fd, buffer.data(), buffer.size(), 0);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) return errno_error(got == 0 ? ECONNRESET : errno, "read the sockets of a pod");
    FW_ASSIGN(const bool more, take_part(buffer.data(), static_cast<std::size_t>(got), protocol, out));
    if (!more) return {};
  }
}

}  // namespace

Result<std::vector<LiveConnection>> read_live_connections(const sys::Fd& netns) {
  sys::Fd fd;
  FW_TRY(sys::in_netns(netns, [&]() -> Status {
    fd = sys::Fd(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_SOCK_DIAG));
    if (!fd) return errno_error(errno, "open a sock_diag socket");
    return {};
  }));
  std::vector<LiveConnection> all;
  for (const std::uint8_t protocol : {std::uint8_t{IPPROTO_TCP}, std::uint8_t{IPPROTO_UDP}}) {
    Sockets sockets;
    for (const std::uint8_t family : {std::uint8_t{AF_INET}, std::uint8_t{AF_INET6}}) FW_TRY(dump(fd.get(), family, protocol, sockets));
    for (LiveConnection& connection : sockets.live) {
      connection.began_here = !sockets.servers.contains(connection.local.port);
      all.push_back(connection);
    }
  }
  return all;
}

}  // namespace fairway::hostnet
