#include "dns/cache.h"

#include <sys/random.h>

#include <cstring>
#include <string_view>

namespace fairway::dns {

namespace {

constexpr auto kFailureFor = std::chrono::seconds(1);       // with nothing to serve instead
constexpr auto kStaleRetryAfter = std::chrono::seconds(5);  // with a stale answer at hand

// Clients choose the keys, so where they fall is not theirs to know.
std::uint64_t process_seed() {
  static const std::uint64_t seed = [] {
    std::uint64_t s = 0;
    if (getrandom(&s, sizeof s, 0) != sizeof s) s = 0x9e3779b97f4a7c15ull;
    return s;
  }();
  return seed;
}

std::uint64_t mix(std::uint64_t h, std::uint64_t v) {
  h = (h ^ v) * 0x9fb21c651e98df25ull;
  return h ^ (h >> 32);
}

}  // namespace

std::size_t CacheKeyHash::operator()(const CacheKey& key) const noexcept {
  Bytes name = key.question.name.wire();
  std::uint64_t h = mix(process_seed(), name.size());
  for (std::size_t at = 0; at < name.size(); at += 8) {
    std::uint64_t word = 0;
    std::memcpy(&word, name.data() + at, std::min<std::size_t>(8, name.size() - at));
    h = mix(h, word);
  }
  std::uint64_t bits = std::uint64_t{key.question.type} << 32 | std::uint64_t{key.question.klass} << 8 | (key.cd ? 1u : 0u) |
                       (key.ad ? 2u : 0u) | (key.dnssec_ok ? 4u : 0u);
  return mix(mix(h, bits), process_seed() >> 7);
}

CacheKey cache_key(const Query& query, const Name& name) {
  return {.question = {name, query.question.type, query.question.klass}, .cd = query.cd, .ad = query.ad, .dnssec_ok = query.dnssec_ok};
}

Cache::Entry& Cache::touch(const CacheKey& key) {
  auto [it, added] = entries_.try_emplace(key);
  if (added) {
    uses_.push_front(key);
    it->second.use = uses_.begin();
  } else {
    uses_.splice(uses_.begin(), uses_, it->second.use);
  }
  return it->second;
}

void Cache::erase(std::unordered_map<CacheKey, Entry, CacheKeyHash>::iterator it) {
  bytes_ -= it->second.bytes;
  uses_.erase(it->second.use);
  entries_.erase(it);
}

void Cache::account(Entry& entry) {
  bytes_ -= entry.bytes;
  entry.bytes = 2 * sizeof(CacheKey) + sizeof(Entry) + 64 + (entry.response ? entry.response->size_bytes() : 0);
  bytes_ += entry.bytes;
  while (bytes_ > limit_bytes_ && !uses_.empty()) erase(entries_.find(uses_.back()));
}

Cache::Found Cache::find(const CacheKey& key, Time now) {
  auto it = entries_.find(key);
  if (it == entries_.end()) return {};
  Entry& entry = it->second;
  bool fresh = entry.response && now < entry.fresh_until;
  bool usable = entry.response && now < entry.fresh_until + stale_for_;
  bool failed = now < entry.retry_after;
  if (!usable && !failed) {
    erase(it);
    return {};
  }
  uses_.splice(uses_.begin(), uses_, entry.use);
  return {.response = usable ? entry.response : nullptr, .fresh = fresh, .recently_failed = failed};
}

void Cache::put(const CacheKey& key, std::shared_ptr<const Response> response, Time now) {
  if (response->ttl_seconds == 0) return;
  Entry& entry = touch(key);
  entry.fresh_until = now + std::chrono::seconds(response->ttl_seconds);
  entry.retry_after = {};
  entry.response = std::move(response);
  account(entry);
}

void Cache::put_failure(const CacheKey& key, Time now) {
  Entry& entry = touch(key);
  entry.retry_after = now + (entry.response ? kStaleRetryAfter : kFailureFor);
  account(entry);
}

}  // namespace fairway::dns
