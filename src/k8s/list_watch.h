// ListWatch: one kind of object, listed and watched, as a stream of puts and removals into the cluster's tables.
//
// Place: HttpClient -> [ListWatch] -> reflect::Cluster. It keeps no object.
// Guarantees: a list (paged) is bracketed by on_list_begin and on_list_end, whatever happens in between a list that is
// given up is followed by another on_list_begin; after a lost watch it goes on from the last revision seen, and lists
// again only where the server says that it is too old (410) or sends events out of order; silence counts as loss; retries with jittered
// backoff, through the API servers in turn, and never gives up. Belongs to the control thread; callbacks come on the loop.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>

#include "io/loop.h"
#include "k8s/api_servers.h"
#include "k8s/objects.h"

namespace fairway::k8s {

struct ListWatchTiming {
  unsigned page_items = 500;
  std::chrono::milliseconds silence{90'000};  // longer than two bookmarks' distance
  std::chrono::seconds watch_lifetime{300};   // asked of the server, less a random third
  std::chrono::milliseconds backoff_min{200};
  std::chrono::milliseconds backoff_max{10'000};
  std::chrono::milliseconds absent_retry{30'000};  // where the API is not installed
};

class ListWatch {
 public:
  struct Callbacks {
    std::function<void()> on_list_begin;
    std::function<void(const SlimObject&)> on_put;
    std::function<void(const SlimObject&)> on_remove;
    std::function<void()> on_list_end;
    std::function<void()> on_batch;  // after the events of one piece of the stream, or a page
    // Set where the API may not be installed: the server answered 404 to the list, so many times in a row. The first
    // few come soon after each other, as one alone may be a server's that is just starting.
    std::function<void(unsigned times)> on_absent;
  };
  struct State {
    bool synced = false;     // listed at least once
    std::string phase;       // "listing", "watching", "waiting", "absent"
    std::string revision;    // resourceVersion up to which all is known
    std::string last_error;  // of the present trouble; empty while all is well
    std::uint64_t events = 0, lists = 0, reconnects = 0;
    std::chrono::steady_clock::time_point heard{};  // last bytes from the server
  };

  // `path`: "/api/v1/pods".
  ListWatch(io::Loop& loop, ApiServers& servers, Kind kind, std::string path, Callbacks callbacks, ListWatchTiming timing = {});
  ~ListWatch();
  ListWatch(const ListWatch&) = delete;
  ListWatch& operator=(const ListWatch&) = delete;

  const State& state() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::k8s
