// Lint: what in policies and Services is probably not meant. Each finding has an id (docs/policy.md lists them), object, field, what is
// wrong and what to do. Pure.
#pragma once

#include "policycheck/check.h"

namespace fairway::policycheck {

// Those of reading the manifests too; the gravest first.
std::vector<Finding> lint(const Check& check);

}  // namespace fairway::policycheck
