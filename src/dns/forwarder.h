// Forwarder: asks upstreams on behalf of clients. The logic alone: time comes in as an argument, packets go out
// through Transport, so tests run it without sockets or waiting.
//
// Invariants:
// - one question is out at most once, however many clients wait for it (no birthday attack);
// - each attempt has a fresh id and, through Transport, a fresh port; what does not fit its question is ignored,
//   and the attempt goes on waiting;
// - every resolve() ends in its Done exactly once, within `answer_ms`, whatever the upstreams do.
// Thread: one, that of its worker.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "dns/cache.h"
#include "dns/dns_server.h"
#include "net/ip.h"

namespace fairway::dns {

class Transport {
 public:
  virtual ~Transport() = default;
  // Sends one query for `attempt` from a socket of its own. False: it could not be sent, and nothing will follow.
  virtual bool send(std::uint64_t attempt, const net::SocketAddr& upstream, Bytes query, bool tcp) = 0;
  virtual void cancel(std::uint64_t attempt) = 0;  // closes its socket; unknown attempts are no error
  virtual std::uint16_t random_id() = 0;           // from a cryptographic source
};

struct Outcome {
  std::shared_ptr<const Response> response;  // null: failure
  bool stale = false;
  Rcode rcode = Rcode::kServFail;  // of the failure
  Ede ede = Ede::kNone;
  std::string_view why;  // a literal
};

class Forwarder {
 public:
  using Done = std::function<void(const Outcome&)>;

  Forwarder(const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams, Transport& transport);

  // May call `done` before it returns.
  void resolve(const CacheKey& key, Time now, Done done);
  // A message came for an attempt, or its socket failed.
  void on_message(std::uint64_t attempt, Bytes message, Time now);
  void on_error(std::uint64_t attempt, Time now);
  void on_time(Time now);
  std::optional<Time> next_time() const;

  void set_upstreams(std::vector<net::SocketAddr> upstreams);
  std::vector<UpstreamStatus> upstreams() const;
  const DnsStats& stats() const { return stats_; }
  std::size_t in_flight() const { return fetches_.size(); }

 private:
  struct Upstream {
    net::SocketAddr addr;
    double srtt_ms = 0;  // 0: unknown, tried first
    bool plain = false;  // refused EDNS
    std::uint64_t queries = 0, timeouts = 0;
  };
  struct Attempt {
    std::uint64_t id = 0;
    std::shared_ptr<Upstream> upstream;
    std::uint16_t dns_id = 0;
    Time sent;
    bool tcp = false, edns = true;
  };
  struct Fetch {
    CacheKey key;
    std::vector<Done> waiters;
    std::vector<Attempt> open;
    std::vector<std::shared_ptr<Upstream>> order;  // best first
    std::size_t tries = 0;
    std::size_t failures = 0;  // attempts that ended without an answer
    bool servfail = false;     // an upstream said so itself
    Time deadline, next_try, stale_at, wakes;
    milliseconds pause{0};                  // until the next try; doubles
    std::shared_ptr<const Response> stale;  // what there is if nothing better comes
  };

  void start(const CacheKey& key, Time now, Done done, std::shared_ptr<const Response> stale);
  std::vector<std::shared_ptr<Upstream>> ranked() const;
  void try_next(Fetch& fetch, Time now);
  bool send(Fetch& fetch, const std::shared_ptr<Upstream>& upstream, bool tcp, bool edns, Time now);
  void attempt_failed(Fetch& fetch, Time now);
  void succeed(Fetch& fetch, const Attempt& by, std::shared_ptr<const Response> response, Time now);
  void fail(Fetch& fetch, Time now);
  void answer(Fetch& fetch, const Outcome& outcome);
  void finish(Fetch& fetch, const Outcome& outcome);
  void serve_stale(Fetch& fetch);
  void schedule(Fetch& fetch);
  void learn(const Fetch& fetch, const Attempt& by, Time now);

  DnsLimits limits_;
  Cache cache_;
  std::vector<std::shared_ptr<Upstream>> upstreams_;
  Transport& transport_;
  std::unordered_map<CacheKey, std::unique_ptr<Fetch>, CacheKeyHash> fetches_;
  std::unordered_map<std::uint64_t, Fetch*> attempts_;
  std::set<std::pair<Time, Fetch*>> timers_;
  std::uint64_t last_attempt_ = 0;
  DnsStats stats_;
};

}  // namespace fairway::dns
