// Assertions: what a cluster's policies must let through and must not, a line each, for CI.
//
//   allow frontend -> backend:80        every connection of the left to the right passes on these ports; without ports: on one at least
//   deny  * -> db                       none passes on these ports; without ports: on none at all
//
// Ends are those of pattern.h, and svc/NAME:PORT is what is behind a Service; # begins a comment. A workload's traffic among its own pods
// is asked about only where both ends name it. Input from outside: bounded, each fault with file and line.
#pragma once

#include <boost/json/array.hpp>

#include "policycheck/pattern.h"

namespace fairway::policycheck {

inline constexpr std::size_t kMaxAssertionBytes = 1 << 20;

struct Assertion {
  Place at;
  std::string text;  // as written, without its comment
  bool allow = true;
  Pattern from, to;
  std::optional<PortSet> ports;
  std::string service, default_namespace;  // in place of `to` and `ports`, as written
};
struct Assertions {
  std::vector<Assertion> list;
  std::vector<Fault> faults;
};
Assertions parse_assertions(const std::string& file, std::string_view text, const std::string& default_namespace);

struct Outcome {
  Place at;
  std::string text;
  bool holds = true;
  std::string reason;  // where it does not hold: the connection, and the policy and rule that let it through or did not
};
// An error where an end cannot be asked about: the assertion is broken.
Result<Outcome> judge(const Check& check, const Assertion& assertion);
boost::json::array render_json(const std::vector<Outcome>& outcomes);

}  // namespace fairway::policycheck
