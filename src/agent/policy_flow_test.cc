// The policies' step of the flow over maps in memory: what it feeds the engine, what an ADD waits for, and what outlives what.
#include "agent/policy_flow.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <unistd.h>

#include <chrono>
#include <filesystem>

#include "agent/object_log.h"
#include "datapath/memory_policy_tables.h"
#include "reflect/test_support.h"
#include "sys/log.h"

namespace fairway::agent {
namespace {

using compile::policy::Direction;
using k8s::Kind;
using std::chrono::seconds;

struct Host final : sinks::PolicyHost {
  void wait_for_readers(std::function<void()> done) override { done(); }
  void begin_tracking(std::vector<std::uint32_t>, std::function<void(Status)> done) override { done({}); }
  Status make_room(const datapath::Room&) override { return {}; }
  Result<std::vector<std::uint32_t>> tracked() override { return std::vector<std::uint32_t>(); }
};

// An agent that knows objects, pods and policies alone.
struct Node {
  explicit Node(datapath::MemoryPolicyTables& tables, PolicyConfig config = {})
      : flow(cluster, problems, {tables, host, [] {}, [this] { return online; }}, std::move(config)) {
    EXPECT_TRUE(flow.adopt().ok());
  }
  void put(Kind kind, std::string json) { reflect::feed(cluster, kind, std::move(json), false); }
  void remove(Kind kind, std::string json) { reflect::feed(cluster, kind, std::move(json), true); }
  void run() { flow.run(cluster.take_changes(), now); }
  void pod(const std::string& name, const std::string& addr, const std::string& labels = "") {
    put(Kind::kPod, R"({"metadata":{"namespace":"d","name":")" + name + R"(","uid":"u-)" + name + R"(","labels":{)" + labels +
                        R"(}},"spec":{"nodeName":"n1"},"status":{"phase":"Running","podIPs":[{"ip":")" + addr + R"("}]}})");
  }
  std::vector<std::string> errors() const {
    std::vector<std::string> out;
    problems.for_each(
        [&](const std::string& object, const model::Problem& p) { out.push_back(object + ": " + p.field + ": " + p.reason); });
    return out;
  }
  // What an ADD of the pod answers; nothing while it waits.
  std::shared_ptr<std::optional<Status>> admit(const model::LocalEndpoint& pod) {
    auto answer = std::make_shared<std::optional<Status>>();
    flow.add_local(pod);
    flow.admit(pod, now, [answer](Status status) { *answer = std::move(status); });
    return answer;
  }

  bool online = true;
  model::Problems problems;
  reflect::Cluster cluster{problems};
  Host host;
  PolicyFlow flow;
  PolicyFlow::TimePoint now{PolicyFlow::TimePoint{} + std::chrono::hours(1)};
};

class PolicyFlowTest : public ::testing::Test {
 protected:
  static model::LocalEndpoint local(const std::string& name, std::uint32_t ifindex = 7) {
    model::LocalEndpoint out;
    out.pod = {"d", name};
    out.pod_uid = "u-" + name;
    out.host_ifindex = ifindex;
    out.ips = {*net::IpAddr::parse("10.0.0.7")};
    return out;
  }
  // How the tables in force judge what the pod behind the interface receives where no rule matches.
  int fallback(std::uint32_t ifindex) {
    const auto row = tables.pol_subjects().lookup(ifindex);
    return row.ok() ? row->v[tables.policy_generation() & 1].fallback[FW_POL_INGRESS] : FW_SUBJECT_OPEN;
  }
  datapath::MemoryPolicyTables tables;
  Node node{tables};
};

constexpr char kDeny[] = R"({"metadata":{"namespace":"d","name":"deny","uid":"p","generation":1},"spec":{"podSelector":{}}})";
constexpr char kNamespace[] = R"({"metadata":{"name":"d"}})";
constexpr char kGoing[] = R"({"metadata":{"name":"d"},"status":{"phase":"Terminating"}})";

// --- memory

TEST_F(PolicyFlowTest, WithoutAPolicyTheEngineKnowsNoObjects) {
  node.put(Kind::kNamespace, kNamespace);
  node.pod("a", "10.0.0.7");
  node.run();
  EXPECT_EQ(node.flow.engine().objects(), 0U);
  node.flow.add_local(local("a"));
  node.run();
  EXPECT_EQ(node.flow.engine().objects(), 1U) << "the pod of this node, by its name alone";
  // The first policy finds all that was there before it.
  node.put(Kind::kNetworkPolicy, kDeny);
  node.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  const auto* rule = node.flow.engine().find_rule(1);
  ASSERT_NE(rule, nullptr);
  EXPECT_EQ(rule->policies.front().policy.name, "deny");
  node.remove(Kind::kNetworkPolicy, kDeny);
  node.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
  EXPECT_EQ(node.flow.engine().objects(), 1U);
  // Drops are counted by a rule's number: another policy's is another.
  node.put(Kind::kNetworkPolicy, R"({"metadata":{"namespace":"d","name":"next","uid":"q","generation":1},"spec":{"podSelector":{}}})");
  node.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  EXPECT_EQ(node.flow.engine().find_rule(1), nullptr);
  const auto row = tables.pol_subjects().lookup(7);
  ASSERT_TRUE(row.ok());
  const auto* next = node.flow.engine().find_rule(row->v[tables.policy_generation() & 1].rule[FW_POL_INGRESS]);
  ASSERT_NE(next, nullptr);
  EXPECT_EQ(next->policies.front().policy.name, "next");
}

// --- the node's resolver

TEST_F(PolicyFlowTest, TheResolverIsWhatPoliciesForDnsSelect) {
  const auto dns = *net::IpAddr::parse("10.96.0.10");
  Node served(tables, {model::Pod{.id = {"kube-system", "kube-dns (node)"}, .ips = {dns}, .labels = {{"k8s-app", "kube-dns"}}}, {}});
  const auto resolves = [&](std::uint16_t port) {
    return served.flow.engine().judge(7, Direction::kEgress, dns, IPPROTO_UDP, port).allowed;
  };
  served.put(Kind::kNamespace, kNamespace);
  served.put(Kind::kNamespace, R"({"metadata":{"name":"kube-system","labels":{"kubernetes.io/metadata.name":"kube-system"}}})");
  served.pod("a", "10.0.0.7");
  served.flow.add_local(local("a"));
  served.run();
  EXPECT_TRUE(resolves(53)) << "no policy";
  const char kClosed[] = R"({"metadata":{"namespace":"d","name":"closed"},"spec":{"podSelector":{},"policyTypes":["Egress"]}})";
  served.put(Kind::kNetworkPolicy, kClosed);
  served.run();
  EXPECT_FALSE(resolves(53)) << "all egress is denied";
  // as the manifests of other clusters have it
  served.put(Kind::kNetworkPolicy,
             R"({"metadata":{"namespace":"d","name":"dns"},"spec":{"podSelector":{},"policyTypes":["Egress"],"egress":[{"to":[{
                 "namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"kube-system"}},
                 "podSelector":{"matchLabels":{"k8s-app":"kube-dns"}}}],"ports":[{"protocol":"UDP","port":53}]}]}})");
  served.run();
  EXPECT_TRUE(resolves(53));
  EXPECT_FALSE(resolves(5353));
}

// --- numbers that run out

// `count` policies that name a thousand ports each, every port a class of its own.
void put_ports(Node& node, std::size_t from, std::size_t to) {
  for (std::size_t i = from; i < to; ++i) {
    std::string ports;
    for (std::size_t p = i * 1000; p < (i + 1) * 1000; ++p)
      ports += std::string(ports.empty() ? "" : ",") + R"({"protocol":")" + (p < 65000 ? "TCP" : "UDP") + R"(","port":)" +
               std::to_string(p % 65000 + 1) + "}";
    node.put(Kind::kNetworkPolicy, R"({"metadata":{"namespace":"d","name":"ports)" + std::to_string(i) +
                                       R"(","generation":1},"spec":{"podSelector":{},"ingress":[{"ports":[)" + ports + "]}]}}");
  }
}

TEST_F(PolicyFlowTest, MorePortClassesThanNumbersLeaveTheOldPoliciesInForceAndSaySo) {
  node.put(Kind::kNamespace, kNamespace);
  node.pod("a", "10.0.0.7");
  node.flow.add_local(local("a"));
  put_ports(node, 0, 64);
  node.run();
  ASSERT_TRUE(node.flow.in_force());
  const auto generation = tables.policy_generation();
  const auto subject = tables.pol_subjects().lookup(7)->v[generation & 1].id;
  const auto verdicts = tables.pol_verdicts().size();
  put_ports(node, 64, 67);
  node.put(Kind::kNetworkPolicy,
           R"({"metadata":{"namespace":"d","name":"egress","generation":1},"spec":{"podSelector":{},"policyTypes":["Egress"]}})");
  node.run();
  EXPECT_EQ(tables.policy_generation(), generation);
  EXPECT_FALSE(node.flow.in_force());
  const std::vector<std::string> said = {
      "Policies: ports: they cut the ports into more classes than there are numbers (65534): the old policies stay in force"};
  EXPECT_EQ(node.errors(), said);
  node.now += seconds(60);
  node.run();  // nothing came
  EXPECT_EQ(node.errors(), said) << "it is still so";
  EXPECT_EQ(tables.pol_subjects().lookup(7)->v[generation & 1].id, subject);
  EXPECT_EQ(tables.pol_subjects().lookup(7)->v[generation & 1].fallback[FW_POL_EGRESS], FW_SUBJECT_OPEN);
  // A pod that comes meanwhile is told, not let in unjudged.
  node.pod("b", "10.0.0.8");
  const auto answer = node.admit(local("b", 8));
  ASSERT_TRUE(answer->has_value());
  ASSERT_FALSE((*answer)->ok());
  EXPECT_EQ((*answer)->error().code, Code::kExhausted);
  EXPECT_EQ((*answer)->error().message, "pod d/b: the policies have too many port classes");
  // What came meanwhile comes into force with the change that makes it fit.
  for (int i = 64; i < 67; ++i)
    node.remove(Kind::kNetworkPolicy, R"({"metadata":{"namespace":"d","name":"ports)" + std::to_string(i) + R"("}})");
  node.run();
  EXPECT_TRUE(node.flow.in_force());
  EXPECT_EQ(node.errors(), std::vector<std::string>{});
  EXPECT_EQ(tables.pol_subjects().lookup(7)->v[tables.policy_generation() & 1].fallback[FW_POL_EGRESS], FW_SUBJECT_DENY);
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  EXPECT_EQ(tables.pol_verdicts().size(), verdicts) << "with all that was in force before";
}

// --- CNI ADD

TEST_F(PolicyFlowTest, AnAddWaitsForItsPodsObjectWhereAPolicyMaySelectIt) {
  node.put(Kind::kNamespace, kNamespace);
  node.put(Kind::kNetworkPolicy, kDeny);
  node.run();
  const auto late = node.admit(local("a"));
  EXPECT_FALSE(late->has_value());
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY) << "until it is known nothing passes";
  node.pod("a", "10.0.0.7");
  node.run();
  ASSERT_TRUE(late->has_value());
  EXPECT_TRUE((*late)->ok());
  const auto never = node.admit(local("b", 8));
  node.now += seconds(6);
  node.run();
  ASSERT_TRUE(never->has_value());
  ASSERT_FALSE((*never)->ok());
  EXPECT_EQ((*never)->error().code, Code::kUnavailable);
  EXPECT_EQ((*never)->error().message, "pod d/b: the API has not told of it yet, and policies may select it");
}

TEST_F(PolicyFlowTest, AnAddOfAPodThatNoPolicyMaySelectGoesOnWithoutItsObject) {
  node.put(Kind::kNamespace, kNamespace);
  node.put(Kind::kNetworkPolicy, R"({"metadata":{"namespace":"other","name":"deny","generation":1},"spec":{"podSelector":{}}})");
  node.run();
  const auto answer = node.admit(local("a"));
  EXPECT_FALSE(answer->has_value()) << "it may come with labels";
  node.now += seconds(6);
  node.run();
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE((*answer)->ok());
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
}

TEST_F(PolicyFlowTest, WhileTheApiIsAwayAnUnknownPodIsClosedWhereAPolicyMaySelectIt) {
  node.put(Kind::kNamespace, kNamespace);
  node.put(Kind::kNetworkPolicy, kDeny);
  node.run();
  node.online = false;
  const auto closed = node.admit(local("a"));
  ASSERT_TRUE(closed->has_value());
  EXPECT_TRUE((*closed)->ok());
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  auto elsewhere = local("b", 8);
  elsewhere.pod.ns = "e";
  const auto open = node.admit(elsewhere);
  ASSERT_TRUE(open->has_value());
  EXPECT_TRUE((*open)->ok());
  EXPECT_EQ(fallback(8), FW_SUBJECT_OPEN);
  // A ClusterNetworkPolicy may select any.
  node.put(Kind::kClusterNetworkPolicy,
           R"({"metadata":{"name":"c","generation":1},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})");
  node.run();
  elsewhere.host_ifindex = 9;
  EXPECT_TRUE(node.admit(elsewhere)->has_value());
  EXPECT_EQ(fallback(9), FW_SUBJECT_DENY);
  // Its object comes, and it is judged by its labels.
  node.pod("a", "10.0.0.7");
  node.remove(Kind::kNetworkPolicy, kDeny);
  node.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
}

TEST_F(PolicyFlowTest, APodWithoutANameIsNobodys) {
  node.put(Kind::kNamespace, kNamespace);
  node.put(Kind::kNetworkPolicy, kDeny);
  node.put(Kind::kClusterNetworkPolicy,
           R"({"metadata":{"name":"c","generation":1},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})");
  node.run();
  auto nameless = local("");
  nameless.pod = {};
  const auto answer = node.admit(nameless);
  ASSERT_TRUE(answer->has_value());
  EXPECT_TRUE((*answer)->ok());
  node.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
}

// --- what outlives its object, and the agent

class Restarts : public PolicyFlowTest {
 protected:
  Restarts() : dir_(std::filesystem::temp_directory_path() / ("fw-policy-flow-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(dir_);
    log::set_level(log::Level::kError);
  }
  ~Restarts() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<ObjectLog> open(Node& of) {
    auto log = ObjectLog::open(dir_ / "objects.log", of.cluster);
    EXPECT_TRUE(log.ok());
    return std::move(*log);
  }
  static void sync(Node& of, const std::function<void()>& objects) {
    for (const auto kind : reflect::Cluster::kKinds) of.cluster.begin_relist(kind);
    objects();
    for (const auto kind : reflect::Cluster::kKinds) of.cluster.end_relist(kind);
    of.run();
  }

 private:
  std::filesystem::path dir_;
};

// CVE-2024-7598, with an agent that is killed in between: the pod runs on for its grace, of its objects none is left.
TEST_F(Restarts, PoliciesOfANamespaceThatGoesAreKeptForAPodThatStillRunsHere) {
  {
    auto log = open(node);
    node.flow.add_local(local("a"));
    sync(node, [&] {
      node.put(Kind::kNamespace, kNamespace);
      node.put(Kind::kNetworkPolicy, kDeny);
      node.pod("a", "10.0.0.7");
    });
    ASSERT_EQ(fallback(7), FW_SUBJECT_DENY);
    node.put(Kind::kNamespace, kGoing);
    node.remove(Kind::kNetworkPolicy, kDeny);
    node.remove(Kind::kPod, R"({"metadata":{"namespace":"d","name":"a"}})");
    node.remove(Kind::kNamespace, kNamespace);
    node.run();
    EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
    ASSERT_TRUE(log->append().ok());
  }
  Node next(tables);
  auto log = open(next);
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  next.flow.add_local(local("a"));  // CNI's journal
  sync(next, [] {});
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  EXPECT_EQ(next.flow.held(), std::vector<std::string>{"d/deny"});
  next.flow.remove_local(local("a"));
  next.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
  for (const auto kind : {Kind::kPod, Kind::kNamespace, Kind::kNetworkPolicy}) EXPECT_EQ(next.cluster.table(kind).size(), 0U);
}

// Removed by force while it runs: its labels hold.
TEST_F(Restarts, ThePodsLabelsAreKeptToo) {
  const std::string only_a =
      R"({"metadata":{"namespace":"d","name":"deny","generation":1},"spec":{"podSelector":{"matchLabels":{"app":"a"}}}})";
  const auto objects = [&](Node& of) {
    of.put(Kind::kNamespace, kNamespace);
    of.put(Kind::kNetworkPolicy, only_a);
  };
  {
    auto log = open(node);
    for (const auto& pod : {local("a"), local("b", 8)}) node.flow.add_local(pod);
    sync(node, [&] {
      objects(node);
      node.pod("a", "10.0.0.7", R"("app":"a")");
      node.pod("b", "10.0.0.8", R"("app":"b")");
    });
    node.remove(Kind::kPod, R"({"metadata":{"namespace":"d","name":"a"}})");
    node.remove(Kind::kPod, R"({"metadata":{"namespace":"d","name":"b"}})");
    node.run();
    EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
    EXPECT_EQ(fallback(8), FW_SUBJECT_OPEN);
    ASSERT_TRUE(log->append().ok());
  }
  Node next(tables);
  auto log = open(next);
  for (const auto& pod : {local("a"), local("b", 8)}) next.flow.add_local(pod);
  sync(next, [&] { objects(next); });
  EXPECT_EQ(fallback(7), FW_SUBJECT_DENY);
  EXPECT_EQ(fallback(8), FW_SUBJECT_OPEN) << "not closed as one that nobody knows";
  next.flow.remove_local(local("a"));
  next.run();
  EXPECT_EQ(fallback(7), FW_SUBJECT_OPEN);
}

}  // namespace
}  // namespace fairway::agent
