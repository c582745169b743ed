// What a rule denied is told under its own name, whatever its number means by then.
#include "agent/denied_counts.h"

#include <gtest/gtest.h>

#include "agent/policy_flow.h"
#include "datapath/memory_policy_tables.h"
#include "model/codec.h"

namespace fairway::agent {
namespace {

using compile::policy::Direction;
using k8s::Kind;

class NoHost final : public sinks::PolicyHost {
 public:
  void wait_for_readers(std::function<void()> done) override {
    if (hold) waiting.push_back(std::move(done));
    else done();
  }
  void begin_tracking(std::vector<std::uint32_t>, std::function<void(Status)> done) override { done({}); }
  Status make_room(const datapath::Room&) override { return {}; }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>{}; }
  bool hold = false;
  std::vector<std::function<void()>> waiting;
};

// An agent of one node with one pod, default/web behind interface 7, on tables that outlive it.
class CountingNode {
 public:
  explicit CountingNode(datapath::MemoryPolicyTables& tables)
      : tables_(tables), flow_(cluster_, problems_, {tables, host, [] {}, [] { return true; }}) {
    EXPECT_TRUE(flow_.adopt().ok());
    put<model::NamespaceCodec>(Kind::kNamespace, {"default", {}, false});
    put<model::PodCodec>(Kind::kPod, {{"default", "web"}, "u", "n1", false, false, {*net::IpAddr::parse("10.0.0.1")}, {}, {}});
    model::LocalEndpoint web;
    web.pod = {"default", "web"};
    web.host_ifindex = 7;
    flow_.add_local(web);
    local_ = web;
    reflect::Cluster::Changes all;
    all.namespaces = {"default"}, all.pods = {"default/web"};
    flow_.run(all, {});
  }
  // One that isolates every pod of the namespace from ingress, or in its egress.
  void add_policy(const std::string& name, const std::string& ns = "default", bool egress = false) {
    model::Policy row;
    row.id = {ns, name};
    row.uid = "uid-" + name;
    row.isolates_ingress = !egress;
    row.isolates_egress = egress;
    put<model::PolicyCodec>(Kind::kNetworkPolicy, row);
    changed(name, ns);
  }
  void remove_policy(const std::string& name) {
    cluster_.forget(Kind::kNetworkPolicy, "default/" + name);
    changed(name);
  }
  void add_pod() { flow_.add_local(local_), run(); }
  void remove_pod() { flow_.remove_local(local_); }
  void run() { flow_.run({}); }

  // The number in the kernel of what denies; and what the programs count by it.
  std::uint32_t rule() { return tables_.pol_subjects().lookup(7)->v[tables_.policy_generation() & 1].rule[FW_POL_INGRESS]; }
  void deny(std::uint32_t rule, std::uint64_t packets, std::uint32_t ifindex = 7) {
    const fw_denied_key key{rule, ifindex, FW_POL_INGRESS};
    fw_hit row = tables_.pol_denied().lookup(key).value_or(fw_hit{});
    row.packets += packets;
    row.last_ns = ++clock_;
    ASSERT_TRUE(tables_.pol_denied().update(key, row).ok());
  }
  std::map<std::string, std::uint64_t> denied() {
    std::map<std::string, std::uint64_t> out;
    const auto rows = flow_.denied();
    for (const auto& row : *rows)
      out[(row.rule ? row.rule->to_string() : "unknown") + " to " + row.pod + (row.past ? " (past)" : "")] += row.packets;
    return out;
  }
  NoHost host;

 private:
  template <typename Codec>
  void put(Kind kind, const typename Codec::Row& row) {
    std::string bytes;
    Codec::encode(row, bytes);
    ASSERT_TRUE(cluster_.restore(kind, Codec::key(row), bytes));
  }
  void changed(const std::string& policy, const std::string& ns = "default") {
    reflect::Cluster::Changes changes;
    changes.policies = {ns + "/" + policy};
    flow_.run(changes, {});
  }
  datapath::MemoryPolicyTables& tables_;
  model::Problems problems_;
  reflect::Cluster cluster_{problems_};
  PolicyFlow flow_;
  model::LocalEndpoint local_;
  std::uint64_t clock_ = 0;
};

std::string deny_of(const std::string& names, bool past = false, const std::string& pod = "default/web") {
  return "default deny of NetworkPolicy " + names + " (ingress) to " + pod + (past ? " (past)" : "");
}

TEST(DeniedCounts, ANumberThatIsGivenAgainHasNoCounts) {
  datapath::MemoryPolicyTables tables;
  CountingNode node(tables);
  node.add_policy("standing", "elsewhere");  // after the last policy numbers go on
  node.add_policy("first");
  const std::uint32_t number = node.rule();
  ASSERT_NE(number, 0u);
  node.deny(number, 5);
  fw_hit_key flow{};
  flow.rule = number;
  ASSERT_TRUE(tables.pol_hits().update(flow, {}).ok());
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first"), 5}}));
  node.remove_policy("first");
  std::string name;
  for (int i = 0; i < 8 && (name.empty() || node.rule() != number); ++i) {
    if (!name.empty()) node.remove_policy(name);
    name = "p" + std::to_string(i);
    node.add_policy(name);
  }
  ASSERT_EQ(node.rule(), number) << "numbers are given again";
  EXPECT_EQ(tables.pol_hits().dump()->size(), 0u) << "no flow is told by another rule's name";
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 5}}));
  node.deny(number, 2);
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 5}, {deny_of("default/" + name), 2}}));
  node.remove_policy(name);
  EXPECT_EQ(node.denied(),
            (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 5}, {deny_of("default/" + name, true), 2}}));
}

TEST(DeniedCounts, UntilNoPacketIsJudgedByTheOldRules) {
  datapath::MemoryPolicyTables tables;
  CountingNode node(tables);
  node.add_policy("first");
  const std::uint32_t number = node.rule();
  node.host.hold = true;
  node.remove_policy("first");
  node.deny(number, 3);  // a packet that began before the switch
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first"), 3}})) << "its row is still written";
  node.host.waiting.back()();
  node.run();
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 3}}));
  EXPECT_EQ(tables.pol_denied().size(), 0u);
}

TEST(DeniedCounts, FlowsOfARuleInForceStay) {
  datapath::MemoryPolicyTables tables;
  CountingNode node(tables);
  node.add_policy("stays");
  node.add_policy("goes", "default", true);
  const std::uint32_t number = node.rule();
  fw_hit_key flow{};
  flow.rule = number;
  ASSERT_TRUE(tables.pol_hits().update(flow, {}).ok());
  node.remove_policy("goes");
  EXPECT_EQ(node.rule(), number);
  EXPECT_EQ(tables.pol_hits().size(), 1u);
}

TEST(DeniedCounts, OfAnEarlierAgentAndOfTheOneBeforeIt) {
  datapath::MemoryPolicyTables tables;
  std::uint32_t number = 0;
  {
    CountingNode node(tables);
    node.add_policy("first");
    number = node.rule();
    node.deny(number, 5);
  }
  {
    CountingNode node(tables);
    EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{"unknown to default/web (past)", 5}}));
    node.add_policy("second");
    EXPECT_NE(node.rule(), number) << "no number of both";
    node.deny(node.rule(), 7);
    EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{"unknown to default/web (past)", 5}, {deny_of("default/second"), 7}}));
  }
  {
    const fw_denied_key left{number, 7, FW_POL_INGRESS};  // what the first one's programs counted and nobody has read
    ASSERT_TRUE(tables.pol_denied().update(left, fw_hit{4, 1}).ok());
    fw_hit_key flow{};
    flow.rule = number;
    ASSERT_TRUE(tables.pol_hits().update(flow, {}).ok());
    CountingNode node(tables);
    node.add_policy("third");
    EXPECT_EQ(node.rule(), number) << "the turn comes back";
    EXPECT_EQ(tables.pol_hits().size(), 0u) << "no flow is told by this rule's name";
    EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{"unknown to  (past)", 4}, {"unknown to default/web (past)", 7}}));
  }
}

TEST(DeniedCounts, OfAPodThatIsGone) {
  datapath::MemoryPolicyTables tables;
  CountingNode node(tables);
  node.add_policy("first");
  node.deny(node.rule(), 5);
  node.remove_pod();
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 5}}));
  EXPECT_EQ(tables.pol_denied().size(), 0u);
  node.add_pod();
  node.deny(node.rule(), 2);
  node.remove_pod();
  EXPECT_EQ(node.denied(), (std::map<std::string, std::uint64_t>{{deny_of("default/first", true), 7}})) << "one name, one count";
}

TEST(DeniedCounts, WhatIsKeptIsBounded) {
  datapath::MemoryPolicyTables tables;
  DeniedCounts counts(tables);
  const auto name = [](const fw_denied_key& key) {
    return Denied{"default/" + std::to_string(key.ifindex), std::nullopt, Direction::kEgress};
  };
  for (std::uint32_t i = 0; i < 2 * DeniedCounts::kMostPast; ++i) {
    ASSERT_TRUE(tables.pol_denied().update({1, i, FW_POL_EGRESS}, fw_hit{1, i + 1}).ok());
    if (i % 512 == 511) {
      ASSERT_TRUE(counts.settle([](const auto&) { return true; }, name).ok());
    }
  }
  const auto all = *counts.all(name);
  EXPECT_EQ(all.size(), DeniedCounts::kMostPast);
  for (const auto& row : all) EXPECT_GT(row.last_ns, DeniedCounts::kMostPast) << "the quiet ones go first";
}

}  // namespace
}  // namespace fairway::agent
