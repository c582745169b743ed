// The CustomResourceDefinition of ClusterNetworkPolicy, which the lab's API server makes at start where there is none.
#pragma once

#include "apiserver/json_util.h"

namespace fairway::apiserver {

constexpr const char* kClusterNetworkPolicies = "clusternetworkpolicies.policy.networking.k8s.io";
Json cluster_network_policy_definition();

}  // namespace fairway::apiserver
