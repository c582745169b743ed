#include "controllers/scheduler_fit.h"

#include <fmt/format.h>
#include <gtest/gtest.h>

namespace fairway::controllers {
namespace {

Json node(int n, const char* spec = "{}", const char* cpu = "4") {
  return json::parse(fmt::format(R"({{"metadata":{{"name":"node-{0}","labels":{{"kubernetes.io/hostname":"node-{0}"}}}},"spec":{1},
      "status":{{"allocatable":{{"cpu":"{2}","memory":"1Gi","pods":"110"}}}}}})",
                                 n, spec, cpu));
}
Json pod(const char* spec, const char* labels = R"({"app":"x"})", const char* owner = "rs") {
  return json::parse(fmt::format(
      R"({{"metadata":{{"name":"p","namespace":"default","labels":{},"ownerReferences":[{{"uid":"{}","controller":true}}]}},"spec":{}}})",
      labels, owner, spec));
}
const char* kPlain = R"({"containers":[{"name":"c"}]})";

TEST(Scheduler, SpreadsAReplicaSetOverNodesEvenIfOneIsBusier) {
  const Json n1 = node(1), n2 = node(2), mine = pod(kPlain), other = pod(kPlain, "{}", "else");
  std::vector<NodeView> views{{&n1, {&mine}}, {&n2, {&other, &other, &other}}};
  EXPECT_EQ(choose_node(mine, views).node, "node-2");
  EXPECT_EQ(choose_node(other, views).node, "node-1");
}

TEST(Scheduler, SaysWhyInTheUsualWords) {
  const Json n1 = node(1, "{}", "500m"), n2 = node(2, R"({"taints":[{"key":"dedicated","value":"db","effect":"NoSchedule"}]})");
  const Json p = pod(R"({"containers":[{"name":"c","resources":{"requests":{"cpu":"1"}}}]})");
  EXPECT_EQ(
      choose_node(p, {{&n1, {}}, {&n2, {}}}).message,
      "0/2 nodes are available: 1 Insufficient cpu, 1 node(s) had untolerated taint {dedicated: db}. "
      "preemption: 0/2 nodes are available: 1 No preemption victims found for incoming pod, 1 Preemption is not helpful for scheduling.");
  EXPECT_EQ(choose_node(p, {}).message, "no nodes available to schedule pods");
}

TEST(Scheduler, TolerationsAndSelectors) {
  const Json n1 = node(1, R"({"taints":[{"key":"dedicated","value":"db","effect":"NoSchedule"}]})"), n2 = node(2);
  const Json tolerant = pod(
      R"({"containers":[{"name":"c"}],"nodeSelector":{"kubernetes.io/hostname":"node-1"},"tolerations":[{"key":"dedicated","operator":"Exists"}]})");
  EXPECT_EQ(choose_node(tolerant, {{&n1, {}}, {&n2, {}}}).node, "node-1");
  const Json lost = pod(R"({"containers":[{"name":"c"}],"nodeSelector":{"disk":"ssd"}})");
  EXPECT_NE(choose_node(lost, {{&n2, {}}}).message.find("1 node(s) didn't match Pod's node affinity/selector"), std::string::npos);
  const Json by_field = pod(R"({"containers":[{"name":"c"}],"affinity":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
      {"nodeSelectorTerms":[{"matchFields":[{"key":"metadata.name","operator":"In","values":["node-2"]}]}]}}}})");
  EXPECT_EQ(choose_node(by_field, {{&n1, {}}, {&n2, {}}}).node, "node-2");
}

TEST(Scheduler, AntiAffinityHoldsBothWays) {
  const Json n1 = node(1), n2 = node(2);
  const Json anti = pod(R"({"containers":[{"name":"c"}],"affinity":{"podAntiAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
      [{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"x"}}}]}}})");
  const Json plain = pod(kPlain), stranger = pod(kPlain, R"({"app":"y"})");
  EXPECT_EQ(choose_node(anti, {{&n1, {&plain}}, {&n2, {&stranger, &stranger}}}).node, "node-2");
  EXPECT_EQ(choose_node(plain, {{&n1, {&anti}}, {&n2, {&stranger, &stranger}}}).node, "node-2");
  EXPECT_NE(choose_node(anti, {{&n1, {&plain}}}).message.find("didn't match pod anti-affinity rules"), std::string::npos);
}

TEST(Scheduler, AffinityLetsTheFirstOfAGroupGoAnywhere) {
  const Json n1 = node(1), n2 = node(2);
  const Json together = pod(R"({"containers":[{"name":"c"}],"affinity":{"podAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":
      [{"topologyKey":"kubernetes.io/hostname","labelSelector":{"matchLabels":{"app":"x"}}}]}}})");
  EXPECT_EQ(choose_node(together, {{&n1, {}}, {&n2, {}}}).node, "node-1");
  EXPECT_EQ(choose_node(together, {{&n1, {}}, {&n2, {&together}}}).node, "node-2");
}

TEST(Scheduler, RunningPodsCountAgainstMemoryAndHostPorts) {
  const Json n1 = node(1);
  const Json big =
      pod(R"({"containers":[{"name":"c","resources":{"requests":{"memory":"600Mi"}},"ports":[{"hostPort":80,"protocol":"TCP"}]}]})");
  const Json memory = pod(R"({"containers":[{"name":"c","resources":{"requests":{"memory":"600Mi"}}}]})");
  EXPECT_EQ(choose_node(memory, {{&n1, {}}}).node, "node-1");
  EXPECT_NE(choose_node(memory, {{&n1, {&big}}}).message.find("1 Insufficient memory"), std::string::npos);
  EXPECT_NE(choose_node(big, {{&n1, {&big}}}).message.find("free ports"), std::string::npos);
}

TEST(Scheduler, HostPortsClashByProtocolPortAndAddress) {
  const Json n1 = node(1);
  const auto with = [](const char* port) { return pod(fmt::format(R"({{"containers":[{{"name":"c","ports":[{}]}}]}})", port).c_str()); };
  const Json any = with(R"({"hostPort":80,"protocol":"TCP"})"), zero = with(R"({"hostPort":80,"protocol":"TCP","hostIP":"0.0.0.0"})");
  const Json one = with(R"({"hostPort":80,"protocol":"TCP","hostIP":"172.30.0.11"})"),
             two = with(R"({"hostPort":80,"protocol":"TCP","hostIP":"172.30.0.12"})");
  const Json udp = with(R"({"hostPort":80,"protocol":"UDP"})"), other = with(R"({"hostPort":81,"protocol":"TCP"})");
  for (const Json* clash : {&any, &zero, &one}) {
    EXPECT_EQ(choose_node(*clash, {{&n1, {&any}}}).node, "");
    EXPECT_EQ(choose_node(*clash, {{&n1, {&one}}}).node, "");
    EXPECT_EQ(choose_node(*clash, {{&n1, {&udp, &other}}}).node, "node-1");
  }
  EXPECT_EQ(choose_node(two, {{&n1, {&one}}}).node, "node-1");
}

}  // namespace
}  // namespace fairway::controllers
