#include "dns/forwarder.h"

#include <algorithm>
#include <utility>

namespace fairway::dns {

namespace {

constexpr std::size_t kMaxTries = 8;      // queries sent for one question
constexpr milliseconds kStaleAfter{600};  // then an expired answer is better than more waiting
constexpr milliseconds kLeastPause{20}, kUnknownPause{150}, kMostPause{400};
constexpr double kMostRttMs = 3000;

double since_ms(Time then, Time now) { return std::chrono::duration<double, std::milli>(now - then).count(); }

}  // namespace

Forwarder::Forwarder(const DnsLimits& limits, std::size_t cache_bytes, std::vector<net::SocketAddr> upstreams, Transport& transport)
    : limits_(limits), cache_(cache_bytes, std::chrono::seconds(limits.stale_seconds)), transport_(transport) {
  set_upstreams(std::move(upstreams));
}

// Fetches under way keep the upstreams that they hold.
void Forwarder::set_upstreams(std::vector<net::SocketAddr> upstreams) {
  std::vector<std::shared_ptr<Upstream>> next;
  for (const auto& addr : upstreams) {
    auto known = std::find_if(upstreams_.begin(), upstreams_.end(), [&](const auto& u) { return u->addr == addr; });
    next.push_back(known != upstreams_.end() ? *known : std::make_shared<Upstream>(Upstream{.addr = addr}));
  }
  upstreams_ = std::move(next);
}

std::vector<UpstreamStatus> Forwarder::upstreams() const {
  std::vector<UpstreamStatus> out;
  for (const auto& u : upstreams_) {
    out.push_back(
        {.addr = u->addr, .srtt_us = static_cast<std::uint32_t>(u->srtt_ms * 1000), .queries = u->queries, .timeouts = u->timeouts});
  }
  return out;
}

void Forwarder::resolve(const CacheKey& key, Time now, Done done) {
  ++stats_.forwarded;
  Cache::Found found = cache_.find(key, now);
  if (found.fresh) {
    ++stats_.cache_hits;
    return done({.response = found.response});
  }
  if (auto it = fetches_.find(key); it != fetches_.end()) {
    Fetch& fetch = *it->second;
    if (fetch.stale && now >= fetch.stale_at) {
      ++stats_.stale_answers;
      return done({.response = fetch.stale, .stale = true});
    }
    if (fetch.waiters.size() >= limits_.waiters) {
      ++stats_.limited;
      return done({.ede = Ede::kNone, .why = "too many clients wait for this name"});
    }
    ++stats_.joined;
    fetch.waiters.push_back(std::move(done));
    return;
  }
  if (found.recently_failed) {
    if (found.response) {
      ++stats_.stale_answers;
      return done({.response = found.response, .stale = true});
    }
    ++stats_.servfail;
    return done({.ede = Ede::kNoReachable, .why = "no upstream resolver answered a moment ago"});
  }
  if (upstreams_.empty()) {
    ++stats_.refused;
    return done({.rcode = Rcode::kRefused,
                 .ede = Ede::kNotAuthoritative,
                 .why = "no upstream resolver is configured: only the cluster's names are known here"});
  }
  if (fetches_.size() >= limits_.in_flight) {
    ++stats_.limited;
    return done({.ede = Ede::kNone, .why = "too many questions are under way"});
  }
  start(key, now, std::move(done), found.response);
}

void Forwarder::start(const CacheKey& key, Time now, Done done, std::shared_ptr<const Response> stale) {
  auto owned = std::make_unique<Fetch>();
  Fetch& fetch = *owned;
  fetch.key = key;
  fetch.waiters.push_back(std::move(done));
  fetch.order = ranked();
  fetch.deadline = now + milliseconds(limits_.answer_ms);
  fetch.stale = std::move(stale);
  fetch.stale_at = now + kStaleAfter;
  double expected = fetch.order[0]->srtt_ms;
  fetch.pause = expected == 0 ? kUnknownPause : std::clamp(milliseconds(static_cast<int>(expected * 3)), kLeastPause, kMostPause);
  fetch.wakes = Time::max();
  fetches_.emplace(key, std::move(owned));
  try_next(fetch, now);
}

// The fastest first; those not asked drift back towards being asked (as in BIND), so that one that was slow is tried again.
std::vector<std::shared_ptr<Forwarder::Upstream>> Forwarder::ranked() const {
  auto out = upstreams_;
  std::stable_sort(out.begin(), out.end(), [](const auto& a, const auto& b) { return a->srtt_ms < b->srtt_ms; });
  for (std::size_t i = 1; i < out.size(); ++i) out[i]->srtt_ms *= 0.98;
  return out;
}

// Sends to the next upstream in order; those that cannot be sent to are passed over. Ends the fetch if none is left.
void Forwarder::try_next(Fetch& fetch, Time now) {
  while (fetch.tries < kMaxTries) {
    auto upstream = fetch.order[fetch.tries % fetch.order.size()];
    if (fetch.tries > 0 && !fetch.open.empty()) ++stats_.upstream_hedged;
    ++fetch.tries;
    if (send(fetch, upstream, false, !upstream->plain, now)) {
      fetch.next_try = fetch.tries < kMaxTries ? now + fetch.pause : Time::max();
      fetch.pause = std::min(fetch.pause * 2, kMostPause);
      return schedule(fetch);
    }
    ++fetch.failures;
    if (fetch.failures >= fetch.order.size() && fetch.open.empty()) return fail(fetch, now);
  }
  fetch.next_try = Time::max();
  if (fetch.open.empty()) return fail(fetch, now);
  schedule(fetch);
}

bool Forwarder::send(Fetch& fetch, const std::shared_ptr<Upstream>& upstream, bool tcp, bool edns, Time now) {
  Attempt attempt{.id = ++last_attempt_, .upstream = upstream, .dns_id = transport_.random_id(), .sent = now, .tcp = tcp, .edns = edns};
  auto query = make_query(attempt.dns_id, fetch.key.question, fetch.key.cd, fetch.key.ad, fetch.key.dnssec_ok && edns, edns);
  ++upstream->queries;
  ++stats_.upstream_queries;
  if (tcp) ++stats_.upstream_tcp;
  if (!transport_.send(attempt.id, upstream->addr, query, tcp)) return false;
  attempts_.emplace(attempt.id, &fetch);
  fetch.open.push_back(std::move(attempt));
  return true;
}

void Forwarder::on_message(std::uint64_t id, Bytes message, Time now) {
  auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  Fetch& fetch = *found->second;
  auto at = std::find_if(fetch.open.begin(), fetch.open.end(), [&](const Attempt& a) { return a.id == id; });
  UpstreamAnswer parsed;
  bool whole = parse_answer(message, parsed);
  bool fits = message.size() >= 12 && parsed.response && parsed.opcode == 0 && parsed.id == at->dns_id &&
              (!parsed.has_question || parsed.question == fetch.key.question);
  if (!fits) {  // somebody else's, or forged: go on waiting for the real one
    ++stats_.upstream_mismatched;
    return;
  }
  Attempt attempt = *at;
  auto give_up = [&] {
    transport_.cancel(id);
    attempts_.erase(id);
    fetch.open.erase(at);
  };
  bool understood = parsed.rcode == static_cast<unsigned>(Rcode::kNoError) || parsed.rcode == static_cast<unsigned>(Rcode::kNxDomain);
  if (whole && understood && parsed.has_question && !parsed.truncated) {
    return succeed(fetch, attempt, keep_response(message, parsed, now), now);
  }
  give_up();
  if (whole && understood && parsed.has_question && !attempt.tcp) {  // truncated
    if (send(fetch, attempt.upstream, true, attempt.edns, now)) return schedule(fetch);
  } else if (whole && attempt.edns && !parsed.edns &&
             (parsed.rcode == static_cast<unsigned>(Rcode::kFormErr) || parsed.rcode == static_cast<unsigned>(Rcode::kNotImp))) {
    attempt.upstream->plain = true;  // an old one that knows no EDNS (RFC 6891 6.2.2)
    if (send(fetch, attempt.upstream, attempt.tcp, false, now)) return schedule(fetch);
  } else {
    fetch.servfail |= parsed.rcode == static_cast<unsigned>(Rcode::kServFail);
  }
  attempt_failed(fetch, now);
}

void Forwarder::on_error(std::uint64_t id, Time now) {
  auto found = attempts_.find(id);
  if (found == attempts_.end()) return;
  Fetch& fetch = *found->second;
  auto at = std::find_if(fetch.open.begin(), fetch.open.end(), [&](const Attempt& a) { return a.id == id; });
  at->upstream->srtt_ms = std::min(std::max(at->upstream->srtt_ms, 50.0) * 2, kMostRttMs);
  transport_.cancel(id);
  attempts_.erase(found);
  fetch.open.erase(at);
  attempt_failed(fetch, now);
}

// At once to the next upstream; the end once each has failed and none is still awaited.
void Forwarder::attempt_failed(Fetch& fetch, Time now) {
  ++fetch.failures;
  if (fetch.failures >= fetch.order.size()) {
    if (fetch.open.empty()) return fail(fetch, now);
    return schedule(fetch);
  }
  if (fetch.tries < fetch.order.size()) return try_next(fetch, now);
  schedule(fetch);
}

void Forwarder::learn(const Fetch& fetch, const Attempt& by, Time now) {
  double took = std::max(since_ms(by.sent, now), 0.01);
  double& srtt = by.upstream->srtt_ms;
  srtt = srtt == 0 ? took : srtt * 0.7 + took * 0.3;
  for (const Attempt& other : fetch.open) {  // slower than the one that answered, by this much at least
    if (other.upstream != by.upstream)
      other.upstream->srtt_ms =
          std::clamp(since_ms(other.sent, now), other.upstream->srtt_ms, std::max(kMostRttMs, other.upstream->srtt_ms));
  }
}

void Forwarder::succeed(Fetch& fetch, const Attempt& by, std::shared_ptr<const Response> response, Time now) {
  learn(fetch, by, now);
  cache_.put(fetch.key, response, now);
  finish(fetch, {.response = std::move(response)});
}

void Forwarder::fail(Fetch& fetch, Time now) {
  for (const Attempt& a : fetch.open) {
    ++a.upstream->timeouts;
    ++stats_.upstream_timeouts;
    a.upstream->srtt_ms = std::min(std::max(a.upstream->srtt_ms, since_ms(a.sent, now)) * 2, kMostRttMs);
  }
  cache_.put_failure(fetch.key, now);
  if (fetch.stale) {
    stats_.stale_answers += fetch.waiters.size();
    return finish(fetch, {.response = fetch.stale, .stale = true});
  }
  stats_.servfail += fetch.waiters.size();
  if (fetch.servfail) return finish(fetch, {.ede = Ede::kNetworkError, .why = "the upstream resolvers answered SERVFAIL"});
  finish(fetch, {.ede = Ede::kNoReachable, .why = "no upstream resolver answered"});
}

void Forwarder::answer(Fetch& fetch, const Outcome& outcome) {
  auto waiters = std::exchange(fetch.waiters, {});
  for (const Done& done : waiters) done(outcome);
}

// Ends the fetch before its waiters hear of it: they may ask again at once.
void Forwarder::finish(Fetch& fetch, const Outcome& outcome) {
  for (const Attempt& a : fetch.open) {
    transport_.cancel(a.id);
    attempts_.erase(a.id);
  }
  timers_.erase({fetch.wakes, &fetch});
  auto node = fetches_.extract(fetch.key);
  answer(*node.mapped(), outcome);
}

// The fetch goes on for the cache's sake.
void Forwarder::serve_stale(Fetch& fetch) {
  stats_.stale_answers += fetch.waiters.size();
  answer(fetch, {.response = fetch.stale, .stale = true});
}

void Forwarder::schedule(Fetch& fetch) {
  timers_.erase({fetch.wakes, &fetch});
  fetch.wakes = std::min(fetch.deadline, fetch.next_try);
  if (fetch.stale && !fetch.waiters.empty()) fetch.wakes = std::min(fetch.wakes, fetch.stale_at);
  timers_.emplace(fetch.wakes, &fetch);
}

std::optional<Time> Forwarder::next_time() const {
  if (timers_.empty()) return std::nullopt;
  return timers_.begin()->first;
}

void Forwarder::on_time(Time now) {
  while (!timers_.empty() && timers_.begin()->first <= now) {
    Fetch& fetch = *timers_.begin()->second;
    if (now >= fetch.deadline) {
      fail(fetch, now);
    } else if (fetch.stale && !fetch.waiters.empty() && now >= fetch.stale_at) {
      serve_stale(fetch);
      schedule(fetch);
    } else {
      try_next(fetch, now);
    }
  }
}

}  // namespace fairway::dns
