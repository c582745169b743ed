#include "reflect/cluster.h"

#include <gtest/gtest.h>

#include "reflect/test_support.h"

namespace fairway::reflect {
namespace {

using k8s::Kind;

class ClusterTest : public ::testing::Test {
 protected:
  void put(Kind kind, std::string json) { reflect::feed(cluster_, kind, std::move(json), false); }
  void remove(Kind kind, std::string json) { reflect::feed(cluster_, kind, std::move(json), true); }
  void pod(const std::string& ns, const std::string& name, const std::string& addr, const std::string& more = "") {
    put(Kind::kPod, R"({"metadata":{"namespace":")" + ns + R"(","name":")" + name + R"("},"spec":{"nodeName":"n2")" + more +
                        R"(},"status":{"phase":"Running","podIPs":[{"ip":")" + addr + R"("}]}})");
  }
  void slice(const std::string& ns, const std::string& addrs, const std::string& service = "web") {
    put(Kind::kEndpointSlice, R"({"metadata":{"namespace":")" + ns + R"(","name":"web-1","labels":{"kubernetes.io/service-name":")" +
                                  service + R"("}},"addressType":"IPv4","ports":[{"name":"http","port":80}],"endpoints":[{"addresses":[)" +
                                  addrs + "]}]}");
  }
  std::vector<std::string> admitted(const std::string& ns) {
    std::vector<std::string> out;
    const auto number = cluster_.service_number(ns + "/web");
    if (!number) return out;
    for (const auto& s : cluster_.admitted_slices(*number))
      for (const auto& e : s.endpoints) out.push_back(e.addr.to_string());
    return out;
  }
  std::vector<std::string> problems() {
    std::vector<std::string> out;
    problems_.for_each(
        [&](const std::string& object, const model::Problem& p) { out.push_back(object + ": " + p.field + ": " + p.reason); });
    return out;
  }
  model::Problems problems_;
  Cluster cluster_{problems_};
};
using Texts = std::vector<std::string>;

// CVE-2021-25740: whoever may write slices must not reach what the network keeps from them.
TEST_F(ClusterTest, ForeignAddressesAreRefused) {
  put(Kind::kNode, R"({"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}})");
  pod("other", "db", "10.244.0.9");
  slice("default", R"("10.244.0.9")");
  EXPECT_EQ(admitted("default"), Texts{});
  EXPECT_EQ(problems(), Texts{"EndpointSlice default/web-1: endpoints[0].addresses[0]: 10.244.0.9 is a pod's of namespace other: refused"});
  slice("default", R"("10.0.0.1")");
  EXPECT_EQ(admitted("default"), Texts{});
  EXPECT_EQ(problems(), Texts{"EndpointSlice default/web-1: endpoints[0].addresses[0]: 10.0.0.1 is an address of node n1: refused"});
  for (const char* addr : {"127.0.0.1", "169.254.169.254", "224.0.0.1", "0.0.0.0", "255.255.255.255"}) {
    slice("default", "\"" + std::string(addr) + "\"");
    EXPECT_EQ(admitted("default"), Texts{}) << addr;
    EXPECT_EQ(problems().size(), 1U) << addr;
  }
  slice("default", R"("192.0.2.7")");  // beyond the cluster: allowed
  EXPECT_EQ(admitted("default"), Texts{"192.0.2.7"});
  EXPECT_EQ(problems(), Texts{});
}

TEST_F(ClusterTest, OwnPodsAndHostNetworkPodsAreAdmitted) {
  put(Kind::kNode, R"({"metadata":{"name":"n1"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.1"}]}})");
  pod("default", "web", "10.244.0.9");
  slice("default", R"("10.244.0.9")");
  EXPECT_EQ(admitted("default"), Texts{"10.244.0.9"});
  pod("default", "agent", "10.0.0.1", R"(,"hostNetwork":true)");
  slice("default", R"("10.0.0.1")");
  EXPECT_EQ(admitted("default"), Texts{"10.0.0.1"});
}

// An address that changes hands: the Service that named it is looked at again, and loses it.
TEST_F(ClusterTest, AReusedAddressIsTakenFromTheOldService) {
  pod("default", "web", "10.244.0.9");
  slice("default", R"("10.244.0.9")");
  (void)cluster_.take_changes();
  remove(Kind::kPod, R"({"metadata":{"namespace":"default","name":"web"}})");
  pod("other", "db", "10.244.0.9");
  const auto changes = cluster_.take_changes();
  ASSERT_EQ(changes.services.size(), 1U);
  EXPECT_EQ(cluster_.service_key(changes.services[0]), "default/web");
  EXPECT_EQ(admitted("default"), Texts{});
}

TEST_F(ClusterTest, ATerminatedPodHasNoAddress) {
  pod("other", "job", "10.244.0.9");
  slice("default", R"("10.244.0.9")");
  EXPECT_EQ(admitted("default"), Texts{});
  put(Kind::kPod,
      R"({"metadata":{"namespace":"other","name":"job"},"spec":{"nodeName":"n2"},"status":{"phase":"Succeeded","podIPs":[{"ip":"10.244.0.9"}]}})");
  EXPECT_EQ(admitted("default"), Texts{"10.244.0.9"});
}

TEST_F(ClusterTest, ANamespaceMayOptIn) {
  pod("other", "db", "10.244.0.9");
  slice("default", R"("10.244.0.9")");
  EXPECT_EQ(admitted("default"), Texts{});
  (void)cluster_.take_changes();
  put(Kind::kNamespace, R"({"metadata":{"name":"default","labels":{"fairway.io/foreign-endpoints":"allow"}}})");
  EXPECT_EQ(cluster_.take_changes().services.size(), 1U);
  EXPECT_EQ(admitted("default"), Texts{"10.244.0.9"});
}

TEST_F(ClusterTest, ABadObjectKeepsTheOldState) {
  put(Kind::kService, R"({"metadata":{"namespace":"default","name":"web"},"spec":{"clusterIPs":["10.96.0.1"],"ports":[{"port":80}]}})");
  for (const char* bad :
       {R"("clusterIPs":["10.96.0.256"],"ports":[{"port":80}])", R"("clusterIPs":["10.96.0.1"],"ports":[{"port":70000}])",
        R"("clusterIPs":["10.96.0.1"],"ports":[{"port":80,"protocol":"QUIC"}])", R"("type":"Surprise")", R"("ports":{})"}) {
    put(Kind::kService, R"({"metadata":{"namespace":"default","name":"web"},"spec":{)" + std::string(bad) + "}}");
    EXPECT_EQ(problems().size(), 1U) << bad;
    const auto row = cluster_.find_service("default/web");
    ASSERT_TRUE(row.has_value());
    EXPECT_EQ(row->ports.size(), 1U);
  }
  put(Kind::kService, R"({"metadata":{"namespace":"default","name":"web"},"spec":{"clusterIPs":["10.96.0.1"],"ports":[{"port":81}]}})");
  EXPECT_EQ(problems(), Texts{});
}

TEST_F(ClusterTest, ABadObjectSurvivesARelist) {
  put(Kind::kService, R"({"metadata":{"namespace":"default","name":"web"},"spec":{"clusterIPs":["10.96.0.1"],"ports":[{"port":80}]}})");
  put(Kind::kService, R"({"metadata":{"namespace":"default","name":"old"},"spec":{"clusterIPs":["10.96.0.2"],"ports":[{"port":80}]}})");
  EXPECT_FALSE(cluster_.synced(Kind::kService));
  cluster_.begin_relist(Kind::kService);
  put(Kind::kService, R"({"metadata":{"namespace":"default","name":"web"},"spec":{"ports":7}})");
  cluster_.end_relist(Kind::kService);
  EXPECT_TRUE(cluster_.synced(Kind::kService));
  EXPECT_TRUE(cluster_.find_service("default/web").has_value());
  EXPECT_FALSE(cluster_.find_service("default/old").has_value());
}

TEST_F(ClusterTest, ASliceThatMovesToAnotherServiceChangesBoth) {
  slice("default", R"("192.0.2.7")", "web");
  (void)cluster_.take_changes();
  slice("default", R"("192.0.2.7")", "api");
  EXPECT_EQ(cluster_.take_changes().services.size(), 2U);
  EXPECT_EQ(admitted("default"), Texts{});
}

TEST_F(ClusterTest, ANodeHasOneInternalAddressAFamilyAndOthers) {
  put(Kind::kNode, R"({"metadata":{"name":"n1"},"status":{"addresses":[{"type":"Hostname","address":"n1"},
      {"type":"ExternalIP","address":"203.0.113.1"},{"type":"InternalIP","address":"10.0.0.1"},{"type":"ExternalIP","address":"0.0.0.0"},
      {"type":"InternalIP","address":"10.0.0.2"},{"type":"InternalIP","address":"fd00::1"},{"type":"ExternalIP","address":"none"}]}})");
  const auto node = cluster_.find_node("n1");
  ASSERT_TRUE(node);
  const auto texts = [](const std::vector<net::IpAddr>& addrs) {
    Texts out;
    for (const auto& addr : addrs) out.push_back(addr.to_string());
    return out;
  };
  EXPECT_EQ(texts(node->addresses), (Texts{"10.0.0.1", "fd00::1"}));
  EXPECT_EQ(texts(node->other_addresses), (Texts{"203.0.113.1", "10.0.0.2"}));
  EXPECT_EQ(problems(), Texts{});
}

// A heartbeat that finds the node well changes nothing, so that nothing is worked on each time.
TEST_F(ClusterTest, ANodeThatIsNotReadySaysSinceWhen) {
  const auto node = [&](const std::string& heartbeat, const std::string& ready) {
    put(Kind::kNode, R"({"metadata":{"name":"n1"},"status":{"conditions":[{"type":"MemoryPressure","status":"False"},
        {"lastHeartbeatTime":")" +
                         heartbeat + R"(",)" + ready + R"(,"type":"Ready"},{"type":"DiskPressure","status":"Unknown"}]}})");
    return cluster_.find_node("n1")->unready;
  };
  EXPECT_FALSE(node("2026-01-02T03:04:00Z", R"("status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","message":"up")"));
  (void)cluster_.take_changes();
  EXPECT_FALSE(node("2026-01-02T03:05:00Z", R"("status":"True","lastTransitionTime":"2026-01-01T00:00:00Z","message":"up")"));
  EXPECT_TRUE(cluster_.take_changes().nodes.empty());
  const auto gone =
      node("2026-01-02T03:05:00Z", R"("status":"Unknown","lastTransitionTime":"2026-01-02T03:06:07Z","message":"silent\u001b[2J")");
  ASSERT_TRUE(gone);
  EXPECT_EQ(gone->since, "2026-01-02T03:06:07Z");
  EXPECT_EQ(gone->message, "silent [2J");
  EXPECT_EQ(cluster_.take_changes().nodes.size(), 1U);
  EXPECT_TRUE(node("2026-01-02T03:05:00Z", R"("status":"False","lastTransitionTime":null,"message":"no network")"));
}

TEST_F(ClusterTest, ANodeThatComesLateBringsItsPodsAlong) {
  pod("default", "web", "10.244.0.9");
  EXPECT_EQ(cluster_.take_changes().addresses.size(), 1U);
  put(Kind::kNode, R"({"metadata":{"name":"n2"},"status":{"addresses":[{"type":"InternalIP","address":"10.0.0.2"}]}})");
  EXPECT_EQ(cluster_.take_changes().addresses.size(), 2U);  // the node's own, and its pod's
}

constexpr const char* kDenyAll = R"({"metadata":{"namespace":"old","name":"deny"},"spec":{"podSelector":{}}})";

TEST_F(ClusterTest, PoliciesAndNamespacesAreAmongTheChanges) {
  put(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kClusterNetworkPolicy, R"({"metadata":{"name":"deny"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})");
  put(Kind::kNamespace, R"({"metadata":{"name":"old","labels":{"a":"b"}}})");
  EXPECT_TRUE(cluster_.has_changes());
  const auto changes = cluster_.take_changes();
  EXPECT_EQ(changes.policies, (Texts{"deny", "old/deny"}));
  EXPECT_EQ(changes.namespaces, Texts{"old"});
  EXPECT_TRUE(cluster_.find_policy("old/deny")->isolates_ingress);
  EXPECT_EQ(cluster_.find_policy("deny")->tier, model::PolicyTier::kAdmin);
  put(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kNamespace, R"({"metadata":{"name":"old","labels":{"a":"b"},"resourceVersion":"7"}})");
  EXPECT_FALSE(cluster_.has_changes());
  put(Kind::kNamespace, R"({"metadata":{"name":"old","labels":{"a":"c"}}})");
  EXPECT_EQ(cluster_.take_changes().namespaces, Texts{"old"});
  remove(Kind::kNetworkPolicy, kDenyAll);
  EXPECT_EQ(cluster_.take_changes().policies, Texts{"old/deny"});
  EXPECT_FALSE(cluster_.find_policy("old/deny").has_value());
  EXPECT_TRUE(cluster_.find_policy("deny").has_value());
}

TEST_F(ClusterTest, APolicyThatCannotBeReadLeavesTheOldOne) {
  put(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kNetworkPolicy, R"({"metadata":{"namespace":"old","name":"deny"},"spec":{"podSelector":{"matchLabels":{"?":"x"}}}})");
  EXPECT_TRUE(cluster_.find_policy("old/deny").has_value());
  EXPECT_EQ(problems(),
            Texts{R"(NetworkPolicy old/deny: spec.podSelector.matchLabels: "?" is not a label's key: the old policy stays in force)"});
  put(Kind::kNetworkPolicy, kDenyAll);
  EXPECT_EQ(problems(), Texts{});
}

TEST_F(ClusterTest, RestoredPoliciesAreOfTheirKind) {
  put(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kClusterNetworkPolicy, R"({"metadata":{"name":"deny"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})");
  Cluster other(problems_);
  const auto bytes = [&](Kind kind, const char* key) { return *cluster_.table(kind).find(key); };
  EXPECT_TRUE(other.restore(Kind::kNetworkPolicy, "old/deny", bytes(Kind::kNetworkPolicy, "old/deny")));
  EXPECT_TRUE(other.restore(Kind::kClusterNetworkPolicy, "deny", bytes(Kind::kClusterNetworkPolicy, "deny")));
  EXPECT_FALSE(other.restore(Kind::kNetworkPolicy, "deny", bytes(Kind::kClusterNetworkPolicy, "deny")));
  EXPECT_FALSE(other.restore(Kind::kClusterNetworkPolicy, "old/deny", bytes(Kind::kNetworkPolicy, "old/deny")));
  EXPECT_EQ(other.find_policy("old/deny"), cluster_.find_policy("old/deny"));
  EXPECT_EQ(other.find_policy("deny"), cluster_.find_policy("deny"));
}

// CVE-2024-7598: a namespace's objects are deleted in no order, and its pods run on for their grace.
class GoingNamespace : public ClusterTest {
 protected:
  void SetUp() override {
    put(Kind::kNamespace, R"({"metadata":{"name":"old"}})");
    put(Kind::kNetworkPolicy, kDenyAll);
    pod("old", "a", "10.244.0.9");
    pod("old", "b", "10.244.0.10");
  }
  void terminating() { put(Kind::kNamespace, R"({"metadata":{"name":"old"},"status":{"phase":"Terminating"}})"); }
  void gone(const std::string& name) { remove(Kind::kPod, R"({"metadata":{"namespace":"old","name":")" + name + R"("}})"); }
  bool in_force() const { return cluster_.find_policy("old/deny").has_value(); }
};

TEST_F(GoingNamespace, KeepsItsPoliciesUntilItsPodsAreGone) {
  terminating();
  remove(Kind::kNetworkPolicy, kDenyAll);
  EXPECT_TRUE(in_force());
  cluster_.begin_relist(Kind::kNetworkPolicy);
  cluster_.end_relist(Kind::kNetworkPolicy);
  EXPECT_TRUE(in_force());
  gone("a");
  remove(Kind::kNamespace, R"({"metadata":{"name":"old"}})");  // seen before the pods' last event
  EXPECT_TRUE(in_force());
  (void)cluster_.take_changes();
  put(Kind::kPod, R"({"metadata":{"namespace":"old","name":"b"},"status":{"phase":"Failed","podIPs":[{"ip":"10.244.0.10"}]}})");
  EXPECT_FALSE(in_force());
  EXPECT_EQ(cluster_.take_changes().policies, Texts{"old/deny"});
}

TEST_F(GoingNamespace, OneThatStaysLosesItsPolicyAtOnce) {
  remove(Kind::kNetworkPolicy, kDenyAll);
  EXPECT_FALSE(in_force());
}

TEST_F(GoingNamespace, ANewNamespaceOfTheNameStartsWithout) {
  terminating();
  remove(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kNamespace, R"({"metadata":{"name":"old"}})");
  EXPECT_FALSE(in_force());
}

TEST_F(GoingNamespace, APolicyThatIsWrittenAgainIsAnObjectAgain) {
  terminating();
  remove(Kind::kNetworkPolicy, kDenyAll);
  put(Kind::kNetworkPolicy, kDenyAll);
  gone("a");
  gone("b");
  EXPECT_TRUE(in_force());
  remove(Kind::kNetworkPolicy, kDenyAll);
  EXPECT_FALSE(in_force());
}

TEST_F(ClusterTest, NamesAreChecked) {
  put(Kind::kPod, R"({"metadata":{"namespace":"a/b","name":"x"}})");
  put(Kind::kPod, R"({"metadata":{"namespace":"a","name":"x\ny"}})");
  put(Kind::kPod, R"({"metadata":{"namespace":"a"}})");
  EXPECT_EQ(cluster_.table(Kind::kPod).size(), 0U);
  EXPECT_FALSE(problems().empty());
}

}  // namespace
}  // namespace fairway::reflect
