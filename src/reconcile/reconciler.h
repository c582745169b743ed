// Reconciler: brings a table of rows outside (a BPF map, the kernel's routes) even with what is desired, and keeps at
// it: the one place of the flow that retries.
//
// Place: compile -> [desire] -> Target. Rows are independent of each other; where order matters across tables, a sink
// of its own keeps it (sinks/service_sink.h). It holds only what is not yet done: a row that was applied costs no memory.
// Status of a row: pending (asked for, not tried), failed (tried; the error says why, and when next), or in force.
// Invariants: the latest desire for a key wins; nothing is removed that was not asked to be, until prune().
// Belongs to the control thread. Time is the caller's, so that tests own it.
#pragma once

#include <algorithm>
#include <chrono>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fairway::reconcile {

using TimePoint = std::chrono::steady_clock::time_point;

// Doubles from 100 ms to 30 s.
inline std::chrono::milliseconds backoff(unsigned failures) {
  return std::min(std::chrono::milliseconds(100) * (1 << std::min(failures, 9U)), std::chrono::milliseconds(30'000));
}

// Idempotent: writing a row again and removing what is not there are no errors.
template <typename Key, typename Row>
class Target {
 public:
  virtual ~Target() = default;
  virtual Status update(const Key& key, const Row& row) = 0;
  virtual Status remove(const Key& key) = 0;
  // All of them or an error; then some may be in force.
  virtual Status update_batch(std::span<const std::pair<Key, Row>> rows) {
    for (const auto& [key, row] : rows) FW_TRY(update(key, row));
    return {};
  }
  virtual Result<std::vector<std::pair<Key, Row>>> dump() = 0;
  // Whether a row that is there needs no writing.
  virtual bool in_force(const Row& there, const Row& desired) const = 0;
};

template <typename Key, typename Row>
class Reconciler {
 public:
  explicit Reconciler(Target<Key, Row>& target) : target_(target) {}

  void desire(const Key& key, Row row) { open_[key] = Open{std::move(row), 0, {}, {}}; }
  void desire_gone(const Key& key) { open_[key] = Open{std::nullopt, 0, {}, {}}; }

  // Takes the desire back: the row is somebody else's now.
  void forget(const Key& key) { open_.erase(key); }

  // Does what is due: updates first, then removals.
  void run(TimePoint now) {
    std::vector<std::pair<Key, Row>> updates;
    std::vector<Key> removals;
    for (const auto& [key, open] : open_) {
      if (open.due > now) continue;
      if (open.row) updates.emplace_back(key, *open.row);
      else removals.push_back(key);
    }
    if (updates.size() > 1 && target_.update_batch(updates).ok()) {
      for (const auto& [key, row] : updates) open_.erase(key);
    } else {  // one by one: each gets its own answer
      for (const auto& [key, row] : updates) settle(key, target_.update(key, row), now);
    }
    for (const Key& key : removals) settle(key, target_.remove(key), now);
  }

  // Asks for whatever differs between the target and `desired`, and drops what nobody desires. `keep` names keys that
  // belong to others. Only once every source has synced.
  template <typename Keep>
  Status prune(const std::vector<std::pair<Key, Row>>& desired, Keep keep) {
    FW_ASSIGN(const auto there, target_.dump());
    std::map<Key, const Row*> present;
    for (const auto& [key, row] : there) present.emplace(key, &row);
    for (const auto& [key, row] : desired) {
      const auto it = present.find(key);
      if (it == present.end() || !target_.in_force(*it->second, row)) desire(key, row);
      if (it != present.end()) present.erase(it);
    }
    for (const auto& [key, row] : present)
      if (!keep(key)) desire_gone(key);
    return {};
  }

  std::optional<TimePoint> next_due() const {
    std::optional<TimePoint> out;
    for (const auto& [key, open] : open_)
      if (!out || open.due < *out) out = open.due;
    return out;
  }
  bool idle() const { return open_.empty(); }
  template <typename Visit>
  void for_each_failure(Visit visit) const {
    for (const auto& [key, open] : open_)
      if (open.error) visit(key, *open.error);
  }

 private:
  struct Open {
    std::optional<Row> row;  // nothing: to be removed
    unsigned failures = 0;
    TimePoint due{};
    std::optional<Error> error;
  };
  void settle(const Key& key, Status status, TimePoint now) {
    const auto it = open_.find(key);
    if (status.ok()) {
      open_.erase(it);
      return;
    }
    it->second.due = now + backoff(it->second.failures++);
    it->second.error = std::move(status).error();
  }

  Target<Key, Row>& target_;
  std::map<Key, Open> open_;
};

}  // namespace fairway::reconcile
