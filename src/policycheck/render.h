// render_*: a check as other programs and people take it. Text from outside is escaped by each. Pure.
#pragma once

#include <boost/json/object.hpp>
#include <string>
#include <vector>

#include "policycheck/check.h"

namespace fairway::policycheck {

// Which of the check's ends are shown.
struct Selection {
  std::vector<const End*> from, to;
};

// Pairs of ends with a workload on one side at least; and an error of more than `most`, which says how to have fewer.
inline constexpr std::size_t kMaxShownCells = 1'000'000;
std::size_t cells(std::size_t from_workloads, std::size_t from_others, std::size_t to_workloads, std::size_t to_others);
std::size_t cells(const Selection& selection);
Status check_cells(std::size_t count, std::size_t most, const std::string& advice);

// {"workloads", "connections": [{"from", "to", "ports", "partly"}], "findings", "notes", "sizes"}: what is not listed does not pass.
boost::json::object render_json(const Check& check, const Selection& selection, const std::vector<Finding>& findings);
boost::json::object render_json(const Finding& finding);
std::string render_dot(const Check& check, const Selection& selection);
// A matrix: sources down, destinations across.
std::string render_svg(const Check& check, const Selection& selection, const std::string& title);
std::string escaped_xml(std::string_view text);
std::string escaped_dot(std::string_view text);

}  // namespace fairway::policycheck
