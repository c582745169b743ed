// Informer: a local copy of one resource, kept by list and watch, over any ApiClient.
//
// Guarantees: `on_change` sees each key's latest state (older ones may be skipped), deletions included;
// a relist after 410 is a mark-and-sweep diff against the copy, so nothing is forgotten or repeated.
// Retries with jittered backoff (0.2 s to 30 s) and never gives up. Events from one watch arrive in order.
// For controllers and the node runtime; the agent's hot path has its own simdjson reader (watch_stream.h).
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <unordered_map>

#include "io/loop.h"
#include "k8s/api_client.h"

namespace fairway::k8s {

class Informer {
 public:
  using Key = std::string;  // "namespace/name", or "name"
  struct Callbacks {
    // `before` or `after` is null for an addition or deletion.
    std::function<void(const Key&, const Json* before, const Json* after)> on_change;
    std::function<void()> on_synced;  // once, after the first complete list
  };
  Informer(io::Loop& loop, ApiClient& client, ResourceRef ref, ListOptions options, Callbacks callbacks);
  ~Informer();
  Informer(const Informer&) = delete;
  Informer& operator=(const Informer&) = delete;

  bool synced() const;
  const std::unordered_map<Key, Json>& objects() const;
  const Json* find(const Key& key) const;

 private:
  struct Impl;
  std::shared_ptr<Impl> impl_;
};

std::string key_of(const Json& object);  // "ns/name" or "name"

}  // namespace fairway::k8s
