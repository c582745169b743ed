#include "runtime/pod_env.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace fairway::runtime {
namespace {

Json parse(const char* in) { return boost::json::parse(in); }

TEST(ExpandVariables, FollowsKubernetes) {
  const std::map<std::string, std::string> v = {{"A", "1"}, {"B", "$(A)"}};
  EXPECT_EQ(expand_variables("$(A)-$(B)", v), "1-$(A)") << "a value is not expanded again";
  EXPECT_EQ(expand_variables("$$(A)", v), "$(A)");
  EXPECT_EQ(expand_variables("$(NONE) $A $( $", v), "$(NONE) $A $( $");
  EXPECT_EQ(expand_variables("$$$(A)", v), "$1");
}

TEST(PodField, KnowsTheDownwardApi) {
  const Json pod =
      parse(R"({"metadata":{"name":"n","namespace":"s","uid":"u","labels":{"a/b":"1","z":"\"q\""}},"spec":{"serviceAccountName":"sa"}})");
  const PodFacts facts{
      .pod = &pod, .node_name = "node", .pod_ips = {"10.0.0.1", "fd00::1"}, .host_ips = {"172.30.0.11"}, .allocatable = {}};
  EXPECT_EQ(*pod_field(facts, "metadata.name"), "n");
  EXPECT_EQ(*pod_field(facts, "metadata.labels['a/b']"), "1");
  EXPECT_EQ(*pod_field(facts, "metadata.labels['none']"), "");
  EXPECT_EQ(*pod_field(facts, "metadata.labels"), "a/b=\"1\"\nz=\"\\\"q\\\"\"");
  EXPECT_EQ(*pod_field(facts, "status.podIPs"), "10.0.0.1,fd00::1");
  EXPECT_EQ(*pod_field(facts, "spec.nodeName"), "node");
  EXPECT_FALSE(pod_field(facts, "spec.containers").ok());
}

TEST(ResourceField, WithoutALimitIsWhatTheNodeCanGive) {
  PodFacts facts;
  facts.allocatable = {{"cpu", "4"}, {"memory", "1000Ki"}};
  const Json free = parse(R"({"resources":{"limits":{"cpu":"0"}}})");
  EXPECT_EQ(*resource_field(facts, free, "limits.memory", ""), "1024000");
  EXPECT_EQ(*resource_field(facts, free, "limits.memory", "1Mi"), "1") << "rounded up";
  EXPECT_EQ(*resource_field(facts, free, "limits.cpu", "1m"), "4000") << "a limit of 0 is none";
  EXPECT_EQ(*resource_field(facts, free, "requests.memory", ""), "0");
  EXPECT_EQ(*resource_field(facts, free, "limits.hugepages-2Mi", ""), "0");
  const Json bound = parse(R"({"resources":{"limits":{"cpu":"1500m","memory":2048},"requests":{"cpu":"250m"}}})");
  EXPECT_EQ(*resource_field(facts, bound, "limits.cpu", ""), "2");
  EXPECT_EQ(*resource_field(facts, bound, "limits.memory", "1Ki"), "2");
  EXPECT_EQ(*resource_field(facts, bound, "requests.cpu", "1m"), "250");
}

TEST(ServiceVariables, AreThoseOfDockerLinks) {
  const Json web = parse(
      R"({"metadata":{"name":"my-web","namespace":"default"},"spec":{"clusterIP":"10.96.0.9","ports":[{"name":"http","port":80},{"port":53,"protocol":"UDP"}]}})");
  const Json api = parse(
      R"({"metadata":{"name":"kubernetes","namespace":"default"},"spec":{"clusterIP":"10.96.0.1","ports":[{"name":"https","port":443}]}})");
  const Json headless = parse(R"({"metadata":{"name":"h","namespace":"default"},"spec":{"clusterIP":"None","ports":[{"port":80}]}})");
  auto here = service_variables({&web, &api, &headless}, "default", true);
  EXPECT_EQ(here["MY_WEB_SERVICE_HOST"], "10.96.0.9");
  EXPECT_EQ(here["MY_WEB_SERVICE_PORT_HTTP"], "80");
  EXPECT_EQ(here["MY_WEB_PORT"], "tcp://10.96.0.9:80");
  EXPECT_EQ(here["MY_WEB_PORT_53_UDP"], "udp://10.96.0.9:53");
  EXPECT_FALSE(here.contains("H_SERVICE_HOST"));
  const auto elsewhere = service_variables({&web, &api}, "other", true);
  EXPECT_TRUE(elsewhere.contains("KUBERNETES_SERVICE_HOST"));
  EXPECT_FALSE(elsewhere.contains("MY_WEB_SERVICE_HOST"));
  EXPECT_FALSE(service_variables({&web, &api}, "default", false).contains("MY_WEB_SERVICE_HOST"));
}

TEST(ContainerEnv, OrdersItsSources) {
  const Json pod = parse(R"({"metadata":{"name":"n","namespace":"s"}})");
  const Json container = parse(
      R"J({"envFrom":[{"prefix":"P_","configMapRef":{"name":"cm"}}],"env":[{"name":"A","value":"own"},{"name":"B","value":"$(A)$(P_k)$(SVC)"},
      {"name":"C","valueFrom":{"secretKeyRef":{"name":"s","key":"x"}}},{"name":"D","valueFrom":{"configMapKeyRef":{"name":"no","key":"k","optional":true}}}]})J");
  const PodFacts facts{.pod = &pod, .node_name = "", .pod_ips = {}, .host_ips = {}, .allocatable = {}};
  ConfigObjects objects;
  objects["configmaps/cm"] = parse(R"({"data":{"k":"v"}})");
  objects["secrets/s"] = parse(R"({"data":{"x":"c2VjcmV0"}})");
  objects["configmaps/no"] = Json();
  auto env = container_env(facts, container, {"A=image", "PATH=/bin"}, {{"SVC", "svc"}}, objects);
  ASSERT_TRUE(env.ok()) << env.error().message;
  EXPECT_EQ(*env, (std::vector<std::string>{"A=own", "B=ownvsvc", "C=secret", "PATH=/bin", "P_k=v", "SVC=svc"}));
  objects["secrets/s"] = Json();
  env = container_env(facts, container, {}, {}, objects);
  ASSERT_FALSE(env.ok());
  EXPECT_EQ(env.error().message, "secret \"s\" not found");
}

}  // namespace
}  // namespace fairway::runtime
