// Why a connection passes or does not, for all that is asked about: each port of a range, each family, each part of an end.
#pragma once

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

}  // namespace fairway::policycheck
