#include "apiserver/service_allocator.h"

#include <fmt/format.h>

#include <set>

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::Rig;
using testing::HasSubstr;

std::string service(const std::string& name, const std::string& more = "") {
  return fmt::format("{{'metadata':{{'name':'{}'}},'spec':{{'ports':[{{'port':80}}]{}{}}}}}", name, more.empty() ? "" : ",", more);
}

TEST(ServiceAllocator, GivesKeepsAndTakesBack) {
  Rig rig;
  ASSERT_EQ(rig.try_create("services", service("a", "'clusterIP':'10.96.0.10'")), "created");
  EXPECT_THAT(rig.try_create("services", service("b", "'clusterIP':'10.96.0.10'")), HasSubstr("provided IP is already allocated"));
  EXPECT_THAT(rig.try_create("services", service("b", "'clusterIP':'10.97.0.1'")),
              HasSubstr("the provided IP (10.97.0.1) is not in the valid range. The range of valid IPs is 10.96.0.0/16"));
  EXPECT_THAT(rig.try_patch("services", "a", "{'spec':{'clusterIP':'10.96.0.11'}}"),
              HasSubstr("spec.clusterIPs[0]: Invalid value: []string{\"10.96.0.11\"}: may not change once set"));
  EXPECT_EQ(rig.try_patch("services", "a", "{'spec':{'clusterIP':null,'clusterIPs':null}}"), "patched");
  EXPECT_EQ(text_at(rig.object("services", "a"), "spec.clusterIP"), "10.96.0.10");
  ASSERT_TRUE(rig.engine.remove(rig.target("services", "a"), {}).ok());
  EXPECT_EQ(rig.try_create("services", service("b", "'clusterIP':'10.96.0.10'")), "created");
}

TEST(ServiceAllocator, Families) {
  Rig rig;
  ASSERT_EQ(rig.try_create("services", service("single")), "created");
  EXPECT_EQ(array_at(rig.object("services", "single"), "spec.ipFamilies"), Array{"IPv4"});
  ASSERT_EQ(rig.try_create("services", service("six", "'ipFamilies':['IPv6']")), "created");
  EXPECT_THAT(std::string(text_at(rig.object("services", "six"), "spec.clusterIP")), testing::StartsWith("fd00:10:96::"));
  ASSERT_EQ(rig.try_create("services", service("dual", "'ipFamilyPolicy':'RequireDualStack'")), "created");
  EXPECT_EQ(array_at(rig.object("services", "dual"), "spec.clusterIPs").size(), 2U);
  EXPECT_EQ(rig.try_patch("services", "dual", "{'spec':{'ipFamilyPolicy':'SingleStack'}}"), "patched");
  EXPECT_EQ(array_at(rig.object("services", "dual"), "spec.clusterIPs").size(), 1U);
  EXPECT_EQ(rig.try_patch("services", "single", "{'spec':{'ipFamilyPolicy':'PreferDualStack'}}"), "patched");
  EXPECT_EQ(array_at(rig.object("services", "single"), "spec.clusterIPs").size(), 2U);
  Rig v4("", {"10.96.0.0/16"});
  EXPECT_THAT(v4.try_create("services", service("a", "'ipFamilyPolicy':'RequireDualStack'")),
              HasSubstr("this cluster is not configured for dual-stack services"));
  EXPECT_EQ(v4.try_create("services", service("b", "'ipFamilyPolicy':'PreferDualStack'")), "created");
  EXPECT_EQ(array_at(v4.object("services", "b"), "spec.clusterIPs").size(), 1U);
  EXPECT_THAT(v4.try_create("services", service("c", "'ipFamilies':['IPv6']")), HasSubstr("not configured on this cluster"));
}

TEST(ServiceAllocator, HeadlessAndExternalNamesHaveNoAddress) {
  Rig rig;
  ASSERT_EQ(rig.try_create("services", service("h", "'clusterIP':'None'")), "created");
  EXPECT_EQ(array_at(rig.object("services", "h"), "spec.clusterIPs"), Array{"None"});
  ASSERT_EQ(rig.try_create("services", "{'metadata':{'name':'e'},'spec':{'type':'ExternalName','externalName':'a.example'}}"), "created");
  EXPECT_EQ(find(rig.object("services", "e"), "spec.clusterIP"), nullptr);
  EXPECT_EQ(rig.try_patch("services", "e", "{'spec':{'type':'ClusterIP','externalName':null,'ports':[{'port':1}]}}"), "patched");
  EXPECT_FALSE(text_at(rig.object("services", "e"), "spec.clusterIP").empty());
  EXPECT_EQ(rig.try_patch("services", "e", "{'spec':{'type':'ExternalName','externalName':'b.example'}}"), "patched");
  EXPECT_EQ(find(rig.object("services", "e"), "spec.clusterIP"), nullptr);
}

TEST(ServiceAllocator, NodePorts) {
  Rig rig;
  ASSERT_EQ(rig.try_create("services",
                           "{'metadata':{'name':'dns'},'spec':{'type':'NodePort','ports':[{'name':'t','port':53},{'name':'u','port':53,'"
                           "protocol':'UDP'}]}}"),
            "created");
  const Json dns = rig.object("services", "dns");
  const auto port = int_at(array_at(dns, "spec.ports")[0], "nodePort");
  EXPECT_GE(port, 30000);
  EXPECT_EQ(int_at(array_at(dns, "spec.ports")[1], "nodePort"), port);
  EXPECT_THAT(
      rig.try_create("services",
                     fmt::format("{{'metadata':{{'name':'x'}},'spec':{{'type':'NodePort','ports':[{{'port':1,'nodePort':{}}}]}}}}", port)),
      HasSubstr("provided port is already allocated"));
  EXPECT_THAT(rig.try_create("services", "{'metadata':{'name':'x'},'spec':{'type':'NodePort','ports':[{'port':1,'nodePort':99}]}}"),
              HasSubstr("The range of valid ports is 30000-32767"));
  // Replaced by a manifest that names no port: it stays.
  EXPECT_EQ(rig.try_patch("services", "dns", "{'spec':{'ports':[{'name':'t','port':53}]}}"), "patched");
  EXPECT_EQ(int_at(array_at(rig.object("services", "dns"), "spec.ports")[0], "nodePort"), port);
  EXPECT_EQ(rig.try_patch("services", "dns", "{'spec':{'type':'ClusterIP'}}"), "patched");
  EXPECT_EQ(int_at(array_at(rig.object("services", "dns"), "spec.ports")[0], "nodePort"), 0);
}

TEST(ServiceAllocator, AFullRangeIsSaid) {
  Rig rig("", {"10.96.0.0/29"});
  std::set<std::string> seen;
  for (int i = 0; i < 6; ++i) {
    ASSERT_EQ(rig.try_create("services", service(fmt::format("s{}", i))), "created") << i;
    EXPECT_TRUE(seen.emplace(text_at(rig.object("services", fmt::format("s{}", i)), "spec.clusterIP")).second);
  }
  EXPECT_THAT(rig.try_create("services", service("more")), HasSubstr("range is full"));
}

}  // namespace
}  // namespace fairway::apiserver
