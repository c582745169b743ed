// policy_check: the whole reachability of a cluster from its objects, as `fairway policy check` computes it.
#include <fmt/format.h>
#include <malloc.h>

#include <cstring>
#include <fstream>

#include "core/child.h"
#include "core/cpu.h"
#include "core/harness.h"
#include "core/stats.h"
#include "policycheck/reachability.h"

namespace fairway::bench {
namespace {

using policycheck::ClusterState;
using policycheck::PartyId;

constexpr unsigned kApps = 20, kReplicas = 10, kSampledPairs = 1'000'000;

model::LabelSelector with_label(const std::string& key, const std::string& value) {
  return {{{key, model::LabelRequirement::Op::kIn, {value}}}};
}
model::PolicyPeer pods_of(std::optional<model::LabelSelector> namespaces, model::LabelSelector pods) {
  return {.kind = model::PolicyPeer::Kind::kPods, .pods = {std::move(namespaces), std::move(pods)}};
}
model::PolicyRule on_port(model::PolicyPeer peer, net::Protocol protocol, std::uint16_t port) {
  model::PolicyRule out;
  out.peers = {std::move(peer)};
  out.all_ports = port == 0;
  if (port != 0) out.ports = {{protocol, port, port, ""}};
  return out;
}

// Namespaces of ten teams, 20 Deployments of 10 pods and 20 policies in each: in from a neighbour, and from a team's front on a port; every
// fourth also out to a neighbour, to DNS, and to a part of the outside.
ClusterState cluster(unsigned namespaces) {
  ClusterState out;
  for (unsigned n = 0; n < namespaces; ++n) {
    const std::string ns = fmt::format("ns-{}", n);
    out.namespaces.push_back({ns, {{"kubernetes.io/metadata.name", ns}, {"team", fmt::format("team-{}", n % 10)}}, false});
    for (unsigned a = 0; a < kApps; ++a) {
      const std::string app = fmt::format("app-{}", a), next = fmt::format("app-{}", (a + 1) % kApps);
      model::Policy policy;
      policy.id = {ns, app};
      policy.subject.pods = with_label("app", app);
      policy.isolates_ingress = true;
      policy.ingress = {
          on_port(pods_of(std::nullopt, with_label("app", next)), net::Protocol::kTcp, 0),
          on_port(pods_of(with_label("team", fmt::format("team-{}", (n + a) % 10)), with_label("app", "app-0")), net::Protocol::kTcp, 443)};
      policy.isolates_egress = a % 4 == 0;
      if (policy.isolates_egress) {
        model::PolicyPeer outside{.kind = model::PolicyPeer::Kind::kNetwork, .network = net::Prefix(net::IpAddr::v4(0xc0000200U), 24)};
        policy.egress = {on_port(pods_of(std::nullopt, with_label("app", next)), net::Protocol::kTcp, 0),
                         on_port(pods_of(model::LabelSelector{}, {}), net::Protocol::kUdp, 53),
                         on_port(std::move(outside), net::Protocol::kTcp, 443)};
      }
      out.policies.push_back(std::move(policy));
      for (unsigned i = 0; i < kReplicas; ++i) {
        model::Pod pod;
        const auto number = static_cast<std::uint32_t>(out.pods.size());
        pod.id = {ns, fmt::format("{}-{}", app, i)};
        pod.ips = {net::IpAddr::v4(0x0a000001U + number)};
        pod.labels = {{"app", app}, {"pod-template-hash", fmt::format("{:x}", a)}};
        pod.ports = {{"http", net::Protocol::kTcp, 8080}};
        out.pods.push_back(std::move(pod));
      }
    }
  }
  return out;
}

// Of the process: one thread that computes takes as long on a machine that has nothing else to do.
double cpu_milliseconds() {
  timespec now{};
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

// From rows to the verdict of every pair; then what it takes to ask for one. The first of two runs finds the rows where the fork left them,
// in pages that this process has not touched, unlike one that has just parsed them: it gives the memory, the second the time.
Result<Child::Numbers> compute(const ClusterState& state) {
  malloc_trim(0);
  std::ofstream("/proc/self/clear_refs") << "5";  // the peak begins anew
  const double before = memory_bytes("VmRSS:");
  const std::vector<net::Prefix> pod_ranges{net::Prefix(net::IpAddr::v4(0x0a000000U), 8)};
  {
    const policycheck::Parties parties(state, pod_ranges);
    const policycheck::Reachability reach(state, parties);
  }
  const double memory = memory_bytes("VmHWM:") - before;
  const double begin = cpu_milliseconds();
  const policycheck::Parties parties(state, pod_ranges);
  const policycheck::Reachability reach(state, parties);
  const double took = cpu_milliseconds() - begin;
  const double asking = cpu_milliseconds();
  std::size_t open = 0;
  std::uint64_t at = 1;
  for (unsigned i = 0; i < kSampledPairs; ++i) {
    at = at * 6364136223846793005ULL + 1442695040888963407ULL;
    const auto pick = [&](unsigned shift) { return static_cast<PartyId>((at >> shift) % parties.all().size()); };
    open += reach.between(pick(33), pick(13)).empty() ? 0 : 1;
  }
  const double asked = cpu_milliseconds() - asking;
  if (open == 0 || open == kSampledPairs) return make_error(Code::kInternal, "policy_check: every pair has the same verdict");
  const auto sizes = reach.sizes();
  return Child::Numbers{took,
                        memory,
                        static_cast<double>(sizes.groups),
                        static_cast<double>(sizes.subjects),
                        static_cast<double>(sizes.rows),
                        asked * 1e6 / kSampledPairs,
                        100.0 * static_cast<double>(open) / kSampledPairs};
}

Status run(Context& context, std::vector<Row>& rows) {
  context.progress("policy_check");
  const ClusterState state = cluster(context.options.quick ? 5 : 500);
  std::vector<double> took;
  Child::Numbers last;
  for (int round = 0; round < 7; ++round) {
    FW_ASSIGN(Child child, Child::start({.cpu = context.options.one_cpu}, [&] { return compute(state); }));
    FW_ASSIGN(last, child.wait());
    took.push_back(last.at(0));
  }
  Row row{.name = "policy_check", .ours = median(took), .unit = "ms", .goal = Goal::at_most_value(100)};
  row.note = fmt::format(
      "{} pods, {} policies, CPU time of one core: {:.0f} groups, {:.0f} subjects, {:.0f} rows, {:.0f} MiB; a pair is then asked in {:.0f} "
      "ns; "
      "{:.2f} % "
      "of group pairs open",
      state.pods.size(), state.policies.size(), last.at(2), last.at(3), last.at(4), last.at(1) / (1024 * 1024), last.at(5), last.at(6));
  rows.push_back(row);
  return {};
}

}  // namespace

std::vector<Family> policy_check_rows() { return {{{"policy_check"}, run}}; }

}  // namespace fairway::bench
