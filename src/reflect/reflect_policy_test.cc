#include <gtest/gtest.h>

#include "k8s/decode.h"
#include "reflect/reflect.h"

namespace fairway::reflect {
namespace {

using k8s::Kind;
using model::LabelRequirement;
using model::LabelSelector;
using model::Policy;
using model::PolicyAction;
using model::PolicyPeer;
using Texts = std::vector<std::string>;
using Op = LabelRequirement::Op;

struct Read {
  std::optional<Policy> row;
  Texts problems;
  const Policy& policy() const { return *row; }
};

Read read(Kind kind, const std::string& spec) {
  k8s::Decoder decoder(kind);
  std::string json = R"({"metadata":{"namespace":"default","name":"p","uid":"u1","generation":3},"spec":)" + spec + "}";
  json.reserve(json.size() + k8s::Decoder::kPadding);
  const Status decoded = decoder.decode_object(json);
  EXPECT_TRUE(decoded.ok()) << json;
  EXPECT_EQ(decoder.object().bad_field, "") << json;
  const auto reflected =
      kind == Kind::kNetworkPolicy ? reflect_network_policy(decoder.object()) : reflect_cluster_network_policy(decoder.object());
  Read out{reflected.row, {}};
  for (const auto& p : reflected.problems) out.problems.push_back(p.field + ": " + p.reason);
  return out;
}
Read np(const std::string& spec) { return read(Kind::kNetworkPolicy, spec); }
Read ingress(const std::string& rule) { return np(R"({"podSelector":{},"policyTypes":["Ingress"],"ingress":[)" + rule + "]}"); }
Read cnp(const std::string& more) { return read(Kind::kClusterNetworkPolicy, R"({"tier":"Admin","priority":5,)" + more + "}"); }
Read egress(const std::string& rule) { return cnp(R"("subject":{"namespaces":{}},"egress":[)" + rule + "]"); }

LabelSelector is(const std::string& key, const std::string& value) { return {{{key, Op::kIn, {value}}}}; }

TEST(NetworkPolicy, TheWholeForm) {
  const Read r =
      np(R"({"podSelector":{"matchLabels":{"app":"db"},"matchExpressions":[{"key":"tier","operator":"NotIn","values":["b","a","b"]},
    {"key":"x.io/y","operator":"Exists"},{"key":"z","operator":"DoesNotExist","values":[]}]},"policyTypes":["Ingress","Egress"],
    "ingress":[{"from":[{"podSelector":{"matchLabels":{"app":"api"}}},{"namespaceSelector":{}},
      {"namespaceSelector":{"matchLabels":{"team":"a"}},"podSelector":{"matchLabels":{"app":"web"}}},
      {"ipBlock":{"cidr":"10.0.0.9/8","except":["10.2.0.0/16","10.1.2.3/24"]}}],
      "ports":[{"protocol":"UDP","port":53},{"port":8000,"endPort":9000},{"port":"http"},{"protocol":"SCTP"}]},{}],
    "egress":[{"to":[],"ports":[]}]})");
  ASSERT_TRUE(r.row.has_value());
  EXPECT_EQ(r.problems, Texts{});
  const Policy& p = r.policy();
  EXPECT_EQ(p.id, (model::Name{"default", "p"}));
  EXPECT_EQ(p.uid, "u1");
  EXPECT_EQ(p.generation, 3);
  EXPECT_EQ(p.tier, model::PolicyTier::kNetworkPolicy);
  EXPECT_EQ(p.subject.pods,
            (LabelSelector{
                {{"app", Op::kIn, {"db"}}, {"tier", Op::kNotIn, {"a", "b"}}, {"x.io/y", Op::kExists, {}}, {"z", Op::kDoesNotExist, {}}}}));
  EXPECT_FALSE(p.subject.namespaces.has_value());
  ASSERT_EQ(p.ingress.size(), 2U);
  const auto& peers = p.ingress[0].peers;
  ASSERT_EQ(peers.size(), 4U);
  EXPECT_EQ(peers[0].pods, (model::PodSelector{std::nullopt, is("app", "api")}));
  EXPECT_EQ(peers[1].pods, (model::PodSelector{LabelSelector{}, {}}));
  EXPECT_EQ(peers[2].pods, (model::PodSelector{is("team", "a"), is("app", "web")}));
  EXPECT_EQ(peers[3].kind, PolicyPeer::Kind::kNetwork);
  EXPECT_EQ(peers[3].network.to_string(), "10.0.0.0/8");
  EXPECT_EQ(peers[3].except, (std::vector{*net::Prefix::parse("10.1.2.0/24"), *net::Prefix::parse("10.2.0.0/16")}));
  using net::Protocol;
  EXPECT_EQ(p.ingress[0].ports, (std::vector<model::PolicyPort>{{Protocol::kUdp, 53, 53, ""},
                                                                {Protocol::kTcp, 8000, 9000, ""},
                                                                {Protocol::kTcp, 0, 65535, "http"},
                                                                {Protocol::kSctp, 0, 65535, ""}}));
  for (const auto& rule : {p.ingress[1], p.egress.at(0)}) {
    EXPECT_TRUE(rule.all_peers);
    EXPECT_TRUE(rule.all_ports);
  }
}

TEST(NetworkPolicy, TypesAndTheirDefaults) {
  const auto types = [](const std::string& spec) {
    const Read r = np("{" + spec + "}");
    return std::string(r.policy().isolates_ingress ? "I" : "") + (r.policy().isolates_egress ? "E" : "");
  };
  EXPECT_EQ(types(""), "I");
  EXPECT_EQ(types(R"("podSelector":{},"egress":[])"), "I");
  EXPECT_EQ(types(R"("egress":[{}])"), "IE");
  EXPECT_EQ(types(R"("policyTypes":[],"egress":[{}])"), "IE");
  EXPECT_EQ(types(R"("policyTypes":["Egress"])"), "E");
  EXPECT_EQ(types(R"("policyTypes":["Ingress"],"egress":[{}])"), "I");
  EXPECT_EQ(types(R"("policyTypes":["Sideways"],"egress":[{}])"), "IE");
  EXPECT_EQ(types(R"("policyTypes":7,"egress":[{}])"), "IE");
  // Rules of a direction that is not isolated mean nothing.
  EXPECT_TRUE(np(R"({"policyTypes":["Ingress"],"egress":[{}]})").policy().egress.empty());
  EXPECT_EQ(np(R"({"policyTypes":["Ingress","Sideways"]})").problems, Texts{R"(spec.policyTypes[1]: "Sideways" is not known)"});
}

// What cannot be read matches nothing; it is never left out in a way that makes a list empty, which would mean "all".
TEST(NetworkPolicy, APeerThatCannotBeReadMatchesNothing) {
  for (const char* peer : {"{}",
                           "null",
                           "7",
                           R"({"serviceSelector":{}})",
                           R"({"podSelector":{},"toGroups":[1,{"a":"b"}]})",
                           R"({"podSelector":7})",
                           R"({"podSelector":{"matchLabels":{"a b":"c"}}})",
                           R"({"podSelector":{"matchLabels":{"a":7}}})",
                           R"({"podSelector":{"match":{}}})",
                           R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"Near","values":["b"]}]}})",
                           R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"In","values":[]}]}})",
                           R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"Exists","values":["b"]}]}})",
                           R"({"podSelector":{"matchExpressions":[{"key":"","operator":"Exists"}]}})",
                           R"({"namespaceSelector":{"matchExpressions":[{"key":"A.b/c","operator":"Exists"}]}})",
                           R"({"namespaceSelector":{"matchLabels":{"a":"-b"}}})",
                           R"({"ipBlock":{}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0"}})",
                           R"({"ipBlock":{"cidr":"::ffff:10.0.0.0/104"}})",
                           R"({"ipBlock":{"cidr":"0.0.0.0/0","except":["10.0.0.0/8","x"]}})",
                           R"({"ipBlock":{"cidr":"0.0.0.0/0","except":[null]}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/8"]}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0/8","except":["11.0.0.0/16"]}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0/8","except":["fd00::/64"]}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0/8","ports":[1]}})",
                           R"({"ipBlock":{"cidr":"10.0.0.0/8"},"podSelector":{}})"}) {
    const Read r = ingress(R"({"from":[)" + std::string(peer) + "]}");
    ASSERT_TRUE(r.row.has_value()) << peer;
    EXPECT_EQ(r.problems.size(), 1U) << peer;
    EXPECT_TRUE(r.policy().isolates_ingress);
    ASSERT_EQ(r.policy().ingress.size(), 1U);
    EXPECT_FALSE(r.policy().ingress[0].all_peers) << peer;
    EXPECT_TRUE(r.policy().ingress[0].peers.empty()) << peer;
    // The others hold.
    const Read two = ingress(R"({"from":[)" + std::string(peer) + R"(,{"podSelector":{}}]})");
    EXPECT_EQ(two.policy().ingress[0].peers.size(), 1U) << peer;
  }
  EXPECT_EQ(ingress(R"({"from":[{}]})").problems, Texts{"spec.ingress[0].from[0]: must specify a peer: this peer matches nothing"});
  EXPECT_EQ(ingress(R"({"from":[{"podSelector":{}},{"ipBlock":{"cidr":"10.0.0.0/8","except":["10.0.0.0/7"]}}]})").problems,
            Texts{"spec.ingress[0].from[1].ipBlock.except[0]: 10.0.0.0/7 is no strict subset of 10.0.0.0/8: this peer matches nothing"});
}

TEST(NetworkPolicy, APortThatCannotBeReadMatchesNothing) {
  for (const char* port : {"null",
                           "7",
                           R"({"protocol":"QUIC"})",
                           R"({"protocol":"tcp","port":80})",
                           R"({"protocol":6})",
                           R"({"port":0})",
                           R"({"port":65536})",
                           R"({"port":80.5})",
                           R"({"port":true})",
                           R"({"port":""})",
                           R"({"port":"Http"})",
                           R"({"port":"8080"})",
                           R"({"port":"a--b"})",
                           R"({"port":"seventeen-letters"})",
                           R"({"endPort":90})",
                           R"({"port":"http","endPort":90})",
                           R"({"port":90,"endPort":80})",
                           R"({"port":90,"endPort":65536})",
                           R"({"port":90,"endPort":"100"})",
                           R"({"port":80,"method":"GET"})"}) {
    const Read r = ingress(R"({"ports":[)" + std::string(port) + "]}");
    ASSERT_TRUE(r.row.has_value()) << port;
    EXPECT_EQ(r.problems.size(), 1U) << port;
    ASSERT_EQ(r.policy().ingress.size(), 1U);
    EXPECT_TRUE(r.policy().ingress[0].all_peers);
    EXPECT_FALSE(r.policy().ingress[0].all_ports) << port;
    EXPECT_TRUE(r.policy().ingress[0].ports.empty()) << port;
  }
  EXPECT_EQ(ingress(R"({"ports":[{"port":90,"endPort":80}]})").problems,
            Texts{"spec.ingress[0].ports[0].endPort: 80 is less than the port: this port matches nothing"});
}

TEST(NetworkPolicy, AFaultReachesWhatItMayNarrow) {
  const auto closed = [](const Read& r) {
    return r.row && r.problems.size() == 1 && r.policy().isolates_ingress && r.policy().ingress.size() == 2 &&
           !r.policy().ingress[0].all_peers && r.policy().ingress[0].peers.empty() && !r.policy().ingress[0].all_ports;
  };
  const Read rule = ingress(R"({"action":"Deny"},{})");
  EXPECT_TRUE(closed(rule));
  EXPECT_TRUE(rule.policy().ingress[1].all_peers);
  EXPECT_EQ(rule.problems, Texts{"spec.ingress[0].action: is not known: this rule matches nothing"});
  EXPECT_TRUE(closed(ingress(R"({"from":{}},{})")));
  EXPECT_TRUE(closed(ingress("null,{}")));
  const Read spec = np(R"({"ingress":[{},{}],"schedule":"nights"})");
  EXPECT_TRUE(closed(spec));
  EXPECT_FALSE(spec.policy().ingress[1].all_peers);
  EXPECT_EQ(spec.problems, Texts{"spec.schedule: is not known: no rule of this policy matches anything"});
  // A list that is none has no rules: nothing is allowed.
  EXPECT_TRUE(np(R"({"ingress":{}})").policy().ingress.empty());
}

TEST(NetworkPolicy, WhomItIsForMustBeKnown) {
  for (const char* spec :
       {"7", "[]", R"({"podSelector":7})", R"({"podSelector":{"matchLabels":[]}})", R"({"podSelector":{"matchFields":{}}})",
        R"({"podSelector":{"matchExpressions":[{"key":"a","operator":"in","values":["b"]}]}})"}) {
    const Read r = np(spec);
    EXPECT_FALSE(r.row.has_value()) << spec;
    EXPECT_EQ(r.problems.size(), 1U) << spec;
  }
  EXPECT_EQ(np(R"({"podSelector":{"matchLabels":{"?":"x"}}})").problems,
            Texts{R"(spec.podSelector.matchLabels: "?" is not a label's key: the old policy stays in force)"});
}

TEST(ClusterNetworkPolicy, TheWholeForm) {
  const Read r = read(Kind::kClusterNetworkPolicy, R"({"tier":"Baseline","priority":1000,
    "subject":{"pods":{"namespaceSelector":{"matchLabels":{"team":"a"}},"podSelector":{"matchLabels":{"app":"db"}}}},
    "ingress":[{"name":"from team","action":"Pass","from":[{"namespaces":{}},{"pods":{"podSelector":{}}}],
      "protocols":[{"destinationNamedPort":"http"},{"udp":{"destinationPort":{"number":53}}}]}],
    "egress":[{"action":"Deny","to":[{"networks":["10.0.0.1/8","fd00::/8"]},{"nodes":{"matchLabels":{"role":"x"}}}],
      "protocols":[{"tcp":{"destinationPort":{"range":{"start":1,"end":65535}}}},{"sctp":{"destinationPort":{"number":7}}}]},
      {"action":"Accept","to":[{"namespaces":{}}]}]})");
  ASSERT_TRUE(r.row.has_value());
  EXPECT_EQ(r.problems, Texts{});
  const Policy& p = r.policy();
  EXPECT_EQ(p.id, (model::Name{"", "p"}));
  EXPECT_EQ(p.tier, model::PolicyTier::kBaseline);
  EXPECT_EQ(p.priority, 1000);
  EXPECT_EQ(p.subject, (model::PodSelector{is("team", "a"), is("app", "db")}));
  ASSERT_EQ(p.ingress.size(), 1U);
  EXPECT_EQ(p.ingress[0].name, "from team");
  EXPECT_EQ(p.ingress[0].action, PolicyAction::kPass);
  ASSERT_EQ(p.ingress[0].peers.size(), 2U);
  EXPECT_EQ(p.ingress[0].peers[0].pods, (model::PodSelector{LabelSelector{}, {}}));
  EXPECT_EQ(p.ingress[0].peers[1].pods, (model::PodSelector{LabelSelector{}, {}}));
  EXPECT_EQ(p.ingress[0].ports, (std::vector<model::PolicyPort>{{std::nullopt, 0, 65535, "http"}, {net::Protocol::kUdp, 53, 53, ""}}));
  ASSERT_EQ(p.egress.size(), 2U);
  EXPECT_EQ(p.egress[0].action, PolicyAction::kDeny);
  ASSERT_EQ(p.egress[0].peers.size(), 3U);
  EXPECT_EQ(p.egress[0].peers[0].network.to_string(), "10.0.0.0/8");
  EXPECT_EQ(p.egress[0].peers[1].network.to_string(), "fd00::/8");
  EXPECT_EQ(p.egress[0].peers[2].nodes, is("role", "x"));
  EXPECT_EQ(p.egress[0].ports, (std::vector<model::PolicyPort>{{net::Protocol::kTcp, 1, 65535, ""}, {net::Protocol::kSctp, 7, 7, ""}}));
  EXPECT_FALSE(p.egress[0].all_ports);
  EXPECT_TRUE(p.egress[1].all_ports);
  EXPECT_FALSE(p.egress[1].all_peers);
}

// Its API: "fail closed" means that an Accept rule matches no traffic, and that a Deny or Pass rule is "Deny all".
TEST(ClusterNetworkPolicy, ARuleThatCannotBeReadIsClosed) {
  for (const char* rest :
       {R"("to":[{}])",
        R"("to":[])",
        R"("x":1)",
        R"("to":[{"namespaces":{}},{"serviceAccounts":{}}])",
        R"("to":[{"namespaces":{},"pods":{"podSelector":{}}}])",
        R"("to":[{"pods":{}}])",
        R"("to":[{"networks":[]}])",
        R"("to":[{"networks":["10.0.0.0/40"]}])",
        R"("to":[{"nodes":{"matchLabels":{"":"x"}}}])",
        R"("to":[{"namespaces":{"matchExpressions":[{"key":"a","operator":"Is","values":["x"]}]}}])",
        R"("to":[{"namespaces":7}])",
        R"("to":[{"namespaces":{}}],"protocols":[{}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"icmp":{"type":8}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":0}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":80},"sourcePort":{"number":80}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"range":{"start":9,"end":9}}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"range":{"start":9,"end":70000}}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":1,"range":{"start":9,"end":10}}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"tcp":{"destinationPort":{"number":1}},"udp":{"destinationPort":{"number":1}}}])",
        R"("to":[{"namespaces":{}}],"protocols":[{"destinationNamedPort":""}])",
        R"("to":[{"namespaces":{}}],"ports":[]})"
        R"(,{"action":"Deny","to":[{"x":1}])",
        R"("to":[{"networks":["10.0.0.0/8"]}],"protocols":[{"destinationNamedPort":"http"}])"}) {
    const Read accept = egress(R"({"action":"Accept",)" + std::string(rest) + "}");
    ASSERT_TRUE(accept.row.has_value()) << rest;
    EXPECT_FALSE(accept.problems.empty()) << rest;
    EXPECT_EQ(accept.policy().egress[0].action, PolicyAction::kAllow);
    EXPECT_FALSE(accept.policy().egress[0].all_peers) << rest;
    EXPECT_TRUE(accept.policy().egress[0].peers.empty()) << rest;
    for (const char* action : {"Deny", "Pass", "Log"}) {
      const Read other = egress(R"({"action":")" + std::string(action) + "\"," + rest + "}");
      ASSERT_TRUE(other.row.has_value()) << rest;
      EXPECT_FALSE(other.problems.empty()) << rest;
      const auto& rule = other.policy().egress[0];
      EXPECT_EQ(rule.action, PolicyAction::kDeny) << rest;
      EXPECT_TRUE(rule.all_peers && rule.all_ports && rule.peers.empty() && rule.ports.empty()) << rest;
    }
  }
  EXPECT_EQ(egress(R"({"action":"Pass","to":[{}]})").problems,
            Texts{"spec.egress[0].to[0]: must have exactly one field that is known: this rule denies all"});
  // Ingress knows pods and namespaces alone.
  EXPECT_TRUE(cnp(R"("subject":{"namespaces":{}},"ingress":[{"action":"Deny","from":[{"networks":["10.0.0.0/8"]}]}])")
                  .policy()
                  .ingress[0]
                  .all_peers);
  // A field of the spec that is not known may narrow every rule.
  const Read spec = cnp(R"("subject":{"namespaces":{}},"when":"night","egress":[{"action":"Pass","to":[{"namespaces":{}}]}])");
  EXPECT_EQ(spec.policy().egress[0].action, PolicyAction::kDeny);
  EXPECT_TRUE(spec.policy().egress[0].all_peers);
  EXPECT_EQ(spec.problems.size(), 1U);
}

TEST(ClusterNetworkPolicy, DomainNamesMatchNothingAndThatIsSaid) {
  const Read r = egress(R"({"action":"Accept","to":[{"domainNames":["*.example.org"]},{"networks":["10.0.0.0/8"]}]})");
  EXPECT_EQ(r.policy().egress[0].peers.size(), 1U);
  EXPECT_EQ(r.problems, Texts{"spec.egress[0].to[0].domainNames: is not supported: this peer matches nothing"});
  EXPECT_TRUE(egress(R"({"action":"Deny","to":[{"domainNames":["example.org"]}]})").policy().egress[0].all_peers);
}

TEST(ClusterNetworkPolicy, WhatHasNoClosedReadingLeavesTheOldOne) {
  for (const char* spec :
       {R"({"tier":"Gold","priority":1,"subject":{"namespaces":{}}})", R"({"priority":1,"subject":{"namespaces":{}}})",
        R"({"tier":"Admin","subject":{"namespaces":{}}})", R"({"tier":"Admin","priority":1001,"subject":{"namespaces":{}}})",
        R"({"tier":"Admin","priority":"1","subject":{"namespaces":{}}})", R"({"tier":"Admin","priority":1})",
        R"({"tier":"Admin","priority":1,"subject":{}})", R"({"tier":"Admin","priority":1,"subject":{"nodes":{}}})",
        R"({"tier":"Admin","priority":1,"subject":{"pods":{"namespaceSelector":{}}}})",
        R"({"tier":"Admin","priority":1,"subject":{"namespaces":{"matchLabels":{"a":"?"}}}})",
        R"({"tier":"Admin","priority":1,"subject":{"namespaces":{}},"egress":{}})", "7"}) {
    const Read r = read(Kind::kClusterNetworkPolicy, spec);
    EXPECT_FALSE(r.row.has_value()) << spec;
    EXPECT_EQ(r.problems.size(), 1U) << spec;
  }
}

}  // namespace
}  // namespace fairway::reflect
