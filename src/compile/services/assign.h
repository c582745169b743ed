// Assignment: gives the compiled Services their ids (backends, slots, frontends) and says which rows change. Pure:
// the ids are its input (adopt_*: what the pinned maps hold) and its output (the rows).
//
// Place: compile -> [Assignment] -> sinks. It remembers what it has assigned, so that a change costs the change:
// a new endpoint is a backend, a slot and a frontend row; one that goes is a moved slot, a frontend row and a backend.
// Invariants:
// - set() is all or nothing: where ids run out, nothing changes and the error says of what;
// - a Service's rows mean the same whatever came before (step by step ≡ all at once), though ids may differ;
// - an id or run that was given up is given out again only after released() and then two calls of cool_down(): a
//   program that read the old row may still be running, and a failed removal may have left the row in the map;
// - a frontend belongs to the Service that had it first; another that wants it is refused and named.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "abi/services.h"
#include "base/result.h"
#include "compile/services/compile.h"
#include "compile/services/slot_runs.h"

namespace fairway::compile::services {

inline bool operator==(const fw_frontend_key& a, const fw_frontend_key& b) { return __builtin_memcmp(&a, &b, sizeof(a)) == 0; }

fw_frontend_key to_abi(const FrontendKey& key);
FrontendKey from_abi(const fw_frontend_key& key);

// Rows to write and to remove, to be applied in the order of the fields.
struct Change {
  std::vector<std::pair<std::uint32_t, fw_backend>> backends;
  std::vector<std::pair<std::uint32_t, std::uint32_t>> slots;  // index, backend
  std::vector<std::pair<fw_frontend_key, fw_frontend>> frontends;
  std::vector<fw_frontend_key> frontends_gone;
  std::vector<std::pair<std::uint32_t, fw_backend>> backends_after;  // rows that must not change before the frontends
  std::vector<std::uint32_t> backends_gone;
  std::vector<Run> runs_gone;            // no rows to write: for released()
  std::vector<model::Problem> problems;  // frontends that another Service has
  bool empty() const {
    return backends.empty() && slots.empty() && frontends.empty() && frontends_gone.empty() && backends_after.empty() &&
           backends_gone.empty() && runs_gone.empty();
  }
};

class Assignment {
 public:
  // `generation`: backends made from now on are told from all earlier ones by generations from this on.
  Assignment(std::uint32_t slots, std::uint32_t generation);
  ~Assignment();

  // Takes over what the pinned maps hold, before the first set(): backends first, then frontends, with their slots
  // in order. Rows that make no sense (a run that overlaps) are not taken: false.
  bool adopt_backend(std::uint32_t id, const fw_backend& row);
  bool adopt_frontend(const fw_frontend_key& key, const fw_frontend& row, const std::vector<std::uint32_t>& slots);
  // Gives up what was adopted and no Service has claimed. Only once every source has synced.
  Change release_unclaimed();

  // `service`: the caller's number for it, small. No frontends: the Service is gone.
  Result<Change> set(std::uint32_t service, const std::vector<Frontend>& frontends);
  // The array of slots has become longer.
  void grow_slots(std::uint32_t slots);
  std::uint32_t slots() const;       // how many there are, used or not
  std::uint32_t slots_used() const;  // up to the last one that ever was in use

  // All rows of a Service, for repeating what failed. Writes only.
  Change rows_of(std::uint32_t service) const;
  // The ids of a change that has been applied are free again (after they have cooled down).
  void released(const Change& change);
  void cool_down();

  bool has_frontend(const fw_frontend_key& key) const;
  // The backend's row as it should be now; nothing if there is none.
  std::optional<fw_backend> backend(std::uint32_t id) const;

  // Every row there should be, for coming even with a map's dump.
  void for_each_frontend(const std::function<void(const fw_frontend_key&, const fw_frontend&)>& visit) const;
  void for_each_slot(const std::function<void(std::uint32_t index, std::uint32_t backend)>& visit) const;
  void for_each_backend(const std::function<void(std::uint32_t id, const fw_backend&)>& visit) const;
  std::size_t frontends() const;
  std::size_t backends() const;
  // The Service's number; nothing for what is adopted and not claimed.
  std::optional<std::uint32_t> owner(const fw_frontend_key& key) const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::compile::services
