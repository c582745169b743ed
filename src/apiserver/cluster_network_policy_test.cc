#include "apiserver/cluster_network_policy.h"

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::Rig;
using testing::HasSubstr;

struct PolicyRig : Rig {
  PolicyRig() {
    EXPECT_TRUE(engine.create(target("apiextensions.k8s.io/customresourcedefinitions"), cluster_network_policy_definition(), {}).ok());
  }
  std::string policy(const std::string& spec) {
    return try_create("policy.networking.k8s.io/clusternetworkpolicies", "{'metadata':{'name':'p'},'spec':" + spec + "}");
  }
  std::string egress(const std::string& rule) {
    return policy("{'tier':'Admin','priority':5,'subject':{'namespaces':{}},'egress':[" + rule + "]}");
  }
  std::string protocol(const std::string& one) { return egress("{'action':'Deny','to':[{'namespaces':{}}],'protocols':[" + one + "]}"); }
};

TEST(ClusterNetworkPolicy, EveryFieldIsTaken) {
  PolicyRig rig;
  ASSERT_EQ(
      rig.policy(R"({'tier':'Baseline','priority':0,'subject':{'pods':{'namespaceSelector':{'matchLabels':{'a':'b'}},'podSelector':{}}},
    'ingress':[{'name':'n','action':'Pass','from':[{'namespaces':{'matchExpressions':[{'key':'a','operator':'In','values':['b']}]}}],
      'protocols':[{'tcp':{'destinationPort':{'number':80}}},{'udp':{'destinationPort':{'range':{'start':1,'end':2}}}},
        {'sctp':{'destinationPort':{'number':7}}},{'destinationNamedPort':'http'}]}],
    'egress':[{'action':'Accept','to':[{'nodes':{}},{'networks':['10.0.0.0/8','fd00::/8']},{'domainNames':['*.example.org']}]}]})"),
      "created");
  const auto kind = rig.target("policy.networking.k8s.io/clusternetworkpolicies").kind;
  EXPECT_FALSE(kind->namespaced);
  EXPECT_THAT(kind->short_names, testing::ElementsAre("cnp"));
  const Json object = rig.object("policy.networking.k8s.io/clusternetworkpolicies", "p");
  EXPECT_EQ(int_at(object, "metadata.generation"), 1);
  // Nothing was pruned.
  EXPECT_EQ(int_at(array_at(array_at(object, "spec.ingress")[0], "protocols")[1], "udp.destinationPort.range.end"), 2);
  EXPECT_EQ(array_at(object, "spec.egress")[0].at("to").as_array().size(), 3U);
}

TEST(ClusterNetworkPolicy, IsRefusedInUpstreamsWords) {
  PolicyRig rig;
  EXPECT_THAT(rig.policy("{'tier':'Gold','priority':1,'subject':{'namespaces':{}}}"),
              HasSubstr("spec.tier: Unsupported value: \"Gold\": supported values: \"Admin\", \"Baseline\""));
  EXPECT_THAT(rig.policy("{'tier':'Admin','priority':1001,'subject':{'namespaces':{}}}"),
              HasSubstr("spec.priority in body should be less than or equal to 1000"));
  EXPECT_THAT(rig.policy("{'tier':'Admin','priority':1}"), HasSubstr("spec.subject: Required value"));
  EXPECT_THAT(rig.policy("{'tier':'Admin','priority':1,'subject':{}}"),
              HasSubstr("spec.subject in body should have at least 1 properties"));
  EXPECT_THAT(rig.policy("{'tier':'Admin','priority':1,'subject':{'namespaces':{},'pods':{'podSelector':{}}}}"),
              HasSubstr("spec.subject: Too many: 2: must have at most 1 items"));
  EXPECT_THAT(rig.egress("{'action':'Log','to':[{'namespaces':{}}]}"), HasSubstr("supported values: \"Accept\", \"Deny\", \"Pass\""));
  EXPECT_THAT(rig.egress("{'action':'Deny','to':[]}"), HasSubstr("spec.egress[0].to in body should have at least 1 items"));
  EXPECT_THAT(rig.egress("{'action':'Deny'}"), HasSubstr("spec.egress[0].to: Required value"));
  EXPECT_THAT(rig.egress("{'action':'Deny','to':[{'serviceAccounts':{}}]}"),
              HasSubstr("unknown field \"spec.egress[0].to[0].serviceAccounts\""));
  EXPECT_THAT(rig.egress("{'action':'Deny','to':[{'networks':['10.0.0.0/33']}]}"),
              HasSubstr("spec.egress[0].to[0].networks[0]: Invalid value: \"10.0.0.0/33\": Invalid CIDR format provided"));
  EXPECT_THAT(rig.egress("{'action':'Deny','to':[{'networks':['10.0.0.0/8']}],'protocols':[{'destinationNamedPort':'http'}]}"),
              HasSubstr("spec.egress[0]: Invalid value: \"object\": networks/nodes/domainNames peer cannot be set with namedPorts"));
  EXPECT_THAT(rig.protocol("{}"), HasSubstr("should have at least 1 properties"));
  EXPECT_THAT(rig.protocol("{'tcp':{}}"), HasSubstr("spec.egress[0].protocols[0].tcp in body should have at least 1 properties"));
  EXPECT_THAT(rig.protocol("{'tcp':{'destinationPort':{'range':{'start':5,'end':5}}}}"),
              HasSubstr("protocols[0].tcp.destinationPort.range: Invalid value: \"object\": Start port must be less than End port"));
  EXPECT_THAT(rig.protocol("{'tcp':{'destinationPort':{'number':1,'range':{'start':5,'end':6}}}}"), HasSubstr("Too many: 2"));
}

}  // namespace
}  // namespace fairway::apiserver
