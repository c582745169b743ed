// Cache: upstream answers, bounded in bytes, least recently used first out.
//
// The key holds every bit of a query that can change its answer (CVE-2024-0874): name, type, class, CD, AD, DO.
// An expired answer stays for a while, to serve when no upstream does (RFC 8767).
#pragma once

#include <cstddef>
#include <list>
#include <memory>
#include <unordered_map>

#include "dns/response.h"

namespace fairway::dns {

struct CacheKey {
  Question question;
  bool cd = false, ad = false, dnssec_ok = false;
  bool operator==(const CacheKey&) const = default;
};
struct CacheKeyHash {
  std::size_t operator()(const CacheKey& key) const noexcept;
};
CacheKey cache_key(const Query& query, const Name& name);

class Cache {
 public:
  Cache(std::size_t limit_bytes, std::chrono::seconds stale_for) : limit_bytes_(limit_bytes), stale_for_(stale_for) {}

  struct Found {
    std::shared_ptr<const Response> response;  // null: nothing kept
    bool fresh = false;
    bool recently_failed = false;  // a refresh failed a moment ago: do not try, and do not wait, again
  };
  Found find(const CacheKey& key, Time now);
  void put(const CacheKey& key, std::shared_ptr<const Response> response, Time now);
  // No upstream answered (RFC 9520): remembered for a short time, beside the stale answer if there is one.
  void put_failure(const CacheKey& key, Time now);
  std::size_t size_bytes() const { return bytes_; }
  std::size_t size() const { return entries_.size(); }

 private:
  struct Entry {
    std::shared_ptr<const Response> response;
    Time fresh_until, retry_after;
    std::list<CacheKey>::iterator use;
    std::size_t bytes = 0;
  };
  Entry& touch(const CacheKey& key);
  void account(Entry& entry);
  void erase(std::unordered_map<CacheKey, Entry, CacheKeyHash>::iterator it);

  std::size_t limit_bytes_;
  std::chrono::seconds stale_for_;
  std::size_t bytes_ = 0;
  std::unordered_map<CacheKey, Entry, CacheKeyHash> entries_;
  std::list<CacheKey> uses_;  // most recent first
};

}  // namespace fairway::dns
