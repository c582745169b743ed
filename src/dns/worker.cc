#include "dns/worker.h"

#include <pthread.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>

#include "sys/log.h"

namespace fairway::dns {

namespace {
constexpr milliseconds kSweepEvery{1000};
}

Result<std::unique_ptr<Worker>> Worker::create(const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams,
                                               std::shared_ptr<const compile::dns::Zone> zone) {
  FW_ASSIGN(Poller poller, Poller::create());
  sys::Fd wake(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
  if (!wake) return errno_error(errno, "eventfd");
  std::unique_ptr<Worker> worker(
      new Worker(std::move(poller), std::move(wake), limits, cache_bytes, std::move(upstreams), std::move(zone)));
  FW_TRY(worker->poller_.add(worker->wake_.get(), EPOLLIN, worker.get()));
  // Signals are the main thread's.
  sigset_t all, before;
  sigfillset(&all);
  pthread_sigmask(SIG_SETMASK, &all, &before);
  worker->thread_ = std::thread([w = worker.get()] { w->run(); });
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  pthread_setname_np(worker->thread_.native_handle(), "dns");
  return worker;
}

Worker::Worker(Poller poller, sys::Fd wake, const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams,
               std::shared_ptr<const compile::dns::Zone> zone)
    : poller_(std::move(poller)),
      wake_(std::move(wake)),
      sockets_(poller_),
      resolver_(limits, cache_bytes, std::move(upstreams), sockets_),
      tcp_(limits, poller_, *this),
      zone_(std::move(zone)) {
  sockets_.attach(resolver_.forwarder());
  record();
}

Worker::~Worker() {
  if (!thread_.joinable()) return;
  stopping_ = true;
  post([] {});
  thread_.join();
}

void Worker::post(std::function<void()> task) {
  {
    std::lock_guard lock(mutex_);
    tasks_.push_back(std::move(task));
  }
  std::uint64_t one = 1;
  (void)!write(wake_.get(), &one, sizeof one);
}

void Worker::on_ready(std::uint32_t) {
  std::uint64_t count;
  (void)!read(wake_.get(), &count, sizeof count);
  std::vector<std::function<void()>> tasks;
  {
    std::lock_guard lock(mutex_);
    tasks.swap(tasks_);
  }
  for (auto& task : tasks) task();
}

void Worker::run() {
  Time next_sweep = std::chrono::steady_clock::now() + kSweepEvery;
  while (!stopping_) {
    int timeout_ms = -1;  // an idle server does not wake
    Time now = std::chrono::steady_clock::now();
    auto until = [&](Time then) {
      return static_cast<int>(std::clamp<std::int64_t>(std::chrono::ceil<milliseconds>(then - now).count(), 0, 60'000));
    };
    if (!tcp_.idle()) timeout_ms = until(next_sweep);
    if (auto next = resolver_.forwarder().next_time()) timeout_ms = timeout_ms < 0 ? until(*next) : std::min(timeout_ms, until(*next));
    poller_.wait(timeout_ms);
    now = std::chrono::steady_clock::now();
    resolver_.forwarder().on_time(now);
    if (now >= next_sweep) {
      tcp_.sweep(now);
      next_sweep = now + kSweepEvery;
    }
    record();
  }
}

void Worker::record() {
  DnsStats stats = resolver_.stats();
  stats.tcp_refused = tcp_.refused();
  stats.tcp_expired = tcp_.expired();
  auto upstreams = resolver_.forwarder().upstreams();
  std::lock_guard lock(mutex_);
  stats_ = stats;
  upstreams_ = std::move(upstreams);
}

const compile::dns::Zone& Worker::zone() {
  if (next_zone_version_.load(std::memory_order_acquire) != zone_version_) {
    std::lock_guard lock(mutex_);
    zone_version_ = next_zone_version_.load(std::memory_order_relaxed);
    zone_ = next_zone_;
  }
  return *zone_;
}

void Worker::publish(std::shared_ptr<const compile::dns::Zone> zone) {
  std::lock_guard lock(mutex_);
  next_zone_ = std::move(zone);
  next_zone_version_.fetch_add(1, std::memory_order_release);
}

void Worker::query(Bytes message, Resolver::Via via, const Resolver::Reply& reply) {
  resolver_.handle(zone(), message, via, std::chrono::steady_clock::now(), reply);
}

void Worker::add_udp(sys::Fd fd, bool shared) {
  auto listener = std::make_shared<UdpListener>(std::move(fd), static_cast<QuerySink&>(*this));
  post([this, listener, shared] {
    if (Status added = poller_.add(listener->fd(), EPOLLIN, listener.get(), shared); !added.ok()) {
      log::error("dns", "UDP listener: {}", added.error().message);
      return;
    }
    udp_.push_back(listener);
  });
}

void Worker::add_tcp(sys::Fd fd, bool shared) {
  auto owned = std::make_shared<sys::Fd>(std::move(fd));
  post([this, owned, shared] {
    if (Status added = tcp_.listen(std::move(*owned), shared); !added.ok()) log::error("dns", "TCP listener: {}", added.error().message);
  });
}

void Worker::set_upstreams(std::vector<net::SocketAddr> upstreams) {
  post([this, upstreams = std::move(upstreams)] { resolver_.forwarder().set_upstreams(upstreams); });
}

DnsStats Worker::stats() const {
  std::lock_guard lock(mutex_);
  return stats_;
}

std::vector<UpstreamStatus> Worker::upstreams() const {
  std::lock_guard lock(mutex_);
  return upstreams_;
}

}  // namespace fairway::dns
