// Store: all objects, in memory and written through to SQLite, with a window of past events for watches.
//
// Invariants: put() and remove() return only after SQLite's commit (WAL: kill -9 loses nothing); the revision
// (resourceVersion) only grows, over restarts too; a StoredObject never changes, so text and tree are shared freely.
// A collection's key is "group/resource"; what is in it is ordered by namespace and name, which continue tokens rely on.
#pragma once

#include <cstdint>
#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "apiserver/json_util.h"
#include "base/result.h"

struct sqlite3;
struct sqlite3_stmt;

namespace fairway::apiserver {

struct StoredObject {
  Json value;
  std::string text;  // the same as JSON, made once for the disk, for lists and for watches
  std::uint64_t revision = 0;
  std::string ns, name;
};
using ObjectPtr = std::shared_ptr<const StoredObject>;

enum class Change { kAdded, kModified, kDeleted };

struct StoreEvent {
  Change change;
  std::string collection;
  std::uint64_t revision;
  ObjectPtr object;  // when deleted: the last state, with the deletion's revision
  ObjectPtr before;  // null when added
};
using EventPtr = std::shared_ptr<const StoreEvent>;

inline constexpr std::size_t kMaxObjectBytes = 1536 << 10;  // etcd's limit, which clients know

inline constexpr std::size_t kMaxHistoryBytes = 32 << 20;  // of a collection's past events, as text

class Store {
 public:
  using Key = std::pair<std::string, std::string>;  // namespace, name
  using Objects = std::map<Key, ObjectPtr>;

  // `path` empty: nothing is kept.
  static Result<std::unique_ptr<Store>> open(const std::string& path, std::size_t history);
  ~Store();
  Store(const Store&) = delete;
  Store& operator=(const Store&) = delete;

  std::uint64_t revision() const { return revision_; }
  ObjectPtr get(std::string_view collection, std::string_view ns, std::string_view name) const;
  const Objects& objects(std::string_view collection) const;

  // Sets metadata.resourceVersion. The object's key is its own namespace and name. kExhausted: larger than kMaxObjectBytes.
  Result<ObjectPtr> put(std::string_view collection, Json object);
  Result<ObjectPtr> remove(std::string_view collection, std::string_view ns, std::string_view name);

  // Events after `since`, in order; false when some of them are no longer known (410).
  bool events_since(std::string_view collection, std::uint64_t since, std::vector<EventPtr>& out) const;
  void forget_history();  // every watch that is behind is too old: after a restart, and for fault injection

  // Called for each event once it is durable. Listeners stay for the store's life.
  void listen(std::function<void(const EventPtr&)> listener) { listeners_.push_back(std::move(listener)); }

 private:
  struct Collection {
    Objects objects;
    std::deque<EventPtr> history;
    std::size_t history_bytes = 0;
    std::uint64_t forgotten = 0;  // events up to here are not in `history`
  };
  explicit Store(std::size_t history) : history_(history) {}
  Status open_database(const std::string& path);
  Status load();
  Status write(sqlite3_stmt* statement, std::string_view collection, std::string_view ns, std::string_view name, std::uint64_t revision,
               const std::string* text);
  Status step(sqlite3_stmt* statement);
  Collection& collection(std::string_view name);
  void publish(Collection& collection, StoreEvent event);

  std::size_t history_;
  std::uint64_t revision_ = 1;
  std::uint64_t first_revision_ = 1;  // at start: no older event is known
  std::map<std::string, Collection, std::less<>> collections_;
  std::vector<std::function<void(const EventPtr&)>> listeners_;
  sqlite3* db_ = nullptr;
  sqlite3_stmt* upsert_ = nullptr;
  sqlite3_stmt* erase_ = nullptr;
  sqlite3_stmt* revision_statement_ = nullptr;
};

}  // namespace fairway::apiserver
