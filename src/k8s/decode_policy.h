// The spec of a NetworkPolicy or ClusterNetworkPolicy -> SlimPolicy. Part of decode.cc; internal to k8s/.
#pragma once

#include "k8s/json_walk.h"
#include "k8s/objects.h"

namespace fairway::k8s {

// Throws simdjson's exception where the JSON is broken.
void decode_policy_spec(Kind kind, od::value spec, SlimPolicy& to);

}  // namespace fairway::k8s
