// DnsServer: the node's resolver. Answers the cluster's names from an immutable Zone and forwards the rest.
//
// Place: compile/dns -> Zone -> [dns]; the agent creates it, hands it listening sockets and publishes zones.
// Threads: its own, each with its own epoll, cache and upstream sockets, sharing nothing but the Zone pointer.
// All methods may be called from any thread.
// It never depends on an upstream for a cluster name, never forwards a cluster name, and answers every query
// that is a query within `Limits::answer_ms` (requirements, pains 7, 18, 19, 20).
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "compile/dns/zone.h"
#include "net/ip.h"
#include "sys/fd.h"

namespace fairway::dns {

struct DnsLimits {
  unsigned answer_ms = 1900;           // a forwarded query gets its answer, a stale one or SERVFAIL by then
  unsigned cache_bytes = 8u << 20;     // of all threads together
  unsigned stale_seconds = 24 * 3600;  // RFC 8767: how long an expired answer may still serve
  unsigned in_flight = 1024;           // questions out to upstreams, a thread
  unsigned waiters = 64;               // clients that wait for one of them
  unsigned tcp_connections = 512;      // a thread
  unsigned tcp_per_client = 32;        // of one source address
  unsigned tcp_idle_ms = 10'000;       // without a whole query
  unsigned tcp_queries = 1'000;        // on one connection
  unsigned udp_answer_bytes = 1232;    // largest UDP answer, whatever EDNS offers (no fragments)
};

struct DnsConfig {
  compile::dns::ZoneConfig zone;
  std::vector<net::SocketAddr> upstreams;  // none: names beyond the cluster are refused at once
  DnsLimits limits;
  unsigned threads = 1;
};

// Sums of all threads since the start.
struct DnsStats {
  std::uint64_t queries_udp = 0, queries_tcp = 0;
  std::uint64_t malformed = 0;  // dropped or FORMERR, before anything else was done
  std::uint64_t cluster_answers = 0, cluster_nxdomain = 0, cluster_incomplete = 0;
  std::uint64_t forwarded = 0, cache_hits = 0, stale_answers = 0, joined = 0;
  std::uint64_t upstream_queries = 0, upstream_hedged = 0, upstream_tcp = 0;
  std::uint64_t upstream_mismatched = 0;  // answers that fit no question of ours: ignored
  std::uint64_t upstream_timeouts = 0, servfail = 0, refused = 0, limited = 0;
  std::uint64_t tcp_refused = 0, tcp_expired = 0;
};

// A row of `fairway show dns-upstreams`.
struct UpstreamStatus {
  net::SocketAddr addr;
  std::uint32_t srtt_us = 0;  // 0: not known yet
  std::uint64_t queries = 0, timeouts = 0;
};

class DnsServer {
 public:
  // Checks the configuration and starts the threads, in the calling thread's network namespace.
  // Answers SERVFAIL for cluster names until a zone is published.
  static Result<std::unique_ptr<DnsServer>> create(DnsConfig config);
  ~DnsServer();  // ends the threads; sockets that were handed in are closed, queries in flight are lost
  DnsServer(const DnsServer&) = delete;
  DnsServer& operator=(const DnsServer&) = delete;

  // Takes a bound UDP socket; a listening TCP socket. Any number of each, of either family.
  Status serve_udp(sys::Fd socket);
  Status serve_tcp(sys::Fd socket);

  void publish(std::shared_ptr<const compile::dns::Zone> zone);
  // Swaps the upstreams (resolv.conf of the node changed). The cache stays.
  Status set_upstreams(std::vector<net::SocketAddr> upstreams);

  DnsStats stats() const;
  std::vector<UpstreamStatus> upstreams() const;

 private:
  class Impl;
  explicit DnsServer(std::unique_ptr<Impl> impl);
  std::unique_ptr<Impl> impl_;
};

// Binds UDP and TCP on `addr`, for where no parent hands sockets over.
struct DnsSockets {
  sys::Fd udp, tcp;
};
Result<DnsSockets> bind_dns_sockets(const net::SocketAddr& addr);

}  // namespace fairway::dns
