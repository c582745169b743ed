// NetworkPolicies that Kubernetes refuses, with its words (pkg/apis/networking/validation), and those that it takes.
#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::Rig;
using testing::HasSubstr;

struct NetworkPolicies : testing::Test {
  std::string policy(const std::string& spec) {
    return rig.try_create("networking.k8s.io/networkpolicies",
                          "{'metadata':{'name':'p" + std::to_string(++made) + "'},'spec':" + spec + "}");
  }
  std::string port(const std::string& one) { return policy("{'podSelector':{},'ingress':[{'ports':[" + one + "]}]}"); }
  std::string peer(const std::string& one) { return policy("{'podSelector':{},'egress':[{'to':[" + one + "]}]}"); }
  Rig rig;
  int made = 0;
};

TEST_F(NetworkPolicies, PortsAreChecked) {
  const std::string at = "spec.ingress[0].ports[0].";
  EXPECT_THAT(port("{'protocol':'QUIC'}"),
              HasSubstr(at + "protocol: Unsupported value: \"QUIC\": supported values: \"SCTP\", \"TCP\", \"UDP\""));
  EXPECT_THAT(port("{'port':0}"), HasSubstr(at + "port: Invalid value: 0: must be between 1 and 65535, inclusive"));
  EXPECT_THAT(port("{'port':'-x'}"), HasSubstr(at + "port: Invalid value: \"-x\": must not begin or end with a hyphen"));
  EXPECT_THAT(port("{'port':90,'endPort':80}"), HasSubstr(at + "endPort: Invalid value: 80: must be greater than or equal to `port`"));
  EXPECT_THAT(port("{'port':90,'endPort':70000}"), HasSubstr(at + "endPort: Invalid value: 70000: must be between 1 and 65535"));
  EXPECT_THAT(port("{'endPort':80}"), HasSubstr(at + "endPort: Invalid value: 80: may not be specified when `port` is not specified"));
  EXPECT_THAT(port("{'port':'http','endPort':80}"), HasSubstr("may not be specified when `port` is non-numeric"));
  for (const char* good : {"{}", "{'port':80,'endPort':80}", "{'port':'http'}", "{'protocol':'SCTP','port':65535}"})
    EXPECT_EQ(port(good), "created") << good;
}

TEST_F(NetworkPolicies, PeersAreChecked) {
  const std::string at = "spec.egress[0].to[0]";
  EXPECT_THAT(peer("{}"), HasSubstr(at + ": Required value: must specify a peer"));
  EXPECT_THAT(peer("{'ipBlock':{'cidr':'10.0.0.0/8'},'podSelector':{}}"),
              HasSubstr(at + ": Forbidden: may not specify both ipBlock and another peer"));
  EXPECT_THAT(peer("{'ipBlock':{'cidr':'10.0.0.0/33'}}"),
              HasSubstr(at + ".ipBlock.cidr: Invalid value: \"10.0.0.0/33\": must be a valid CIDR value"));
  EXPECT_THAT(peer("{'ipBlock':{'cidr':'::ffff:10.0.0.0/104'}}"), HasSubstr("must be a valid CIDR value"));
  for (const char* hole : {"10.0.0.0/8", "11.0.0.0/16", "0.0.0.0/0", "fd00::/64"})
    EXPECT_THAT(peer("{'ipBlock':{'cidr':'10.0.0.0/8','except':['" + std::string(hole) + "']}}"),
                HasSubstr(at + ".ipBlock.except[0]: Invalid value: \"" + hole + "\": must be a strict subset of `cidr`"));
  EXPECT_THAT(peer("{'podSelector':{'matchExpressions':[{'key':'a','operator':'In'}]}}"),
              HasSubstr("must be specified when `operator` is 'In' or 'NotIn'"));
  EXPECT_THAT(peer("{'podSelector':{'matchExpressions':[{'key':'a','operator':'Exists','values':['b']}]}}"),
              HasSubstr("may not be specified when `operator` is 'Exists' or 'DoesNotExist'"));
  EXPECT_THAT(peer("{'podSelector':{'matchExpressions':[{'key':'a','operator':'Near'}]}}"), HasSubstr("not a valid selector operator"));
  EXPECT_THAT(peer("{'namespaceSelector':{'matchLabels':{'a b':'c'}}}"),
              HasSubstr(".namespaceSelector.matchLabels: Invalid value: \"a b\""));
  EXPECT_THAT(peer("{'serviceSelector':{}}"), HasSubstr("unknown field \"spec.egress[0].to[0].serviceSelector\""));
  // Kubernetes takes host bits, and excepts that overlap.
  EXPECT_EQ(peer("{'ipBlock':{'cidr':'10.0.0.9/8','except':['10.1.2.3/16','10.1.0.0/24']}}"), "created");
  EXPECT_EQ(peer("{'podSelector':{},'namespaceSelector':{}}"), "created");
}

TEST_F(NetworkPolicies, TypesAreCheckedAndDefaulted) {
  EXPECT_THAT(policy("{'podSelector':{},'policyTypes':['Sideways']}"),
              HasSubstr("spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Egress\", \"Ingress\""));
  EXPECT_THAT(policy("{'podSelector':{},'policyTypes':['Ingress','Egress','Ingress']}"),
              HasSubstr("may not specify more than two policyTypes"));
  ASSERT_EQ(policy("{'podSelector':{},'egress':[{}]}"), "created");
  const Json object = rig.object("networking.k8s.io/networkpolicies", "p" + std::to_string(made));
  EXPECT_EQ(to_text(*find(object, "spec.policyTypes")), "[\"Ingress\",\"Egress\"]");
}

}  // namespace
}  // namespace fairway::apiserver
