// Shadow lint: rules of NetworkPolicies, and single peers and ports of them, that change nothing as the Admin tier decides before them.
// Internal to policycheck/.
#pragma once

#include "policycheck/check.h"

namespace fairway::policycheck {

std::vector<Finding> find_shadowed(const Check& check);

}  // namespace fairway::policycheck
