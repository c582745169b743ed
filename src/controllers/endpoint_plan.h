// What the EndpointSlices and Endpoints of a Service should be, from the Service, its pods and the slices there are:
// pure functions. Churn is minimal: an endpoint that stays keeps its slice, and a slice that stays the same is not written.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "controllers/json.h"

namespace fairway::controllers {

// The label that tells which controller owns a slice.
inline constexpr std::string_view kManagedBy = "endpointslice.kubernetes.io/managed-by";
inline constexpr std::size_t kMaxEndpointsPerSlice = 100;
inline constexpr std::size_t kMaxEndpointsAddresses = 1000;

struct SlicePlan {
  std::vector<Json> create, update, remove;
  bool empty() const { return create.empty() && update.empty() && remove.empty(); }
};

// The zone of a node by name, or empty.
using ZoneOf = std::function<std::string(std::string_view node)>;

// `pods` are those that the Service's selector matches.
SlicePlan plan_slices(const Json& service, const std::vector<const Json*>& pods, const std::vector<const Json*>& existing,
                      const ZoneOf& zone_of);

// The Endpoints object for the Service's first family; labels and annotations complete.
Json plan_endpoints(const Json& service, const std::vector<const Json*>& pods);

// The ports of `service` as they are on this pod: named targetPorts resolved; those that it lacks are left out.
json::array ports_on_pod(const Json& service, const Json& pod);

}  // namespace fairway::controllers
