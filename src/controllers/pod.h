// What controllers ask of a Pod.
#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "controllers/json.h"

namespace fairway::controllers {

bool is_finished(const Json& pod);  // phase Succeeded or Failed: will not run again
bool is_active(const Json& pod);    // neither finished nor being deleted
const Json* pod_condition(const Json& pod, std::string_view type);
bool is_ready(const Json& pod);
std::optional<WallTime> ready_since(const Json& pod);
// Ready for `min_ready_seconds`; if only that is missing, `until` says how long it still takes.
bool is_available(const Json& pod, std::int64_t min_ready_seconds, WallTime now, std::optional<std::chrono::milliseconds>* until = nullptr);

// A quantity such as "100m", "1.5", "2Gi": in thousandths.
std::optional<std::int64_t> parse_milli(const Json* quantity);
struct Resources {
  std::int64_t cpu_milli = 0;
  std::int64_t memory_bytes = 0;
};
// The larger of the containers' sum and each init container's own, as the scheduler counts.
Resources requests_of(const Json& pod);

bool tolerates(const Json& pod, const Json& taint);
// The pod's tolerations for this taint: absent = none; else for how long (no value: for ever).
struct Tolerance {
  bool tolerated = false;
  std::optional<std::int64_t> seconds;
};
Tolerance tolerance_of(const Json& pod, const Json& taint);

// Which pods a ReplicaSet gives up first: true if `a` goes before `b` (Kubernetes' ActivePodsWithRanks).
// The ranks are the numbers of the set's pods on each one's node.
struct Candidate {
  const Json* pod;
  int rank = 0;
};
bool goes_first(const Candidate& a, const Candidate& b, WallTime now);

}  // namespace fairway::controllers
