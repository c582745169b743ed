#include <arpa/inet.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "io/http_server.h"
#include "io/socket_address.h"

namespace fairway::io {

Result<SocketAddress> unix_address(const std::string& path) {
  SocketAddress address;
  auto* un = reinterpret_cast<sockaddr_un*>(&address.storage);
  un->sun_family = AF_UNIX;
  if (path.empty() || path.size() >= sizeof un->sun_path) {
    return make_error(Code::kInvalid,
                      "socket path \"" + path + "\" is empty or longer than " + std::to_string(sizeof un->sun_path - 1) + " bytes");
  }
  std::memcpy(un->sun_path, path.c_str(), path.size() + 1);
  address.length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + path.size() + 1);
  return address;
}

Result<SocketAddress> ip_address(const std::string& ip, std::uint16_t port) {
  SocketAddress address;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&address.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&address.storage);
  if (::inet_pton(AF_INET, ip.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(port);
    address.length = sizeof *v4;
  } else if (::inet_pton(AF_INET6, ip.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(port);
    address.length = sizeof *v6;
  } else {
    return make_error(Code::kInvalid, "\"" + ip + "\" is not an IP address");
  }
  return address;
}

namespace {

constexpr int kBacklog = 1024;

Result<sys::Fd> listen_at(const SocketAddress& address, const std::string& what) {
  sys::Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "socket for " + what);
  const int on = 1;
  if (address.storage.ss_family != AF_UNIX) ::setsockopt(fd.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  // "::" means IPv6 alone: who wants both families listens twice, and may.
  if (address.storage.ss_family == AF_INET6) ::setsockopt(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) < 0) return errno_error(errno, "bind " + what);
  if (::listen(fd.get(), kBacklog) < 0) return errno_error(errno, "listen on " + what);
  return fd;
}

// A socket file that nobody answers on was left by a process that died.
bool is_stale(const SocketAddress& address) {
  const sys::Fd probe(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  return probe && ::connect(probe.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) < 0 && errno == ECONNREFUSED;
}

}  // namespace

Result<sys::Fd> listen_tcp(const std::string& ip, std::uint16_t port) {
  FW_ASSIGN(const SocketAddress address, ip_address(ip, port));
  return listen_at(address, ip + " port " + std::to_string(port));
}

Result<sys::Fd> listen_unix(const std::string& path, unsigned mode) {
  FW_ASSIGN(const SocketAddress address, unix_address(path));
  struct stat info {};
  if (::lstat(path.c_str(), &info) == 0) {
    if (!S_ISSOCK(info.st_mode)) return make_error(Code::kAlreadyExists, path + " exists and is not a socket");
    if (is_stale(address)) ::unlink(path.c_str());
  }
  // The mode is in force before anybody can connect: bind creates the file, connecting waits for listen.
  sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return errno_error(errno, "socket for " + path);
  if (::bind(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length) < 0) return errno_error(errno, "bind " + path);
  if (::chmod(path.c_str(), mode) < 0) return errno_error(errno, "set the mode of " + path);
  if (::listen(fd.get(), kBacklog) < 0) return errno_error(errno, "listen on " + path);
  return fd;
}

Result<std::uint16_t> local_port(const sys::Fd& listener) {
  sockaddr_storage storage{};
  socklen_t length = sizeof storage;
  if (::getsockname(listener.get(), reinterpret_cast<sockaddr*>(&storage), &length) < 0) return errno_error(errno, "getsockname");
  if (storage.ss_family == AF_INET) return ntohs(reinterpret_cast<sockaddr_in*>(&storage)->sin_port);
  if (storage.ss_family == AF_INET6) return ntohs(reinterpret_cast<sockaddr_in6*>(&storage)->sin6_port);
  return make_error(Code::kInvalid, "local_port: not an IP socket");
}

}  // namespace fairway::io
