// What a change of manifests does: the connections that it opens and closes, and which of recorded flows it would cut.
// Pure. Ends are matched by name; workloads that are only on one side are listed, their connections are not.
#pragma once

#include <boost/json/object.hpp>

#include "policycheck/render.h"

namespace fairway::policycheck {

inline constexpr std::size_t kMaxFlowBytes = 256 << 20;
inline constexpr std::size_t kMaxComparedCells = 25'000'000;
inline constexpr std::size_t kMaxFlowLine = 4096;

struct Change {
  std::string from, to;
  PortSet opened, closed;  // for some of their pods at least
};
struct Difference {
  std::vector<Change> changes;
  std::vector<std::string> added, removed;  // ends
};
// The ends of each side that are compared.
struct Compared {
  Selection before, after;
};
// An error of more than kMaxComparedCells pairs of ends.
Result<Difference> compare(const Check& before, const Check& after, const Compared& compared);
Result<Difference> compare(const Check& before, const Check& after);  // all of them

// {"src": "shop/web", "dst": "10.0.0.1", "port": 80, "protocol": "TCP", "count": 12}: names of workloads or pods, or addresses.
struct Flow {
  Place at;
  std::string src, dst;
  Port port;
  std::uint64_t count = 1;
  std::string to_string() const;
};
struct Flows {
  std::vector<Flow> list;
  std::vector<Fault> faults;
};
Flows parse_flows(const std::string& file, std::string_view text);

struct Replayed {
  enum class Result : std::uint8_t { kPasses, kCut, kDeniedBefore, kUnknown };
  Flow flow;
  Result result = Result::kPasses;
  std::string reason;
  bool cut() const { return result == Result::kCut; }
};
std::vector<Replayed> replay(const Check& before, const Check& after, const std::vector<Flow>& flows, const std::string& default_namespace);

boost::json::object render_json(const Difference& difference, const std::vector<Finding>& errors, const std::vector<Replayed>& replayed);

}  // namespace fairway::policycheck
