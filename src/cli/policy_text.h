// What `fairway policy` prints for people.
#pragma once

#include <string>
#include <vector>

#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/render.h"
#include "policycheck/why.h"

namespace fairway::cli {

// `all`: where the matrix is too large and a list stands for it, a line for each source.
std::string check_text(const policycheck::Check& check, const policycheck::Selection& selection,
                       const std::vector<policycheck::Finding>& findings, const std::vector<policycheck::Outcome>& outcomes, bool all);
// `answers`: of one pair of ends, at least one.
std::string why_text(const std::vector<policycheck::Answer>& answers);
std::string diff_text(const policycheck::Difference& difference, const std::vector<policycheck::Finding>& errors,
                      const std::vector<policycheck::Replayed>& replayed, bool with_flows);

}  // namespace fairway::cli
