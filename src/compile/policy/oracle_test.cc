// The oracle against the API's text, feature by feature: every line says what Kubernetes says.
#include "compile/policy/oracle.h"

#include <gtest/gtest.h>

namespace fairway::compile::policy {
namespace {

using model::LabelRequirement;
using model::LabelSelector;
using model::PolicyAction;
using model::PolicyPeer;
using model::PolicyPort;
using model::PolicyRule;
using model::PolicyTier;
using net::Protocol;
using Op = LabelRequirement::Op;
constexpr auto kIn = Direction::kIngress, kOut = Direction::kEgress;
constexpr std::uint8_t kTcp = 6, kUdp = 17, kSctp = 132, kIcmp = 1;

net::IpAddr ip(const std::string& text) { return *net::IpAddr::parse(text); }
net::Prefix cidr(const std::string& text) { return *net::Prefix::parse(text); }
LabelSelector label(const std::string& key, const std::string& value) { return {{{key, Op::kIn, {value}}}}; }
PolicyPeer pods(LabelSelector selector) { return {.kind = PolicyPeer::Kind::kPods, .pods = {std::nullopt, std::move(selector)}}; }
PolicyPeer pods_of(LabelSelector namespaces, LabelSelector selector = {}) {
  return {.kind = PolicyPeer::Kind::kPods, .pods = {std::move(namespaces), std::move(selector)}};
}
PolicyPeer block(const std::string& network, std::vector<net::Prefix> except = {}) {
  return {.kind = PolicyPeer::Kind::kNetwork, .network = cidr(network), .except = std::move(except)};
}
PolicyPort tcp(std::uint16_t first, std::uint16_t last = 0) { return {Protocol::kTcp, first, last == 0 ? first : last, ""}; }
PolicyPort named(const std::string& name, std::optional<Protocol> protocol = Protocol::kTcp) { return {protocol, 0, 65535, name}; }
PolicyRule rule(std::vector<PolicyPeer> peers, std::vector<PolicyPort> ports = {}, PolicyAction action = PolicyAction::kAllow) {
  PolicyRule r;
  r.action = action;
  r.all_peers = peers.empty(), r.all_ports = ports.empty();
  r.peers = std::move(peers), r.ports = std::move(ports);
  return r;
}

// x: a, b, c; y: a, b; a node each of n1, n2; the policies of each test.
class Oracle : public ::testing::Test {
 protected:
  Oracle() {
    state.namespaces = {{"x", {{"ns", "x"}, {"team", "red"}}}, {"y", {{"ns", "y"}}}};
    state.nodes = {{"n1", {{"zone", "1"}}, {ip("172.30.0.11")}}, {"n2", {{"zone", "2"}}, {ip("172.30.0.12")}}};
    for (const auto& [ns, name, addr] : std::vector<std::tuple<std::string, std::string, std::string>>{
             {"x", "a", "10.0.0.1"}, {"x", "b", "10.0.0.2"}, {"x", "c", "10.0.0.3"}, {"y", "a", "10.0.1.1"}, {"y", "b", "10.0.1.2"}})
      state.pods.push_back({.id = {ns, name},
                            .uid = ns + name,
                            .node = "n1",
                            .ips = {ip(addr)},
                            .labels = {{"pod", name}},
                            .ports = {{"web", Protocol::kTcp, static_cast<std::uint16_t>(name == "b" ? 81 : 80)}}});
  }
  model::Pod& pod(const std::string& key) {
    for (auto& p : state.pods)
      if (p.id.to_string() == key) return p;
    throw std::out_of_range(key);
  }
  // A NetworkPolicy of x for pod a (or whom `subject` says).
  model::Policy& add(const std::string& name, LabelSelector subject = label("pod", "a"), const std::string& ns = "x") {
    model::Policy p;
    p.id = {ns, name};
    p.uid = "uid-" + name;
    p.subject.pods = std::move(subject);
    state.policies.push_back(p);
    return state.policies.back();
  }
  model::Policy& ingress(std::vector<PolicyRule> rules, const std::string& name = "in") {
    auto& p = add(name);
    p.isolates_ingress = true, p.ingress = std::move(rules);
    return p;
  }
  model::Policy& egress(std::vector<PolicyRule> rules, const std::string& name = "out") {
    auto& p = add(name);
    p.isolates_egress = true, p.egress = std::move(rules);
    return p;
  }
  model::Policy& cluster(PolicyTier tier, std::int32_t priority, const std::string& name, std::vector<PolicyRule> rules) {
    auto& p = add(name, label("pod", "a"), "");
    p.tier = tier, p.priority = priority, p.subject.namespaces = LabelSelector{}, p.ingress = std::move(rules);
    return p;
  }
  OracleVerdict judge(const std::string& subject, Direction d, const std::string& peer, std::uint16_t port = 80,
                      std::uint8_t protocol = kTcp) {
    return judge_naively(state, pod(subject), d, peer.find('/') == std::string::npos ? ip(peer) : pod(peer).ips[0], protocol, port);
  }
  bool in(const std::string& from, std::uint16_t port = 80, std::uint8_t protocol = kTcp) {
    return judge("x/a", kIn, from, port, protocol).allowed;
  }
  bool out(const std::string& to, std::uint16_t port = 80, std::uint8_t protocol = kTcp) {
    return judge("x/a", kOut, to, port, protocol).allowed;
  }
  ClusterState state;
};

TEST_F(Oracle, NoPolicyAllowsAndNamesNone) {
  EXPECT_TRUE(in("x/b"));
  EXPECT_TRUE(judge("x/a", kIn, "x/b").rule.policies.empty());
}

TEST_F(Oracle, IsolationIsByDirectionAndOfTheSelectedAlone) {
  ingress({});
  EXPECT_FALSE(in("x/b"));
  EXPECT_TRUE(out("x/b"));
  EXPECT_TRUE(judge("x/b", kIn, "x/a").allowed);
  EXPECT_TRUE(judge("y/a", kIn, "x/a").allowed);  // same labels, another namespace
  EXPECT_EQ(judge("x/a", kIn, "x/b").rule.to_string(), "default deny of NetworkPolicy x/in (ingress)");
  ingress({}, "also");
  EXPECT_EQ(judge("x/a", kIn, "x/b").rule.to_string(), "default deny of NetworkPolicy x/also, x/in (ingress)");
}

TEST_F(Oracle, RulesOfADirectionThatPolicyTypesDoNotNameAreNotRead) {
  auto& p = egress({});
  p.ingress = {rule({})};
  EXPECT_TRUE(in("x/b"));
  ingress({}, "deny");
  EXPECT_FALSE(in("x/b"));
}

TEST_F(Oracle, PeersBySelectorsAndTheirPlaces) {
  auto& p = ingress({rule({pods(label("pod", "b"))})});
  EXPECT_TRUE(in("x/b") && !in("x/c") && !in("y/b"));
  EXPECT_EQ(judge("x/a", kIn, "x/b").rule.to_string(), "NetworkPolicy x/in ingress[0]");
  p.ingress = {rule({pods({})})};  // podSelector {}: every pod of the policy's namespace, and no other address
  EXPECT_TRUE(in("x/b") && in("x/c") && !in("y/b") && !in("192.0.2.1"));
  p.ingress = {rule({pods_of(label("ns", "y"))})};
  EXPECT_TRUE(!in("x/b") && in("y/a") && in("y/b"));
  p.ingress = {rule({pods_of(label("ns", "y"), label("pod", "b"))})};  // both: and
  EXPECT_TRUE(!in("x/b") && !in("y/a") && in("y/b"));
  p.ingress = {rule({pods_of(label("ns", "y")), pods(label("pod", "b"))})};  // two peers: or
  EXPECT_TRUE(in("x/b") && !in("x/c") && in("y/a"));
  p.ingress = {rule({pods_of({})})};
  EXPECT_TRUE(in("x/b") && in("y/b") && !in("192.0.2.1"));
  p.ingress = {rule({})};  // no `from`: everything
  EXPECT_TRUE(in("x/b") && in("y/b") && in("192.0.2.1") && in("2001:db8::1") && in("192.0.2.1", 0, kIcmp));
  p.ingress = {PolicyRule{}};  // neither all peers nor a peer, as where a peer was not understood: nothing
  EXPECT_FALSE(in("x/b"));
}

TEST_F(Oracle, MatchExpressions) {
  auto& p = ingress({});
  const auto with = [&](Op op, std::vector<std::string> values) { p.ingress = {rule({pods({{{"pod", op, std::move(values)}}})})}; };
  pod("x/c").labels = {{"other", ""}};
  with(Op::kIn, {"b", "z"});
  EXPECT_TRUE(in("x/b") && !in("x/c"));
  with(Op::kIn, {});
  EXPECT_TRUE(!in("x/b") && !in("x/c"));
  with(Op::kNotIn, {"b"});
  EXPECT_TRUE(!in("x/b") && in("x/c"));  // no such key: not in
  with(Op::kExists, {});
  EXPECT_TRUE(in("x/b") && !in("x/c"));
  with(Op::kDoesNotExist, {});
  EXPECT_TRUE(!in("x/b") && in("x/c"));
}

TEST_F(Oracle, ANamespaceThatIsNotKnownHasNothingToMatch) {
  auto& p = ingress({rule({pods_of({})})});
  state.namespaces.pop_back();
  EXPECT_TRUE(in("y/a"));
  p.ingress = {rule({pods_of({{{"none", Op::kDoesNotExist, {}}}})})};
  EXPECT_TRUE(!in("y/a") && in("x/b"));
}

TEST_F(Oracle, BlocksHoldForEveryAddress) {
  auto& p = ingress({rule({block("10.0.0.0/16", {cidr("10.0.1.0/24")})})});
  EXPECT_TRUE(in("x/b") && in("10.0.9.9") && !in("y/a") && !in("10.1.0.1"));
  p.ingress = {rule({block("172.30.0.0/24")})};
  EXPECT_TRUE(in("172.30.0.12"));
  p.ingress = {rule({block("::/0")})};
  EXPECT_TRUE(in("2001:db8::1") && !in("x/b"));
  p.ingress = {rule({block("10.0.0.0/16", {cidr("10.0.1.0/24")})}),
               rule({block("10.0.1.2/32")})};  // union: another rule's except is its own
  EXPECT_TRUE(in("y/b") && !in("y/a"));
}

TEST_F(Oracle, Ports) {
  auto& p = ingress({rule({}, {tcp(80)})});
  EXPECT_TRUE(in("x/b", 80) && !in("x/b", 81) && !in("x/b", 80, kUdp) && !in("x/b", 80, kSctp) && !in("x/b", 0, kIcmp));
  p.ingress = {rule({}, {tcp(80, 90), {Protocol::kUdp, 0, 65535, ""}, {Protocol::kSctp, 7, 7, ""}})};
  EXPECT_TRUE(in("x/b", 80) && in("x/b", 90) && !in("x/b", 91) && !in("x/b", 79) && in("x/b", 5353, kUdp) && in("x/b", 7, kSctp));
  EXPECT_FALSE(in("x/b", 0, kIcmp));
  p.ingress = {rule({pods(label("pod", "b"))}, {tcp(80)}), rule({pods(label("pod", "c"))}, {tcp(81)})};
  EXPECT_TRUE(in("x/b", 80) && !in("x/b", 81) && !in("x/c", 80) && in("x/c", 81));
}

TEST_F(Oracle, NamedPortsAreTheReceivers) {
  auto& i = ingress({rule({}, {named("web")})});
  EXPECT_TRUE(in("x/b", 80) && !in("x/b", 81) && !in("x/b", 80, kUdp));
  pod("x/a").ports = {{"web", Protocol::kTcp, 8080}, {"dns", Protocol::kUdp, 53}};
  EXPECT_TRUE(in("x/b", 8080) && !in("x/b", 80));
  i.ingress = {rule({}, {named("dns")})};  // the name has another protocol
  EXPECT_FALSE(in("x/b", 53, kUdp));
  i.ingress = {rule({}, {named("dns", std::nullopt)})};
  EXPECT_TRUE(in("x/b", 53, kUdp) && !in("x/b", 53));
  auto& e = egress({rule({pods({})}, {named("web")})});
  EXPECT_TRUE(out("x/b", 81) && !out("x/b", 80) && out("x/c", 80) && !out("x/c", 81) && !out("y/b", 81));
  e.egress = {rule({}, {named("web")})};  // any address that has such a port: pods
  EXPECT_TRUE(out("y/b", 81) && !out("y/b", 80) && !out("192.0.2.1", 80));
  e.egress = {rule({block("10.0.0.0/24")}, {named("web")})};
  EXPECT_TRUE(out("x/b", 81) && !out("y/b", 81) && !out("10.0.0.99", 80));
}

TEST_F(Oracle, WhoCountsForNothing) {
  ingress({rule({pods_of({})})});
  pod("x/b").host_network = true, pod("x/b").ips = {ip("172.30.0.12")};
  pod("x/c").terminated = true;
  EXPECT_TRUE(!in("x/b") && !in("x/c"));
  pod("x/a").host_network = true;
  EXPECT_TRUE(in("192.0.2.1"));  // never selected
}

TEST_F(Oracle, ItselfAndItsHostAlways) {
  ingress({});
  pod("x/a").ips.push_back(ip("fd00::1"));
  EXPECT_TRUE(in("10.0.0.1") && in("fd00::1") && in("172.30.0.11") && !in("172.30.0.12"));
}

TEST_F(Oracle, AnAddressOfTwoPodsOpensOnlyWhatIsOpenToBoth) {
  auto& p = ingress({rule({pods(label("pod", "b"))})});
  pod("x/c").ips = pod("x/b").ips;
  EXPECT_FALSE(in("x/b"));
  pod("x/c").terminated = true;
  EXPECT_TRUE(in("x/b"));
  pod("x/c").terminated = false;
  p.ingress = {rule({})};
  EXPECT_TRUE(in("x/b"));
  cluster(PolicyTier::kAdmin, 1, "deny", {rule({pods_of({}, label("pod", "b"))}, {}, PolicyAction::kDeny)});
  EXPECT_FALSE(in("x/b"));
}

TEST_F(Oracle, TiersInTheirOrder) {
  const auto b = pods_of({}, label("pod", "b")), c = pods_of({}, label("pod", "c"));
  cluster(PolicyTier::kAdmin, 10, "second", {rule({b}, {}, PolicyAction::kAllow)});
  EXPECT_TRUE(in("x/b") && in("x/c"));  // it isolates nobody
  EXPECT_EQ(judge("x/a", kIn, "x/b").rule.to_string(), "ClusterNetworkPolicy second ingress[0]");
  cluster(PolicyTier::kAdmin, 5, "first",
          {rule({c}, {}, PolicyAction::kPass), rule({b}, {tcp(81)}, PolicyAction::kDeny), rule({c}, {}, PolicyAction::kDeny)});
  EXPECT_TRUE(in("x/b", 80) && !in("x/b", 81) && in("x/c"));
  cluster(PolicyTier::kBaseline, 1, "base", {rule({}, {}, PolicyAction::kDeny)});
  EXPECT_TRUE(in("x/b", 80) && !in("x/c") && !in("192.0.2.1"));
  EXPECT_EQ(judge("x/a", kIn, "x/c").rule.to_string(), "ClusterNetworkPolicy base ingress[0]");
  ingress({rule({c, block("192.0.2.0/24")})});
  EXPECT_TRUE(in("x/b", 80) && !in("x/b", 81) && in("x/c") && in("192.0.2.1") && !in("192.0.3.1"));
  cluster(PolicyTier::kAdmin, 5, "abc", {rule({b}, {}, PolicyAction::kDeny)});  // same priority: by name
  EXPECT_FALSE(in("x/b", 80));
}

TEST_F(Oracle, PassOfTheLastTierAllows) {
  cluster(PolicyTier::kBaseline, 1, "base",
          {rule({pods_of({}, label("pod", "b"))}, {}, PolicyAction::kPass), rule({}, {}, PolicyAction::kDeny)});
  EXPECT_TRUE(in("x/b") && !in("x/c"));
}

TEST_F(Oracle, NodesAsPeers) {
  auto& p = cluster(PolicyTier::kAdmin, 1, "nodes", {});
  p.egress = {rule({{.kind = PolicyPeer::Kind::kNodes, .nodes = label("zone", "2")}}, {tcp(10250)}, PolicyAction::kDeny)};
  state.nodes.push_back({"n3", {{"zone", "3"}}, {ip("172.30.0.13")}});
  EXPECT_TRUE(!out("172.30.0.12", 10250) && out("172.30.0.12", 80) && out("172.30.0.13", 10250));
  p.egress[0].ports = {named("web")};  // a node has no named ports
  EXPECT_TRUE(out("172.30.0.12", 80));
}

TEST_F(Oracle, SubjectsOfClusterPoliciesByNamespace) {
  auto& p = cluster(PolicyTier::kAdmin, 1, "red", {rule({}, {}, PolicyAction::kDeny)});
  p.subject = {label("team", "red"), {}};
  EXPECT_TRUE(!judge("x/b", kIn, "x/c").allowed && judge("y/a", kIn, "x/c").allowed);
  p.subject = {std::nullopt, {}};  // of a cluster's policy: no pod
  EXPECT_TRUE(judge("x/b", kIn, "x/c").allowed);
}

}  // namespace
}  // namespace fairway::compile::policy
