#include "dns/dns_server.h"

#include <fcntl.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>

#include "dns/socket_address.h"
#include "dns/worker.h"

namespace fairway::dns {

namespace {

constexpr unsigned kMaxThreads = 64;
constexpr std::size_t kMaxUpstreams = 16;
constexpr int kReceiveBytes = 4 << 20;  // a burst of queries waits rather than gets lost

Status check(const std::vector<net::SocketAddr>& upstreams) {
  if (upstreams.size() > kMaxUpstreams) return make_error(Code::kInvalid, "dns upstreams: more than " + std::to_string(kMaxUpstreams));
  for (const auto& u : upstreams) {
    if (u.port == 0 || u.addr.is_unset() || u.addr.is_multicast())
      return make_error(Code::kInvalid, "dns upstream " + u.to_string() + ": not an address to ask");
  }
  return {};
}

Status set_option(int fd, int level, int option, int value, const char* what) {
  if (setsockopt(fd, level, option, &value, sizeof value) != 0) return errno_error(errno, what);
  return {};
}

Result<int> family_of(int fd) {
  int family = 0;
  socklen_t size = sizeof family;
  if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &family, &size) != 0) return errno_error(errno, "dns socket");
  if (family != AF_INET && family != AF_INET6) return make_error(Code::kInvalid, "dns socket: neither IPv4 nor IPv6");
  return family;
}

Status non_blocking(int fd) {
  int flags = fcntl(fd, F_GETFL);
  if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0) return errno_error(errno, "dns socket: O_NONBLOCK");
  return {};
}

DnsStats& operator+=(DnsStats& a, const DnsStats& b) {
  // All members are counters of one type.
  static_assert(sizeof(DnsStats) % sizeof(std::uint64_t) == 0);
  auto* to = reinterpret_cast<std::uint64_t*>(&a);
  auto* from = reinterpret_cast<const std::uint64_t*>(&b);
  for (std::size_t i = 0; i < sizeof(DnsStats) / sizeof(std::uint64_t); ++i) to[i] += from[i];
  return a;
}

}  // namespace

class DnsServer::Impl {
 public:
  std::vector<std::unique_ptr<Worker>> workers;

  // Each worker gets a descriptor of its own for the same socket.
  template <typename Add>
  Status share(sys::Fd socket, Add add) {
    bool shared = workers.size() > 1;
    for (std::size_t i = 1; i < workers.size(); ++i) {
      sys::Fd copy(fcntl(socket.get(), F_DUPFD_CLOEXEC, 0));
      if (!copy) return errno_error(errno, "dns socket: dup");
      add(*workers[i], std::move(copy), shared);
    }
    add(*workers[0], std::move(socket), shared);
    return {};
  }
};

DnsServer::DnsServer(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DnsServer::~DnsServer() = default;

Result<std::unique_ptr<DnsServer>> DnsServer::create(DnsConfig config) {
  FW_TRY(compile::dns::check(config.zone));
  FW_TRY(check(config.upstreams));
  if (config.threads == 0 || config.threads > kMaxThreads)
    return make_error(Code::kInvalid, "dns threads: must be 1 to " + std::to_string(kMaxThreads));
  if (config.limits.udp_answer_bytes < 512) return make_error(Code::kInvalid, "dns limits: udp_answer_bytes must be at least 512");
  // Before anything is published, an empty zone that knows that it is not complete.
  std::shared_ptr<const compile::dns::Zone> zone = compile::dns::ZoneBuilder(config.zone).snapshot();
  auto impl = std::make_unique<Impl>();
  for (unsigned i = 0; i < config.threads; ++i) {
    FW_ASSIGN(auto worker, Worker::create(config.limits, config.limits.cache_bytes / config.threads, config.upstreams, zone));
    impl->workers.push_back(std::move(worker));
  }
  return std::unique_ptr<DnsServer>(new DnsServer(std::move(impl)));
}

Status DnsServer::serve_udp(sys::Fd socket) {
  FW_ASSIGN(int family, family_of(socket.get()));
  FW_TRY(non_blocking(socket.get()));
  if (family == AF_INET) FW_TRY(set_option(socket.get(), IPPROTO_IP, IP_PKTINFO, 1, "dns socket: IP_PKTINFO"));
  else FW_TRY(set_option(socket.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, 1, "dns socket: IPV6_RECVPKTINFO"));
  if (!set_option(socket.get(), SOL_SOCKET, SO_RCVBUFFORCE, kReceiveBytes, "").ok()) {
    FW_TRY(set_option(socket.get(), SOL_SOCKET, SO_RCVBUF, kReceiveBytes, "dns socket: SO_RCVBUF"));
  }
  return impl_->share(std::move(socket), [](Worker& w, sys::Fd fd, bool shared) { w.add_udp(std::move(fd), shared); });
}

Status DnsServer::serve_tcp(sys::Fd socket) {
  FW_ASSIGN([[maybe_unused]] int family, family_of(socket.get()));
  FW_TRY(non_blocking(socket.get()));
  return impl_->share(std::move(socket), [](Worker& w, sys::Fd fd, bool shared) { w.add_tcp(std::move(fd), shared); });
}

void DnsServer::publish(std::shared_ptr<const compile::dns::Zone> zone) {
  for (auto& w : impl_->workers) w->publish(zone);
}

Status DnsServer::set_upstreams(std::vector<net::SocketAddr> upstreams) {
  FW_TRY(check(upstreams));
  for (auto& w : impl_->workers) w->set_upstreams(upstreams);
  return {};
}

DnsStats DnsServer::stats() const {
  DnsStats out;
  for (const auto& w : impl_->workers) out += w->stats();
  return out;
}

std::vector<UpstreamStatus> DnsServer::upstreams() const {
  std::vector<UpstreamStatus> out = impl_->workers[0]->upstreams();
  for (std::size_t i = 1; i < impl_->workers.size(); ++i) {
    for (const auto& u : impl_->workers[i]->upstreams()) {
      for (auto& o : out) {
        if (o.addr != u.addr) continue;
        o.queries += u.queries;
        o.timeouts += u.timeouts;
        if (o.srtt_us == 0) o.srtt_us = u.srtt_us;
      }
    }
  }
  return out;
}

Result<DnsSockets> bind_dns_sockets(const net::SocketAddr& addr) {
  DnsSockets out;
  RawAddr raw = to_raw(addr);
  auto bind_one = [&](int type) -> Result<sys::Fd> {
    sys::Fd fd(::socket(raw.storage.ss_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) return errno_error(errno, "dns socket");
    if (type == SOCK_STREAM) FW_TRY(set_option(fd.get(), SOL_SOCKET, SO_REUSEADDR, 1, "dns socket: SO_REUSEADDR"));
    if (raw.storage.ss_family == AF_INET6) FW_TRY(set_option(fd.get(), IPPROTO_IPV6, IPV6_V6ONLY, 1, "dns socket: IPV6_V6ONLY"));
    if (::bind(fd.get(), raw.get(), raw.size) != 0) return errno_error(errno, "dns: bind " + addr.to_string());
    return fd;
  };
  FW_ASSIGN(out.udp, bind_one(SOCK_DGRAM));
  FW_ASSIGN(out.tcp, bind_one(SOCK_STREAM));
  if (listen(out.tcp.get(), 512) != 0) return errno_error(errno, "dns: listen " + addr.to_string());
  return out;
}

}  // namespace fairway::dns
