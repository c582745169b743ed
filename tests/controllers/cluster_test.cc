#include <fmt/format.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <thread>

#include "world.h"

namespace fairway::controllers {
namespace {

Json pod(const std::string& name, const char* labels = "{}", const char* spec = "{}") {
  Json p = json::parse(fmt::format(R"({{"metadata":{{"name":"{}","labels":{}}},"spec":{{"terminationGracePeriodSeconds":1,
      "containers":[{{"name":"c","image":"nginx","ports":[{{"name":"web","containerPort":8080}}]}}]}}}})",
                                   name, labels));
  const Json more = json::parse(spec);
  for (const auto& [key, value] : more.as_object()) place(p, "spec")[key] = value;
  return p;
}

Json service(const std::string& name, const char* spec) {
  return json::object{{"metadata", {{"name", name}}}, {"spec", json::parse(spec)}};
}

struct Cluster : testing::Test {
  World world;
  void SetUp() override {
    world.add_node("node-1");
    world.add_node("node-2");
  }
  std::string node_condition(const std::string& node) {
    const Json object = world.get("nodes", node);
    for (const auto& c : items(object, "status", "conditions")) {
      if (text(c, "type") == "Ready") return std::string(text(c, "status"));
    }
    return "";
  }
  bool has_taint(const std::string& node, std::string_view key) {
    const Json n = world.get("nodes", node);
    const auto& taints = items(n, "spec", "taints");
    return std::any_of(taints.begin(), taints.end(), [&](const Json& t) { return text(t, "key") == key; });
  }
  bool running(const std::string& name) {
    return world.until([&] { return text(world.get("pods", name), "status", "phase") == "Running"; });
  }
  std::map<std::string, std::string> endpoints(const std::string& service_name) {
    std::map<std::string, std::string> found;
    for (const auto& slice : world.list("endpointslices", "kubernetes.io/service-name=" + service_name)) {
      for (const auto& e : items(slice, "endpoints")) {
        found[std::string(as_text(&items(e, "addresses")[0]))] = fmt::format(
            "{:d}{:d}{:d}", truth(e, "conditions", "ready"), truth(e, "conditions", "serving"), truth(e, "conditions", "terminating"));
      }
    }
    return found;
  }
};

TEST_F(Cluster, SystemObjectsAndFurniture) {
  ASSERT_TRUE(world.until([&] {
    return world.exists("services", "kubernetes") && world.exists("services", "kube-dns", "kube-system") &&
           world.exists("endpointslices", "kubernetes");
  }));
  EXPECT_EQ(text(world.get("services", "kubernetes"), "spec", "clusterIP"), "10.96.0.1");
  const Json dns = world.get("services", "kube-dns", "kube-system");
  EXPECT_EQ(text(dns, "spec", "clusterIP"), "10.96.0.10");
  EXPECT_EQ(items(dns, "spec", "clusterIPs").size(), 2u);
  EXPECT_EQ(text(dns, "metadata", "labels", "k8s-app"), "kube-dns");
  EXPECT_EQ(as_text(&items(items(world.get("endpointslices", "kubernetes"), "endpoints")[0], "addresses")[0]), "172.30.0.1");
  for (const std::string ns : {"default", "kube-system", "kube-node-lease"}) {
    EXPECT_TRUE(world.until([&] {
      return world.exists("serviceaccounts", "default", ns) && world.exists("configmaps", "kube-root-ca.crt", ns);
    })) << ns;
  }
  EXPECT_EQ(text(world.get("configmaps", "kube-root-ca.crt"), "data", "ca.crt"), "the CA");
  world.remove("configmaps", "kube-root-ca.crt");
  EXPECT_TRUE(world.until([&] { return world.exists("configmaps", "kube-root-ca.crt"); }));
}

TEST_F(Cluster, NodesGetTheirPodRanges) {
  EXPECT_TRUE(world.until([&] { return items(world.get("nodes", "node-2"), "spec", "podCIDRs").size() == 2; }));
  std::set<std::string> cidrs;
  for (const auto& node : world.list("nodes")) cidrs.emplace(text(node, "spec", "podCIDR"));
  EXPECT_EQ(cidrs, (std::set<std::string>{"10.244.0.0/24", "10.244.1.0/24"}));
}

TEST_F(Cluster, EndpointsFollowPods) {
  world.create(
      "services",
      service("web", R"({"selector":{"app":"web"},"ports":[{"port":80,"targetPort":"web"}],"ipFamilyPolicy":"RequireDualStack"})"));
  EXPECT_TRUE(world.until([&] { return world.list("endpointslices", "kubernetes.io/service-name=web").size() == 2; }));
  EXPECT_TRUE(endpoints("web").empty());
  world.create("pods", pod("a", R"({"app":"web"})"));
  ASSERT_TRUE(running("a"));
  const std::string ip(text(world.get("pods", "a"), "status", "podIP"));
  EXPECT_TRUE(world.until([&] { return endpoints("web")[ip] == "110"; }));
  EXPECT_EQ(endpoints("web").size(), 2u);
  EXPECT_EQ(text(items(items(world.get("endpoints", "web"), "subsets")[0], "addresses")[0], "ip"), ip);
  world.hold_termination(true);
  world.remove("pods", "a");
  EXPECT_TRUE(world.until([&] { return endpoints("web")[ip] == "011"; }));
  EXPECT_TRUE(world.until([&] { return items(world.get("endpoints", "web"), "subsets").empty(); }));
  world.hold_termination(false);
  world.patch("pods", "a", R"({"metadata":{"labels":{"poke":"1"}}})");
  EXPECT_TRUE(world.until([&] { return endpoints("web").empty(); }));
  world.remove("services", "web");
  EXPECT_TRUE(world.until(
      [&] { return world.list("endpointslices", "kubernetes.io/service-name=web").empty() && !world.exists("endpoints", "web"); }));
}

TEST_F(Cluster, TwoHundredFiftyEndpointsInThreeSlicesAndNoWritesWhenNothingChanges) {
  world.create("services",
               service("web", R"({"selector":{"app":"web"},"ports":[{"port":80,"targetPort":8080}],"ipFamilyPolicy":"SingleStack"})"));
  for (int i = 0; i < 205; ++i) world.create("pods", pod(fmt::format("p{}", i), R"({"app":"web"})"));
  EXPECT_TRUE(world.until([&] { return endpoints("web").size() == 205; }, std::chrono::seconds(60)));
  world.settle();
  const auto versions = [&] {
    std::set<std::string> all;
    for (const auto& s : world.list("endpointslices", "kubernetes.io/service-name=web")) {
      all.insert(fmt::format("{} {}", name_of(s), version_of(s)));
      EXPECT_LE(items(s, "endpoints").size(), 100u);
    }
    return all;
  };
  const auto before = versions();
  EXPECT_EQ(before.size(), 3u);
  world.restart_controllers();
  world.settle(std::chrono::milliseconds(600));
  EXPECT_EQ(versions(), before);
}

TEST_F(Cluster, HandMadeEndpointsAreMirroredAndHandMadeSlicesKept) {
  world.create("services", service("db", R"({"ports":[{"port":5432}]})"));
  world.create("endpoints",
               json::parse(R"({"metadata":{"name":"db"},"subsets":[{"addresses":[{"ip":"192.0.2.7"}],"ports":[{"port":5432}]}]})"));
  EXPECT_TRUE(world.until([&] { return endpoints("db") == (std::map<std::string, std::string>{{"192.0.2.7", "100"}}); }));
  world.patch("endpoints", "db", R"({"subsets":[{"addresses":[{"ip":"192.0.2.8"}],"ports":[{"port":5432}]}]})");
  EXPECT_TRUE(world.until([&] { return endpoints("db") == (std::map<std::string, std::string>{{"192.0.2.8", "100"}}); }));
  world.create("services", service("own", R"({"ports":[{"port":80}]})"));
  world.create("endpointslices",
               json::parse(R"({"metadata":{"name":"own-1","labels":{"kubernetes.io/service-name":"own"}},"addressType":"IPv4",
      "endpoints":[{"addresses":["192.0.2.9"],"conditions":{"ready":true}}],"ports":[{"port":80,"protocol":"TCP","name":""}]})"));
  world.settle();
  EXPECT_EQ(endpoints("own").size(), 1u);
}

TEST_F(Cluster, UnschedulableIsToldAndTriedAgain) {
  world.create("pods", pod("choosy", "{}", R"({"nodeSelector":{"disk":"ssd"}})"));
  EXPECT_TRUE(world.until([&] {
    const auto events = world.list("events");
    return std::any_of(events.begin(), events.end(), [](const Json& e) {
      return text(e, "reason") == "FailedScheduling" &&
             text(e, "message").find("2 node(s) didn't match Pod's node affinity/selector") != std::string_view::npos;
    });
  }));
  const Json waiting = world.get("pods", "choosy");
  EXPECT_EQ(text(waiting, "status", "phase"), "Pending");
  world.patch("nodes", "node-2", R"({"metadata":{"labels":{"disk":"ssd"}}})");
  EXPECT_TRUE(running("choosy"));
  EXPECT_EQ(text(world.get("pods", "choosy"), "spec", "nodeName"), "node-2");
}

TEST_F(Cluster, SilentNodeIsUnknownTaintedEvictedAndHeals) {
  world.create("services", service("web", R"({"selector":{"app":"web"},"ports":[{"port":80}],"ipFamilyPolicy":"SingleStack"})"));
  world.create("pods", pod("near", R"({"app":"web"})", R"({"nodeName":"node-1"})"));
  world.create("pods", pod("far", R"({"app":"web"})", R"({"nodeName":"node-2"})"));
  world.create(
      "pods",
      pod("hasty", "{}",
          R"({"nodeName":"node-2","tolerations":[{"key":"node.kubernetes.io/unreachable","operator":"Exists","effect":"NoExecute","tolerationSeconds":1}]})"));
  ASSERT_TRUE(running("near") && running("far") && running("hasty"));
  const std::string far(text(world.get("pods", "far"), "status", "podIP"));
  EXPECT_TRUE(world.until([&] { return endpoints("web")[far] == "110"; }));
  world.silence("node-2");
  EXPECT_TRUE(world.until([&] { return node_condition("node-2") == "Unknown" && has_taint("node-2", "node.kubernetes.io/unreachable"); }));
  EXPECT_TRUE(world.until([&] { return endpoints("web")[far] == "000"; }));
  EXPECT_EQ(node_condition("node-1"), "True");
  EXPECT_TRUE(world.until([&] { return is_terminating(world.get("pods", "hasty")); }));
  EXPECT_FALSE(is_terminating(world.get("pods", "far")));  // the default is 300 s
  world.wake("node-2");
  EXPECT_TRUE(world.until([&] { return node_condition("node-2") == "True" && !has_taint("node-2", "node.kubernetes.io/unreachable"); }));
  EXPECT_TRUE(world.until([&] { return endpoints("web")[far] == "110"; }));
}

TEST_F(Cluster, APauseOfThisProcessIsNotTheNodesSilence) {
  ASSERT_TRUE(world.until([&] { return node_condition("node-1") == "True"; }));
  world.settle(std::chrono::milliseconds(300));
  world.silence("node-1");                                       // its next renewal comes a little after we wake up
  std::this_thread::sleep_for(std::chrono::milliseconds(1500));  // the loop stands still for longer than the grace period
  world.settle(std::chrono::milliseconds(150));
  EXPECT_EQ(node_condition("node-1"), "True");
  EXPECT_FALSE(has_taint("node-1", "node.kubernetes.io/unreachable"));
}

TEST_F(Cluster, PodsOfARemovedNodeGo) {
  world.create("pods", pod("p", "{}", R"({"nodeName":"node-2"})"));
  ASSERT_TRUE(running("p"));
  world.silence("node-2");
  world.remove("nodes", "node-2");
  EXPECT_TRUE(world.until([&] { return !world.exists("pods", "p"); }));
  EXPECT_TRUE(world.until([&] { return !world.exists("leases", "node-2", "kube-node-lease"); }));
}

TEST_F(Cluster, NamespaceIsEmptiedPodsFirst) {
  world.create("namespaces", json::parse(R"({"metadata":{"name":"gone"}})"));
  world.create("pods", pod("p", "{}", R"({"nodeName":"node-1"})"), "gone");
  world.create("networkpolicies", json::parse(R"({"metadata":{"name":"np"},"spec":{"podSelector":{}}})"), "gone");
  world.create("configmaps", json::parse(R"({"metadata":{"name":"cm"},"data":{"a":"b"}})"), "gone");
  ASSERT_TRUE(world.until([&] { return text(world.get("pods", "p", "gone"), "status", "phase") == "Running"; }));
  world.hold_termination(true);
  world.remove("namespaces", "gone");
  EXPECT_TRUE(world.until([&] { return is_terminating(world.get("pods", "p", "gone")); }));
  world.settle(std::chrono::milliseconds(700));
  EXPECT_TRUE(world.exists("networkpolicies", "np", "gone"));  // the policy holds while the pod runs
  world.hold_termination(false);
  world.patch("pods", "p", R"({"metadata":{"labels":{"poke":"1"}}})", "gone");
  EXPECT_TRUE(world.until([&] { return !world.exists("namespaces", "gone"); }));
}

TEST_F(Cluster, DependentsAreCollectedOnceAllOwnersAreGone) {
  const Json a = world.create("configmaps", json::parse(R"({"metadata":{"name":"a"}})"));
  const Json b = world.create("configmaps", json::parse(R"({"metadata":{"name":"b"}})"));
  Json child = json::parse(R"({"metadata":{"name":"child"}})");
  json::array owners;
  for (const Json* o : {&a, &b})
    owners.push_back(json::object{{"apiVersion", "v1"}, {"kind", "ConfigMap"}, {"name", name_of(*o)}, {"uid", uid_of(*o)}});
  place(child, "metadata")["ownerReferences"] = std::move(owners);
  world.create("configmaps", child);
  Json orphan = json::parse(
      R"({"metadata":{"name":"born-orphan","ownerReferences":[{"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"another-uid"}]}})");
  world.create("configmaps", orphan);
  EXPECT_TRUE(world.until([&] { return !world.exists("configmaps", "born-orphan"); }));
  world.remove("configmaps", "a");
  EXPECT_TRUE(world.until([&] { return items(world.get("configmaps", "child"), "metadata", "ownerReferences").size() == 1; }));
  world.remove("configmaps", "b");
  EXPECT_TRUE(world.until([&] { return !world.exists("configmaps", "child"); }));
}

}  // namespace
}  // namespace fairway::controllers
