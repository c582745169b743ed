#include "core/traffic.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <cerrno>
#include <cstring>

#include "core/cpu.h"
#include "core/stats.h"

namespace fairway::bench {

namespace {

constexpr std::size_t kStreamChunk = 128 << 10;

struct Raw {
  sockaddr_storage storage{};
  socklen_t size = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

Raw raw(const net::SocketAddr& a) {
  Raw out;
  if (a.addr.is_v4()) {
    sockaddr_in in{};
    in.sin_family = AF_INET;
    in.sin_port = htons(a.port);
    in.sin_addr.s_addr = htonl(a.addr.v4_host_order());
    std::memcpy(&out.storage, &in, out.size = sizeof in);
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(a.port);
    std::memcpy(&in.sin6_addr, a.addr.bytes().data(), 16);
    std::memcpy(&out.storage, &in, out.size = sizeof in);
  }
  return out;
}

void set(int fd, int level, int option, int value) { (void)setsockopt(fd, level, option, &value, sizeof value); }

Result<sys::Fd> bound(net::Family family, int type, std::uint16_t port) {
  sys::Fd fd(socket(family == net::Family::kV4 ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "server socket");
  set(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1);
  Raw any = raw({family == net::Family::kV4 ? net::IpAddr::v4(0) : net::IpAddr(), port});
  if (bind(fd.get(), any.get(), any.size) != 0) return errno_error(errno, "bind port " + std::to_string(port));
  if (type == SOCK_STREAM && listen(fd.get(), 256) != 0) return errno_error(errno, "listen");
  return fd;
}

[[noreturn]] void serve_echo(int listener) {
  for (;;) {
    sys::Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    if (!fd) continue;
    set(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    char byte;
    while (recv(fd.get(), &byte, 1, 0) == 1 && send(fd.get(), &byte, 1, MSG_NOSIGNAL) == 1) {}
  }
}

[[noreturn]] void serve_udp_echo(int fd) {
  for (;;) {
    char data[2048];
    Raw from;
    from.size = sizeof from.storage;
    ssize_t n = recvfrom(fd, data, sizeof data, 0, reinterpret_cast<sockaddr*>(&from.storage), &from.size);
    if (n >= 0) (void)sendto(fd, data, static_cast<std::size_t>(n), 0, from.get(), from.size);
  }
}

[[noreturn]] void serve_sink(int listener) {
  std::vector<char> buffer(kStreamChunk);
  for (;;) {
    sys::Fd fd(accept4(listener, nullptr, nullptr, SOCK_CLOEXEC));
    while (fd && recv(fd.get(), buffer.data(), buffer.size(), 0) > 0) {}
  }
}

unsigned long long now_ns() {
  timespec t{};
  clock_gettime(CLOCK_MONOTONIC, &t);
  return static_cast<unsigned long long>(t.tv_sec) * 1'000'000'000ull + static_cast<unsigned long long>(t.tv_nsec);
}

Result<sys::Fd> connected(const net::SocketAddr& to, int type) {
  sys::Fd fd(socket(to.addr.is_v4() ? AF_INET : AF_INET6, type | SOCK_CLOEXEC, 0));
  if (!fd) return errno_error(errno, "client socket");
  timeval limit{.tv_sec = 5, .tv_usec = 0};  // a lost packet must end the run, not hang it
  setsockopt(fd.get(), SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  setsockopt(fd.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
  if (type == SOCK_STREAM) {
    set(fd.get(), IPPROTO_TCP, TCP_NODELAY, 1);
    linger reset{.l_onoff = 1, .l_linger = 0};
    setsockopt(fd.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
  }
  Raw addr = raw(to);
  if (connect(fd.get(), addr.get(), addr.size) != 0) return errno_error(errno, "connect to " + to.to_string());
  return fd;
}

Status round_trip(int fd) {
  char byte = 'x';
  if (send(fd, &byte, 1, MSG_NOSIGNAL) != 1) return errno_error(errno, "send");
  if (recv(fd, &byte, 1, 0) != 1) return errno_error(errno, "receive");
  return {};
}

Result<Child::Numbers> request_response(Kind kind, const net::SocketAddr& to, std::chrono::milliseconds length) {
  int type = kind == Kind::kUdpRr ? SOCK_DGRAM : SOCK_STREAM;
  FW_ASSIGN(sys::Fd fd, connected(to, type));
  for (int i = 0; i < 200; ++i) FW_TRY(round_trip(fd.get()));  // warm
  Histogram histogram;
  if (kind == Kind::kTcpCrr) fd.reset();
  unsigned long long begin = now_ns(), end = begin + static_cast<unsigned long long>(length.count()) * 1'000'000ull, last = begin;
  while (last < end) {
    if (kind == Kind::kTcpCrr) {
      FW_ASSIGN(fd, connected(to, type));
      FW_TRY(round_trip(fd.get()));
      fd.reset();
    } else {
      FW_TRY(round_trip(fd.get()));
    }
    unsigned long long now = now_ns();
    histogram.add(now - last);
    last = now;
  }
  double seconds = static_cast<double>(last - begin) / 1e9;
  return Child::Numbers{histogram.percentile_ns(50) / 1e3, histogram.percentile_ns(99) / 1e3,
                        static_cast<double>(histogram.count()) / seconds, own_cpu_seconds()};
}

Result<Child::Numbers> stream(const net::SocketAddr& to, std::chrono::milliseconds length) {
  FW_ASSIGN(sys::Fd fd, connected({to.addr, static_cast<std::uint16_t>(to.port + 1)}, SOCK_STREAM));
  std::vector<char> chunk(kStreamChunk, 'x');
  unsigned long long begin = now_ns(), end = begin + static_cast<unsigned long long>(length.count()) * 1'000'000ull, now = begin;
  double bytes = 0;
  for (; now < end; now = now_ns()) {
    ssize_t n = send(fd.get(), chunk.data(), chunk.size(), MSG_NOSIGNAL);
    if (n < 0) return errno_error(errno, "send");
    bytes += static_cast<double>(n);
  }
  return Child::Numbers{0, 0, bytes / (static_cast<double>(now - begin) / 1e9), own_cpu_seconds()};
}

}  // namespace

Result<Servers> Servers::start(const Place& place, net::Family family, std::uint16_t port) {
  // Each says that it listens by a byte through a pipe of its own: the first client must not come too early.
  Servers out;
  int ready[2];
  if (pipe(ready) != 0) return errno_error(errno, "pipe");
  sys::Fd in(ready[0]), say(ready[1]);
  auto add = [&](int type, std::uint16_t at, void (*serve)(int)) -> Status {
    FW_ASSIGN(Child child, Child::start(place, [&]() -> Result<Child::Numbers> {
                FW_ASSIGN(sys::Fd fd, bound(family, type, at));
                (void)!write(say.get(), "r", 1);
                serve(fd.get());
                return Child::Numbers{};
              }));
    out.children_.push_back(std::move(child));
    pollfd wait{in.get(), POLLIN, 0};
    char byte;
    if (poll(&wait, 1, 5000) != 1 || read(in.get(), &byte, 1) != 1) {
      return make_error(Code::kTimeout, "the server on port " + std::to_string(at) + " did not start");
    }
    return {};
  };
  FW_TRY(add(SOCK_STREAM, port, [](int fd) { serve_echo(fd); }));
  FW_TRY(add(SOCK_DGRAM, port, [](int fd) { serve_udp_echo(fd); }));
  FW_TRY(add(SOCK_STREAM, static_cast<std::uint16_t>(port + 1), [](int fd) { serve_sink(fd); }));
  return out;
}

Result<Measured> run_client(const Place& place, Kind kind, const net::SocketAddr& to, std::chrono::milliseconds length) {
  FW_ASSIGN(Child child,
            Child::start(place, [&] { return kind == Kind::kTcpStream ? stream(to, length) : request_response(kind, to, length); }));
  FW_ASSIGN(Child::Numbers n, child.wait());
  if (n.size() != 4) return make_error(Code::kInternal, "client: no result");
  return Measured{.p50_us = n[0], .p99_us = n[1], .per_second = n[2], .cpu_seconds = n[3]};
}

}  // namespace fairway::bench
