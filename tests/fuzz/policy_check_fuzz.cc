// Bytes as manifests, assertions and recorded flows: whatever they are, reading ends; what comes of manifests is checked whole,
// and the matrix says of each pair what the naive evaluator says.
// fuzz-deps: fw_policycheck
#include <cstddef>
#include <cstdint>

#include "policycheck/assertions.h"
#include "policycheck/compare.h"
#include "policycheck/lint.h"
#include "policycheck/render.h"

using namespace fairway;
using namespace fairway::policycheck;

namespace {

constexpr std::size_t kMostEnds = 12;

void check(bool holds) {
  if (!holds) __builtin_trap();
}

void check_matrix(const Check& cluster) {
  Selection all;
  for (const End& end : cluster.ends())
    if (all.from.size() < kMostEnds) all.from.push_back(&end), all.to.push_back(&end);
  for (const End* from : all.from)
    for (const End* to : all.to) {
      const Cell cell = cluster.between(*from, *to);
      check((cell.every - cell.some).empty());
      const PartyId source = from->parties.front(), destination = to->parties.front();
      if (cluster.parties()[source].addr.family() != cluster.parties()[destination].addr.family()) continue;
      for (const Port port : {Port{6, 80}, Port{17, 53}}) {
        const bool passes =
            cluster.passing({from, to, source, destination, port}).has(static_cast<net::Protocol>(port.protocol), port.number);
        check(passes == cluster.why({from, to, source, destination, port}).allowed());
      }
    }
  check(!render_svg(cluster, all, "fuzz").empty() && !render_dot(cluster, all).empty());
  for (const Finding& finding : lint(cluster)) check(!finding.id.empty() && !finding.object.empty() && !finding.message.empty());
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  ManifestReader reader("default");
  reader.read_text("fuzz", text);
  auto inventory = take_inventory(reader.take(), {});
  for (const Fault& fault : inventory.faults) check(!fault.reason.empty());
  const auto assertions = parse_assertions("fuzz", text, "default");
  const auto flows = parse_flows("fuzz", text);
  if (inventory.faults.empty()) {
    const Check cluster(std::move(inventory));
    check_matrix(cluster);
    for (const Assertion& one : assertions.list) {
      const auto outcome = judge(cluster, one);
      check(!outcome.ok() || outcome->holds || !outcome->reason.empty());
    }
    check(replay(cluster, cluster, flows.list, "default").size() == flows.list.size());
  }
  return 0;
}
