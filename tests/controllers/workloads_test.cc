#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>

#include "world.h"

namespace fairway::controllers {
namespace {

Json deployment(const std::string& name, int replicas, const char* spec = "{}") {
  Json d = json::parse(fmt::format(
      R"({{"metadata":{{"name":"{0}","namespace":"default"}},"spec":{{"replicas":{1},"selector":{{"matchLabels":{{"app":"{0}"}}}},
      "template":{{"metadata":{{"labels":{{"app":"{0}"}}}},"spec":{{"terminationGracePeriodSeconds":1,"containers":[{{"name":"c","image":"nginx"}}]}}}}}}}})",
      name, replicas));
  const Json more = json::parse(spec);
  for (const auto& [key, value] : more.as_object()) place(d, "spec")[key] = value;
  return d;
}

const char* kNewImage = R"({"spec":{"template":{"spec":{"containers":[{"name":"c","image":"nginx:2"}]}}}})";

struct Workloads : testing::Test {
  World world;
  void SetUp() override {
    world.add_node("node-1");
    world.add_node("node-2");
  }
  bool rolled_out(const std::string& name, int replicas) {
    return world.until([&] {
      const Json d = world.get("deployments", name);
      return count(d, "status", "observedGeneration") == count(d, "metadata", "generation") &&
             count(d, "status", "updatedReplicas") == replicas && count(d, "status", "replicas") == replicas &&
             count(d, "status", "availableReplicas") == replicas;
    });
  }
  std::string condition(const std::string& name, std::string_view type) {
    const Json object = world.get("deployments", name);
    for (const auto& c : items(object, "status", "conditions")) {
      if (text(c, "type") == type) return fmt::format("{} {}", text(c, "status"), text(c, "reason"));
    }
    return "none";
  }
  std::set<std::string> events(std::string_view reason) {
    std::set<std::string> messages;
    for (const auto& e : world.list("events")) {
      if (text(e, "reason") == reason) messages.emplace(text(e, "message"));
    }
    return messages;
  }
};

TEST_F(Workloads, DeploymentMakesSpreadPodsWithTheUsualNames) {
  world.create("deployments", deployment("backend", 4));
  ASSERT_TRUE(rolled_out("backend", 4));
  const auto sets = world.list("replicasets");
  ASSERT_EQ(sets.size(), 1u);
  const std::string hash(text(sets[0], "metadata", "labels", "pod-template-hash"));
  EXPECT_EQ(name_of(sets[0]), "backend-" + hash);
  std::map<std::string, int> nodes;
  for (const auto& pod : world.list("pods", "app=backend")) {
    EXPECT_TRUE(std::string(name_of(pod)).starts_with("backend-" + hash + "-"));
    EXPECT_EQ(name_of(pod).size(), ("backend-" + hash + "-").size() + 5);
    ++nodes[std::string(text(pod, "spec", "nodeName"))];
  }
  EXPECT_EQ(nodes, (std::map<std::string, int>{{"node-1", 2}, {"node-2", 2}}));
  EXPECT_EQ(condition("backend", "Available"), "True MinimumReplicasAvailable");
  EXPECT_EQ(condition("backend", "Progressing"), "True NewReplicaSetAvailable");
  EXPECT_TRUE(events("ScalingReplicaSet").contains(fmt::format("Scaled up replica set backend-{} from 0 to 4", hash)));
  EXPECT_EQ(events("SuccessfulCreate").size(), 4u);
  EXPECT_EQ(events("Scheduled").size(), 4u);
}

TEST_F(Workloads, RolloutAndRollbackKeepRevisions) {
  world.create("deployments", deployment("web", 3));
  ASSERT_TRUE(rolled_out("web", 3));
  const Json first = *at(world.get("deployments", "web"), "spec", "template");
  world.patch("deployments", "web", kNewImage);
  ASSERT_TRUE(rolled_out("web", 3));
  EXPECT_EQ(world.list("replicasets").size(), 2u);
  EXPECT_EQ(text(world.get("deployments", "web"), "metadata", "annotations", "deployment.kubernetes.io/revision"), "2");
  Json back = json::object{{"spec", {{"template", first}}}};
  world.patch("deployments", "web", json::serialize(back).c_str());
  ASSERT_TRUE(rolled_out("web", 3));
  EXPECT_EQ(world.list("replicasets").size(), 2u);
  EXPECT_EQ(text(world.get("deployments", "web"), "metadata", "annotations", "deployment.kubernetes.io/revision"), "3");
  for (const auto& set : world.list("replicasets")) {
    if (count(set, "spec", "replicas") == 0) continue;
    EXPECT_EQ(text(set, "metadata", "annotations", "deployment.kubernetes.io/revision-history"), "1");
  }
}

TEST_F(Workloads, HistoryIsLimited) {
  world.create("deployments", deployment("web", 1, R"({"revisionHistoryLimit":1})"));
  ASSERT_TRUE(rolled_out("web", 1));
  for (int i = 2; i < 6; ++i) {
    world.patch("deployments", "web", fmt::format(R"({{"spec":{{"template":{{"metadata":{{"annotations":{{"n":"{}"}}}}}}}}}})", i).c_str());
    ASSERT_TRUE(rolled_out("web", 1));
  }
  EXPECT_TRUE(world.until([&] { return world.list("replicasets").size() == 2; }));
}

TEST_F(Workloads, UnreadyNewPodsStopTheRolloutAndTheDeadlineIsTold) {
  world.create("deployments", deployment("web", 4, R"({"progressDeadlineSeconds":1})"));
  ASSERT_TRUE(rolled_out("web", 4));
  world.hold_ready("web");
  world.patch("deployments", "web", kNewImage);
  EXPECT_TRUE(world.until([&] { return condition("web", "Progressing") == "False ProgressDeadlineExceeded"; }));
  EXPECT_GE(count(world.get("deployments", "web"), "status", "availableReplicas"), 3);
  EXPECT_LE(world.list("pods", "app=web").size(), 5u);
}

TEST_F(Workloads, PausedDeploymentScalesButDoesNotRoll) {
  world.create("deployments", deployment("web", 1));
  ASSERT_TRUE(rolled_out("web", 1));
  world.patch("deployments", "web", R"({"spec":{"paused":true,"replicas":3,"template":{"metadata":{"annotations":{"n":"1"}}}}})");
  EXPECT_TRUE(world.until([&] { return count(world.get("deployments", "web"), "status", "availableReplicas") == 3; }));
  EXPECT_EQ(world.list("replicasets").size(), 1u);
  EXPECT_EQ(condition("web", "Progressing"), "Unknown DeploymentPaused");
  world.patch("deployments", "web", R"({"spec":{"paused":false}})");
  EXPECT_TRUE(rolled_out("web", 3));
  EXPECT_EQ(world.list("replicasets").size(), 2u);
}

TEST_F(Workloads, RecreateNeverMixesOldAndNew) {
  world.create("deployments", deployment("web", 2, R"({"strategy":{"type":"Recreate"}})"));
  ASSERT_TRUE(rolled_out("web", 2));
  world.hold_termination(true);
  world.patch("deployments", "web", kNewImage);
  world.until([&] {
    const auto pods = world.list("pods", "app=web");
    return std::all_of(pods.begin(), pods.end(), [](const Json& p) { return is_terminating(p); });
  });
  world.settle();
  EXPECT_EQ(world.list("replicasets").size(), 1u);
  world.hold_termination(false);
  for (const auto& pod : world.list("pods", "app=web"))
    world.patch("pods", std::string(name_of(pod)), R"({"metadata":{"labels":{"poke":"1"}}})");
  EXPECT_TRUE(rolled_out("web", 2));
}

TEST_F(Workloads, SurplusPodsGoAndMissingOnesCome) {
  world.create("deployments", deployment("web", 5));
  ASSERT_TRUE(rolled_out("web", 5));
  world.patch("deployments", "web", R"({"spec":{"replicas":2}})");
  ASSERT_TRUE(rolled_out("web", 2));
  const auto pods = world.list("pods", "app=web");
  EXPECT_EQ(pods.size(), 2u);
  world.remove("pods", std::string(name_of(pods[0])));
  EXPECT_TRUE(
      world.until([&] { return world.list("pods", "app=web").size() == 2 && !world.exists("pods", std::string(name_of(pods[0]))); }));
}

TEST_F(Workloads, PodsAreReleasedAndAdopted) {
  world.create("deployments", deployment("web", 1));
  ASSERT_TRUE(rolled_out("web", 1));
  const std::string name(name_of(world.list("pods", "app=web")[0]));
  world.patch("pods", name, R"({"metadata":{"labels":{"app":"free"}}})");
  EXPECT_TRUE(world.until(
      [&] { return items(world.get("pods", name), "metadata", "ownerReferences").empty() && world.list("pods", "app=web").size() == 1; }));
  world.patch("deployments", "web", R"({"spec":{"replicas":2}})");
  ASSERT_TRUE(rolled_out("web", 2));
  world.patch("pods", name, R"({"metadata":{"labels":{"app":"web"}}})");
  EXPECT_TRUE(world.until([&] {
    const auto pods = world.list("pods", "app=web");
    return pods.size() == 2 &&
           std::all_of(pods.begin(), pods.end(), [](const Json& p) { return !items(p, "metadata", "ownerReferences").empty(); });
  }));
}

TEST_F(Workloads, DeletionCascadesAsAsked) {
  for (const std::string policy : {"Background", "Foreground", "Orphan"}) {
    SCOPED_TRACE(policy);
    world.create("deployments", deployment("web", 2));
    ASSERT_TRUE(rolled_out("web", 2));
    world.remove("deployments", "web", policy);
    ASSERT_TRUE(world.until([&] { return !world.exists("deployments", "web"); }));
    if (policy == "Foreground") { EXPECT_TRUE(world.list("replicasets").empty()); }
    if (policy == "Orphan") {
      world.settle();
      ASSERT_EQ(world.list("replicasets").size(), 1u);
      EXPECT_TRUE(items(world.list("replicasets")[0], "metadata", "ownerReferences").empty());
      EXPECT_EQ(world.list("pods", "app=web").size(), 2u);
      world.remove("replicasets", std::string(name_of(world.list("replicasets")[0])));
    }
    EXPECT_TRUE(world.until([&] { return world.list("replicasets").empty() && world.list("pods", "app=web").empty(); }));
  }
}

TEST_F(Workloads, ControllersThatStartAgainDoNothingTwice) {
  world.create("deployments", deployment("web", 3));
  ASSERT_TRUE(rolled_out("web", 3));
  std::set<std::string> before, after;
  for (const auto& pod : world.list("pods", "app=web")) before.emplace(uid_of(pod));
  world.restart_controllers();
  world.settle(std::chrono::milliseconds(500));
  for (const auto& pod : world.list("pods", "app=web")) after.emplace(uid_of(pod));
  EXPECT_EQ(before, after);
  world.patch("deployments", "web", R"({"spec":{"replicas":4}})");
  EXPECT_TRUE(rolled_out("web", 4));
}

TEST_F(Workloads, DaemonSetFollowsNodesAndUpdates) {
  Json set = deployment("agent", 0);
  place(set, "spec").erase("replicas");
  world.create("daemonsets", set);
  const auto ready = [&](int n) {
    return world.until([&] {
      const Json d = world.get("daemonsets", "agent");
      return count(d, "status", "numberAvailable") == n && count(d, "status", "updatedNumberScheduled") == n &&
             count(d, "status", "desiredNumberScheduled") == n;
    });
  };
  EXPECT_TRUE(ready(2));
  world.add_node("node-3");
  EXPECT_TRUE(ready(3));
  std::set<std::string> nodes;
  for (const auto& pod : world.list("pods", "app=agent")) nodes.emplace(text(pod, "spec", "nodeName"));
  EXPECT_EQ(nodes, (std::set<std::string>{"node-1", "node-2", "node-3"}));
  world.patch("daemonsets", "agent", kNewImage);
  EXPECT_TRUE(world.until([&] {
    const auto pods = world.list("pods", "app=agent");
    return pods.size() == 3 && std::all_of(pods.begin(), pods.end(),
                                           [](const Json& p) { return text(items(p, "spec", "containers")[0], "image") == "nginx:2"; });
  }));
  EXPECT_TRUE(ready(3));
}

TEST_F(Workloads, TwoHundredPodsAtOnce) {
  world.create("deployments", deployment("big", 200));
  EXPECT_TRUE(world.until([&] { return count(world.get("deployments", "big"), "status", "replicas") == 200; }, std::chrono::seconds(60)));
}

}  // namespace
}  // namespace fairway::controllers
