// What `fairway policy` prints for people.
#pragma once

#include <string>
#include <vector>

#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/render.h"

namespace fairway::cli {

std::string check_text(const policycheck::Check& check, const policycheck::Selection& selection,
                       const std::vector<policycheck::Finding>& findings, const std::vector<policycheck::Outcome>& outcomes);
std::string reason_text(const policycheck::Connection& connection, const policycheck::Reason& reason);
std::string diff_text(const policycheck::Difference& difference, const std::vector<policycheck::Replayed>& replayed, bool with_flows);

}  // namespace fairway::cli
