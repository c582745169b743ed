// WatchHub: hands the store's events to watchers, through their selectors.
//
// An event is serialised once for all watchers that see it in the same way (WatchEvent::line). What a selector no
// longer matches is a deletion to its watcher, what it newly matches an addition. Callbacks must not call back in.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <unordered_map>
#include <vector>

#include "apiserver/selectors.h"
#include "apiserver/store.h"

namespace fairway::apiserver {

struct WatchEvent {
  enum class Type { kAdded, kModified, kDeleted, kBookmark, kError };
  Type type;
  ObjectPtr object;                         // of the first three
  std::shared_ptr<const std::string> line;  // {"type":...,"object":...}\n
  std::uint64_t revision = 0;
  bool initial_end = false;  // the bookmark that ends the initial events
};
std::string_view to_string(WatchEvent::Type type);

struct WatchQuery {
  std::string collection;
  std::string api_version, kind;  // of bookmarks
  std::string ns;                 // empty: all
  LabelSelector labels;
  FieldSelector fields;
  std::optional<std::uint64_t> since;  // nothing: begin with what is there
  bool bookmarks = false;
  bool mark_initial_end = false;  // sendInitialEvents
};

bool selects(const WatchQuery& query, const StoredObject& object);

class WatchHub {
 public:
  using Callback = std::function<void(const WatchEvent&)>;

  // Destroying it ends the watch.
  class Handle {
   public:
    ~Handle();

   private:
    friend class WatchHub;
    std::shared_ptr<struct Watcher> watcher_;
  };

  explicit WatchHub(Store& store);

  // The events that are due come inside the call. Nothing: `since` is too old.
  std::unique_ptr<Handle> start(WatchQuery query, Callback callback);
  void send_bookmarks();
  std::size_t watchers() const;

  // Fault injection: what a watcher gets in place of the next events of all collections.
  struct Faults {
    unsigned duplicate = 0;  // send so many events twice
    unsigned swap = 0;       // hold an event back until after the next one, so many times
    unsigned drop = 0;       // lose so many events
  };
  Faults faults;
  void end_all(std::optional<std::string> error_line);  // cut; with a line: sent as an ERROR event before

 private:
  void on_event(const EventPtr& event);
  void dispatch(const EventPtr& event);
  void deliver(Watcher& watcher, const StoreEvent& event, std::shared_ptr<const std::string> (&lines)[3]);
  void bookmark(Watcher& watcher, bool initial_end);

  Store& store_;
  std::unordered_map<std::string, std::vector<std::shared_ptr<Watcher>>> by_collection_;
  EventPtr held_;
};

}  // namespace fairway::apiserver
