#include "controllers/pod.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "controllers/node_ipam.h"
#include "controllers/node_lifecycle.h"
#include "controllers/selector.h"

namespace fairway::controllers {
namespace {

TEST(Milli, OfTextAndNumbers) {
  const auto milli = [](const Json& q) { return parse_milli(&q); };
  EXPECT_EQ(milli("100m"), 100);
  EXPECT_EQ(milli(2), 2000);
  EXPECT_EQ(milli(0.5), 500);
  EXPECT_EQ(milli("lots"), std::nullopt);
}

TEST(Requests, TheLargerOfSumAndInit) {
  const Json pod =
      json::parse(R"({"spec":{"containers":[{"resources":{"requests":{"cpu":"100m"}}},{"resources":{"requests":{"cpu":"200m"}}}],
      "initContainers":[{"resources":{"requests":{"cpu":"1"}}}]}})");
  EXPECT_EQ(requests_of(pod).cpu_milli, 1000);
}

TEST(Deletion, TheLessUsefulGoFirst) {
  const auto now = *parse_time("2026-01-01T01:00:00Z");
  const auto pod = [](const char* name, const char* node, const char* phase, const char* ready, const char* created,
                      const char* cost = "0") {
    return json::parse(fmt::format(
        R"({{"metadata":{{"name":"{0}","uid":"{0}","creationTimestamp":"{4}","annotations":{{"controller.kubernetes.io/pod-deletion-cost":"{5}"}}}},
        "spec":{{"nodeName":"{1}"}},"status":{{"phase":"{2}","conditions":[{{"type":"Ready","status":"{3}","lastTransitionTime":"{4}"}}]}}}})",
        name, node, phase, ready, created, cost));
  };
  const Json unassigned = pod("unassigned", "", "Pending", "False", "2026-01-01T00:00:00Z");
  const Json pending = pod("pending", "n", "Pending", "False", "2026-01-01T00:00:00Z");
  const Json not_ready = pod("not-ready", "n", "Running", "False", "2026-01-01T00:00:00Z");
  const Json cheap = pod("cheap", "n", "Running", "True", "2026-01-01T00:00:00Z", "-5");
  const Json young = pod("young", "n", "Running", "True", "2026-01-01T00:59:00Z");
  const Json old = pod("old", "n", "Running", "True", "2026-01-01T00:00:00Z");
  std::vector<Candidate> all{{&old, 1}, {&young, 1}, {&cheap, 1}, {&not_ready, 1}, {&pending, 1}, {&unassigned, 1}};
  std::sort(all.begin(), all.end(), [&](const auto& a, const auto& b) { return goes_first(a, b, now); });
  std::string order;
  for (const auto& c : all) order += std::string(name_of(*c.pod)) + " ";
  EXPECT_EQ(order, "unassigned pending not-ready cheap young old ");
  EXPECT_TRUE(goes_first({&old, 2}, {&young, 1}, now));  // the node with two of them first
}

TEST(Selector, AbsentMatchesNothingEmptyEverything) {
  const json::object labels{{"app", "x"}};
  const Json empty = json::object{}, unknown = json::parse(R"({"matchExpressions":[{"key":"app","operator":"Like","values":["x"]}]})");
  EXPECT_FALSE(LabelSelector::of(nullptr).matches(labels));
  EXPECT_TRUE(LabelSelector::of(&empty).matches(labels));
  EXPECT_FALSE(LabelSelector::of(&unknown).matches(labels));
  const Json not_in = json::parse(
      R"({"matchExpressions":[{"key":"tier","operator":"NotIn","values":["x"]},{"key":"app","operator":"In","values":["x","y"]}]})");
  EXPECT_TRUE(LabelSelector::of(&not_in).matches(labels));
}

TEST(Tolerations, SecondsAndWildcards) {
  const Json taint = json::parse(R"({"key":"node.kubernetes.io/not-ready","effect":"NoExecute"})");
  const Json pod = json::parse(
      R"({"spec":{"tolerations":[{"key":"node.kubernetes.io/not-ready","operator":"Exists","effect":"NoExecute","tolerationSeconds":300}]}})");
  EXPECT_EQ(tolerance_of(pod, taint).seconds, 300);
  EXPECT_FALSE(tolerates(json::parse(R"({"spec":{"tolerations":[{"key":"other","operator":"Exists"}]}})"), taint));
  EXPECT_TRUE(tolerates(json::parse(R"({"spec":{"tolerations":[{"operator":"Exists"}]}})"), taint));
}

TEST(NodeTaints, FollowReadyAndKeepOthers) {
  const auto keys = [](const char* ready, const char* spec) {
    const Json node =
        json::parse(fmt::format(R"({{"spec":{},"status":{{"conditions":[{{"type":"Ready","status":"{}"}}]}}}})", spec, ready));
    std::string all;
    for (const auto& t : taints_for(node, "now")) all += fmt::format("{}:{} ", text(t, "key"), text(t, "effect"));
    return all;
  };
  EXPECT_EQ(
      keys("True", R"({"taints":[{"key":"mine","effect":"NoSchedule"},{"key":"node.kubernetes.io/not-ready","effect":"NoSchedule"}]})"),
      "mine:NoSchedule ");
  EXPECT_EQ(keys("Unknown", "{}"), "node.kubernetes.io/unreachable:NoSchedule node.kubernetes.io/unreachable:NoExecute ");
  EXPECT_EQ(keys("True", R"({"unschedulable":true})"), "node.kubernetes.io/unschedulable:NoSchedule ");
}

TEST(NodeIpam, LowestFreeShareInBothFamilies) {
  const PodRange v4{*net::Prefix::parse("10.244.0.0/16"), 24}, v6{*net::Prefix::parse("fd00:10:244::/56"), 64};
  EXPECT_EQ(free_share(v4, {})->to_string(), "10.244.0.0/24");
  EXPECT_EQ(free_share(v4, {*net::Prefix::parse("10.244.0.0/24"), *net::Prefix::parse("10.244.2.0/24")})->to_string(), "10.244.1.0/24");
  EXPECT_EQ(free_share(v6, {*net::Prefix::parse("fd00:10:244::/64")})->to_string(), "fd00:10:244:1::/64");
  std::vector<net::Prefix> used;
  while (const auto share = free_share(v4, used)) used.push_back(*share);
  EXPECT_EQ(used.size(), 256u);
  EXPECT_EQ(used.back().to_string(), "10.244.255.0/24");
}

TEST(Time, RoundTripsAndOffsets) {
  EXPECT_EQ(render_time(*parse_time("2026-11-23T10:23:56Z")), "2026-11-23T10:23:56Z");
  EXPECT_EQ(render_micro_time(*parse_time("2026-11-23T10:23:56.123456Z")), "2026-11-23T10:23:56.123456Z");
  EXPECT_EQ(*parse_time("2026-11-23T12:23:56+02:00"), *parse_time("2026-11-23T10:23:56Z"));
  EXPECT_FALSE(parse_time("2026-13-41T10:23:56Z"));
  EXPECT_FALSE(parse_time("yesterday"));
}

}  // namespace
}  // namespace fairway::controllers
