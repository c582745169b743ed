#include "sockets.h"

#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>
#include <cstring>
#include <stdexcept>

namespace fairway::test {
namespace {

socklen_t fill(sockaddr_storage& out, net::SocketAddr addr, bool v6) {
  std::memset(&out, 0, sizeof(out));
  if (v6) {
    auto* in6 = reinterpret_cast<sockaddr_in6*>(&out);
    in6->sin6_family = AF_INET6;
    in6->sin6_port = htons(addr.port);
    std::memcpy(&in6->sin6_addr, addr.addr.bytes().data(), 16);
    return sizeof(sockaddr_in6);
  }
  auto* in4 = reinterpret_cast<sockaddr_in*>(&out);
  in4->sin_family = AF_INET;
  in4->sin_port = htons(addr.port);
  std::memcpy(&in4->sin_addr, addr.addr.bytes().data() + 12, 4);
  return sizeof(sockaddr_in);
}

net::SocketAddr read_addr(const sockaddr_storage& in) {
  net::SocketAddr out;
  if (in.ss_family == AF_INET6) {
    const auto* in6 = reinterpret_cast<const sockaddr_in6*>(&in);
    out.addr = net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(in6->sin6_addr.s6_addr, 16));
    out.port = ntohs(in6->sin6_port);
  } else {
    const auto* in4 = reinterpret_cast<const sockaddr_in*>(&in);
    out.addr = net::IpAddr::v4(ntohl(in4->sin_addr.s_addr));
    out.port = ntohs(in4->sin_port);
  }
  return out;
}

void set_timeout(const sys::Fd& socket, int which, int ms) {
  const timeval timeout{ms / 1000, (ms % 1000) * 1000};
  ::setsockopt(socket.get(), SOL_SOCKET, which, &timeout, sizeof(timeout));
}

sys::Fd make_socket(const Cluster& cluster, const std::string& netns, Kind kind, bool v6) {
  sys::Fd fd;
  cluster.in(netns,
             [&] { fd.reset(::socket(v6 ? AF_INET6 : AF_INET, (kind == Kind::kTcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_CLOEXEC, 0)); });
  if (!fd) throw std::runtime_error("socket");
  const int one = 1;
  ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof(one));
  set_timeout(fd, SO_RCVTIMEO, kPatienceMs);
  set_timeout(fd, SO_SNDTIMEO, kPatienceMs);
  return fd;
}

// IPv6 as it is; an IPv4 destination of an IPv6 socket is v4-mapped.
bool is_v6_socket(const sys::Fd& socket) {
  int domain = 0;
  socklen_t size = sizeof(domain);
  ::getsockopt(socket.get(), SOL_SOCKET, SO_DOMAIN, &domain, &size);
  return domain == AF_INET6;
}

std::string told(const char* what) { return std::string(what) + ": " + std::strerror(errno); }

}  // namespace

sys::Fd listen_in(const Cluster& cluster, const std::string& netns, Kind kind, net::SocketAddr at) {
  sys::Fd fd = make_socket(cluster, netns, kind, !at.addr.is_v4());
  sockaddr_storage to;
  const socklen_t size = fill(to, at, !at.addr.is_v4());
  if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&to), size) < 0) throw std::runtime_error(told("bind"));
  if (kind == Kind::kTcp && ::listen(fd.get(), 128) < 0) throw std::runtime_error(told("listen"));
  return fd;
}

sys::Fd client_in(const Cluster& cluster, const std::string& netns, Kind kind, bool v6, std::uint16_t from_port) {
  sys::Fd fd = make_socket(cluster, netns, kind, v6);
  if (from_port != 0) {
    sockaddr_storage from;
    const socklen_t size = fill(from, {v6 ? net::IpAddr{} : net::IpAddr::v4(0), from_port}, v6);
    if (::bind(fd.get(), reinterpret_cast<sockaddr*>(&from), size) < 0) throw std::runtime_error(told("bind"));
  }
  return fd;
}

int connect_to(const sys::Fd& socket, net::SocketAddr to) {
  sockaddr_storage addr;
  const socklen_t size = fill(addr, to, is_v6_socket(socket));
  return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&addr), size) == 0 ? 0 : errno;
}

sys::Fd accept_one(const sys::Fd& listener, net::SocketAddr* peer) {
  sockaddr_storage from{};
  socklen_t size = sizeof(from);
  sys::Fd fd(::accept4(listener.get(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_CLOEXEC));
  if (!fd) throw std::runtime_error(told("accept"));
  if (peer != nullptr) *peer = read_addr(from);
  set_timeout(fd, SO_RCVTIMEO, kPatienceMs);
  return fd;
}

bool send_text(const sys::Fd& socket, const std::string& text) {
  return ::send(socket.get(), text.data(), text.size(), MSG_NOSIGNAL) == static_cast<ssize_t>(text.size());
}

int send_to(const sys::Fd& socket, net::SocketAddr to, const std::string& text) {
  sockaddr_storage addr;
  const socklen_t size = fill(addr, to, is_v6_socket(socket));
  const ssize_t n = ::sendto(socket.get(), text.data(), text.size(), MSG_NOSIGNAL, reinterpret_cast<sockaddr*>(&addr), size);
  return n == static_cast<ssize_t>(text.size()) ? 0 : errno;
}

std::string receive(const sys::Fd& socket, net::SocketAddr* from) {
  std::string buffer(65536, '\0');
  sockaddr_storage addr{};
  socklen_t size = sizeof(addr);
  const ssize_t n = ::recvfrom(socket.get(), buffer.data(), buffer.size(), 0, reinterpret_cast<sockaddr*>(&addr), &size);
  if (n < 0) return {};
  if (from != nullptr && size > 0) *from = read_addr(addr);
  buffer.resize(static_cast<std::size_t>(n));
  return buffer;
}

std::string receive_soon(const sys::Fd& socket) {
  set_timeout(socket, SO_RCVTIMEO, kImpatienceMs);
  std::string out = receive(socket);
  set_timeout(socket, SO_RCVTIMEO, kPatienceMs);
  return out;
}

std::uint16_t port_of(const sys::Fd& socket) {
  sockaddr_storage addr{};
  socklen_t size = sizeof(addr);
  ::getsockname(socket.get(), reinterpret_cast<sockaddr*>(&addr), &size);
  return read_addr(addr).port;
}

net::SocketAddr peer_of(const sys::Fd& socket) {
  sockaddr_storage addr{};
  socklen_t size = sizeof(addr);
  if (::getpeername(socket.get(), reinterpret_cast<sockaddr*>(&addr), &size) < 0) return {};
  return read_addr(addr);
}

int wait_error(const sys::Fd& socket, int timeout) {
  pollfd entry{socket.get(), 0, 0};
  ::poll(&entry, 1, timeout);
  int err = 0;
  socklen_t size = sizeof(err);
  ::getsockopt(socket.get(), SOL_SOCKET, SO_ERROR, &err, &size);
  return err;
}

std::string tcp_echo(const Cluster& cluster, const std::string& client, net::SocketAddr to, const std::string& server, net::SocketAddr at,
                     net::SocketAddr* seen) {
  const sys::Fd listener = listen_in(cluster, server, Kind::kTcp, at);
  const sys::Fd socket = client_in(cluster, client, Kind::kTcp, !to.addr.is_v4());
  if (const int err = connect_to(socket, to); err != 0) return std::string("connect: ") + std::strerror(err);
  const sys::Fd accepted = accept_one(listener, seen);
  if (!send_text(socket, "question") || receive(accepted) != "question") return "the question did not arrive";
  if (!send_text(accepted, "answer") || receive(socket) != "answer") return "the answer did not arrive";
  return {};
}

std::string udp_echo(const Cluster& cluster, const std::string& client, net::SocketAddr to, const std::string& server, net::SocketAddr at,
                     net::SocketAddr* seen) {
  const sys::Fd listener = listen_in(cluster, server, Kind::kUdp, at);
  const sys::Fd socket = client_in(cluster, client, Kind::kUdp, !to.addr.is_v4());
  net::SocketAddr from, answered;
  if (const int err = send_to(socket, to, "question"); err != 0) return std::string("send: ") + std::strerror(err);
  if (receive(listener, &from) != "question") return "the question did not arrive";
  if (seen != nullptr) *seen = from;
  if (send_to(listener, from, "answer") != 0) return told("send the answer");
  if (receive(socket, &answered) != "answer") return "the answer did not arrive";
  if (answered != to) return "the answer came from " + answered.to_string() + " and not from " + to.to_string();
  return {};
}

}  // namespace fairway::test
