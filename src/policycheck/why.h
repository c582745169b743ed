// Why a connection passes or does not, for all that is asked about: each port of a range, each family, each part of an end.
#pragma once

#include <boost/json/object.hpp>

#include "policycheck/check.h"

namespace fairway::policycheck {

struct Answer {
  Connection connection;  // one of those that it holds for
  PortSet ports;          // of those that were asked
  bool v4 = false, v6 = false;
  Reason reason;
};
// Those that pass first; none where the ends have no address family in common.
std::vector<Answer> why(const Check& check, const End& from, const End& to, const PortSet& asked);
// {"from", "to", "ports", "passes": "yes", "partly" or "no", "answers": [{"families", "ports", "passes", "egress", "ingress"}]}, and of
// each end {"allowed", "by", "file", "line"}. `answers`: of one pair of ends, at least one.
boost::json::object render_json(const std::vector<Answer>& answers);

}  // namespace fairway::policycheck
