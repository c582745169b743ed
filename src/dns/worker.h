// Worker: one thread of the server, with all that it needs of its own.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "dns/dns_server.h"
#include "dns/listeners.h"
#include "dns/poller.h"
#include "dns/resolver.h"
#include "dns/upstream_sockets.h"

namespace fairway::dns {

class Worker : private QuerySink, private Handler {
 public:
  static Result<std::unique_ptr<Worker>> create(const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams,
                                                std::shared_ptr<const compile::dns::Zone> zone);
  ~Worker() override;

  // From any thread.
  void add_udp(sys::Fd fd, bool shared);
  void add_tcp(sys::Fd fd, bool shared);
  void set_upstreams(std::vector<net::SocketAddr> upstreams);
  void publish(std::shared_ptr<const compile::dns::Zone> zone);  // holds for every query read after it returns
  DnsStats stats() const;
  std::vector<UpstreamStatus> upstreams() const;

 private:
  Worker(Poller poller, sys::Fd wake, const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams,
         std::shared_ptr<const compile::dns::Zone> zone);
  void run();
  void post(std::function<void()> task);
  void on_ready(std::uint32_t events) override;  // the wake descriptor
  void query(Bytes message, Resolver::Via via, const Resolver::Reply& reply) override;
  const compile::dns::Zone& zone();
  void record();

  Poller poller_;
  sys::Fd wake_;
  UpstreamSockets sockets_;
  Resolver resolver_;
  TcpServer tcp_;
  std::vector<std::shared_ptr<UdpListener>> udp_;
  std::shared_ptr<const compile::dns::Zone> zone_;  // the worker's own reference
  std::uint64_t zone_version_ = 0;

  mutable std::mutex mutex_;  // guards what follows
  std::vector<std::function<void()>> tasks_;
  std::shared_ptr<const compile::dns::Zone> next_zone_;
  DnsStats stats_;
  std::vector<UpstreamStatus> upstreams_;

  std::atomic<std::uint64_t> next_zone_version_ = 0;
  std::atomic<bool> stopping_ = false;
  std::thread thread_;
};

}  // namespace fairway::dns
