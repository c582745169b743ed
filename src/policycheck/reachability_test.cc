// The matrix against the naive evaluator, on random clusters: every pod, direction, party and probe.
#include "policycheck/reachability.h"

#include <gtest/gtest.h>

#include "compile/policy/random_cluster.h"

namespace fairway::policycheck {
namespace {

using compile::policy::Direction;
using compile::policy::Engine;
using compile::policy::judge_naively;
using compile::policy::Probe;
using compile::policy::RandomCluster;

bool passes(const PortSet& ports, const Probe& probe) {
  if (probe.protocol == 6 || probe.protocol == 17 || probe.protocol == 132)
    return ports.has(static_cast<net::Protocol>(probe.protocol), probe.port);
  return ports.other();
}

bool never_judged(const ClusterState& state, const model::Pod& subject, const net::IpAddr& peer) {
  if (std::find(subject.ips.begin(), subject.ips.end(), peer) != subject.ips.end()) return true;
  return std::any_of(state.nodes.begin(), state.nodes.end(), [&](const model::Node& node) {
    return node.name == subject.node && std::find(node.addresses.begin(), node.addresses.end(), peer) != node.addresses.end();
  });
}

struct Compared {
  std::size_t cells = 0, denied = 0;
};

// Every address there is, of pods by their own, against the party that stands for it.
Compared compare(const ClusterState& state, const std::string& what) {
  auto pod_ranges = state.pod_ranges;  // to the evaluator, who is nobody there is no outside, but a pod that is not known yet
  pod_ranges.push_back(*net::Prefix::parse("10.0.0.0/8"));
  const Parties parties(state, pod_ranges);
  const Reachability reach(state, parties);
  std::vector<std::pair<net::IpAddr, PartyId>> peers;
  for (PartyId id = 0; id < parties.all().size(); ++id) peers.emplace_back(parties[id].addr, id);
  for (std::size_t q = 0; q < state.pods.size(); ++q)
    for (std::size_t k = 0; counts(state.pods[q]) && k < state.pods[q].ips.size(); ++k)
      peers.emplace_back(state.pods[q].ips[k], parties.of_pod(q)[k]);
  Compared out;
  for (std::size_t p = 0; p < state.pods.size(); ++p) {
    const model::Pod& subject = state.pods[p];
    if (!counts(subject)) continue;
    for (const auto& [addr, party] : peers) {
      if (never_judged(state, subject, addr)) continue;
      for (const auto direction : {Direction::kIngress, Direction::kEgress}) {
        const PortSet ports = reach.allowed(parties.of_pod(p)[0], direction, party);
        for (const Probe& probe : RandomCluster::probes()) {
          const bool wanted = judge_naively(state, subject, direction, addr, probe.protocol, probe.port).allowed;
          EXPECT_EQ(passes(ports, probe), wanted)
              << what << ": " << subject.id.to_string() << (direction == Direction::kIngress ? " from " : " to ") << addr.to_string() << " "
              << int{probe.protocol} << "/" << probe.port << " of " << ports.to_string();
          ++out.cells, out.denied += wanted ? 0 : 1;
        }
      }
    }
  }
  return out;
}

class Matrix : public ::testing::TestWithParam<bool> {};

TEST_P(Matrix, SaysWhatTheNaiveEvaluatorSays) {
  Compared all;
  for (std::uint64_t seed = 1; seed <= 150 && !HasFailure(); ++seed) {
    Engine unused;
    RandomCluster cluster(seed, GetParam());
    cluster.fill(unused);
    for (int step = 0; step < 3 && !HasFailure(); ++step) {
      const auto part = compare(cluster.state, "seed " + std::to_string(seed) + " step " + std::to_string(step));
      all.cells += part.cells, all.denied += part.denied;
      for (int change = 0; change < 5; ++change) cluster.step(unused);
    }
  }
  EXPECT_GT(all.cells, 500'000U);
  EXPECT_GT(all.denied, all.cells / 10);
  EXPECT_LT(all.denied, all.cells * 9 / 10);
}
INSTANTIATE_TEST_SUITE_P(Tiers, Matrix, ::testing::Bool(), [](const auto& tiers) { return tiers.param ? "with" : "without"; });

TEST(PortSet, IsASetOfPorts) {
  const auto tcp = net::Protocol::kTcp, udp = net::Protocol::kUdp;
  const PortSet web = PortSet::port(tcp, 80) | PortSet::port(tcp, 443), dns = PortSet::port(udp, 53);
  EXPECT_EQ((web | dns).to_string(), "80,443,53/udp");
  EXPECT_EQ((PortSet::all() - PortSet::port(tcp, 22)).to_string(), "all but 22");
  EXPECT_EQ(PortSet::range(tcp, 0, 65535).to_string(), "TCP");
  EXPECT_EQ((PortSet::port(tcp, 80) | PortSet::port(tcp, 81)).to_string(), "80-81");
  EXPECT_EQ(PortSet().to_string(), "none");
  EXPECT_EQ((PortSet::all() & web), web);
  EXPECT_EQ((web - PortSet::port(tcp, 443)), PortSet::port(tcp, 80));
  EXPECT_TRUE((web & dns).empty());
  EXPECT_TRUE(((PortSet::all() - web) | web).is_all());
  EXPECT_TRUE(web.has(tcp, 443));
  EXPECT_FALSE(web.has(udp, 443));
}

}  // namespace
}  // namespace fairway::policycheck
