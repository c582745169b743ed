// Placement: addresses for the pods that have none, in each family that the cluster is taken to have.
//
// Place: rows of manifests -> [placement] -> parties.h. Without ranges in the options, the families are those of real pods' addresses and
// of Nodes' podCIDRs; where there are none, IPv4, and IPv6 where an ipBlock or a Service is of it. Pure.
#pragma once

#include "policycheck/inventory.h"

namespace fairway::policycheck {

// Gives pods an address in each range, outside narrower ipBlocks, and fills Inventory::invented, pod_ranges, service_ranges and
// dns_addresses. Notes what was assumed, and the rules whose ipBlocks are of a family that no pod has. A fault where a range is too small.
void place_pods(Inventory& inventory, const InventoryOptions& options);
// Two that are compared: what either of them has of families, both have, so that a difference is one of policies.
void place_pods_alike(Inventory& before, Inventory& after, InventoryOptions options);

}  // namespace fairway::policycheck
