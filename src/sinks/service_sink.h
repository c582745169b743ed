// ServiceSink: the rows of Services into `backends`, `svc_slots` and `frontends`, so that no packet ever sees a half.
//
// Place: Assignment -> [ServiceSink] -> maps. Make-before-break: backends, slots, frontends; then frontends that go,
// then backends. A unit is one Service's change: it is applied whole or kept, its old rows left in force, and retried
// with backoff; the others go on. The ids of what was removed return to the assignment only when the removal is done.
// A cold sync is a few batch calls for all Services together.
// Belongs to the control thread.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <set>
#include <utility>
#include <vector>

#include "compile/services/assign.h"
#include "datapath/map.h"
#include "reconcile/reconciler.h"

namespace fairway::sinks {

struct ServiceMaps {
  datapath::Map<fw_frontend_key, fw_frontend>& frontends;
  datapath::Map<std::uint32_t, std::uint32_t>& slots;
  datapath::Map<std::uint32_t, fw_backend>& backends;
};

class ServiceSink {
 public:
  using Assignment = compile::services::Assignment;
  using Change = compile::services::Change;
  using Unit = std::pair<std::uint32_t, Change>;           // the Service's number
  static constexpr std::uint32_t kNoService = UINT32_MAX;  // for changes that belong to none (release_unclaimed)

  ServiceSink(ServiceMaps maps, Assignment& assignment) : maps_(maps), assignment_(assignment) {}

  // Feeds what the maps hold to the assignment. Once, before anything else. Returns the rows that were not fit.
  Result<std::size_t> adopt();

  // Both return the Services whose rows are in force now.
  std::vector<std::uint32_t> apply(std::vector<Unit> units, reconcile::TimePoint now);
  std::vector<std::uint32_t> retry(reconcile::TimePoint now);
  std::optional<reconcile::TimePoint> next_due() const;

  // Compares all three maps with the assignment, writes what differs (unless units wait for a retry: that is theirs) and
  // removes what is in excess. Only once every source has synced. Returns the rows that were not as they should be.
  Result<std::size_t> resync();

  struct Failure {
    Change gone;  // removals that are still owed
    Error error;
    unsigned failures = 0;
    reconcile::TimePoint due{};
  };
  const std::map<std::uint32_t, Failure>& failures() const { return failures_; }
  // Backends that nobody uses any more and whose rows could not be removed yet.
  const std::optional<Error>& removal_error() const { return unused_.error; }

 private:
  Status write(const std::vector<const Change*>& changes);
  Status remove_frontends(const std::vector<const Change*>& changes);
  bool apply_together(const std::vector<Unit>& units, reconcile::TimePoint now);
  void retire(const std::vector<const Change*>& done, reconcile::TimePoint now);
  void remove_unused(reconcile::TimePoint now);
  std::optional<std::set<std::uint32_t>> stood_on() const;
  void fail(std::uint32_t service, Change gone, Error error, reconcile::TimePoint now);

  ServiceMaps maps_;
  Assignment& assignment_;
  std::map<std::uint32_t, Failure> failures_;
  // Backends to be removed: at once, but for those that the old rows of a failed unit still lead to.
  struct Unused {
    std::vector<std::uint32_t> ids;
    std::optional<Error> error;
    unsigned failures = 0;
    reconcile::TimePoint due{};
  } unused_;
};

}  // namespace fairway::sinks
