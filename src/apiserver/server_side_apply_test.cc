#include "apiserver/managed_fields.h"
#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;
using test::Rig;
using testing::HasSubstr;

std::string deployment(const std::string& spec) {
  return "{'apiVersion':'apps/"
         "v1','kind':'Deployment','metadata':{'name':'d'},'spec':{'selector':{'matchLabels':{'a':'b'}},'template':{'metadata':{'labels':{'"
         "a':'b'}}," +
         spec + "}";
}
std::string containers(const std::string& more, int replicas = -1) {
  return deployment("'spec':{'containers':[{'name':'c','image':'i'" + more + "}]}}" +
                    (replicas < 0 ? "" : ",'replicas':" + std::to_string(replicas)) + "}");
}

std::string apply(Rig& rig, const std::string& object, const std::string& manager, bool force = false) {
  WriteOptions options;
  options.manager = manager;
  options.force = force;
  auto done = rig.engine.patch(rig.target("apps/deployments", "d"), k8s::PatchType::kApply, parse(object), options);
  return !done.ok() ? done.error().message : done->created ? "created" : "applied";
}

TEST(ServerSideApply, CreatesMergesAndPrunes) {
  Rig rig;
  EXPECT_EQ(apply(rig, containers(",'env':[{'name':'A','value':'1'}]", 2), "one"), "created");
  const auto revision = rig.store->revision();
  EXPECT_EQ(apply(rig, containers(",'env':[{'name':'A','value':'1'}]", 2), "one"), "applied");
  EXPECT_EQ(rig.store->revision(), revision);  // the same again is no change
  EXPECT_EQ(apply(rig, containers(",'env':[{'name':'B','value':'2'}]"), "two"), "applied");
  const Json both = rig.object("apps/deployments", "d");
  EXPECT_EQ(array_at(array_at(both, "spec.template.spec.containers")[0], "env").size(), 2U);
  EXPECT_EQ(apply(rig, containers("", 2), "one"), "applied");  // A was one's: it goes; B stays
  const Json after = rig.object("apps/deployments", "d");
  EXPECT_EQ(to_text(array_at(array_at(after, "spec.template.spec.containers")[0], "env")), R"([{"name":"B","value":"2"}])");
}

TEST(ServerSideApply, RefusesToTakeOthersFields) {
  Rig rig;
  ASSERT_EQ(apply(rig, containers("", 2), "one"), "created");
  EXPECT_EQ(apply(rig, containers("", 3), "two"), "Apply failed with 1 conflict: conflict with \"one\": .spec.replicas");
  EXPECT_EQ(apply(rig, containers("", 2), "two"), "applied");  // the same value is shared
  EXPECT_THAT(apply(rig, containers("", 4), "one"), HasSubstr("conflict with \"two\""));
  EXPECT_EQ(apply(rig, containers("", 3), "two", true), "applied");
  EXPECT_EQ(int_at(rig.object("apps/deployments", "d"), "spec.replicas"), 3);
  WriteOptions scaler;
  scaler.manager = "scaler";
  ASSERT_TRUE(rig.engine.patch(rig.target("apps/deployments", "d"), k8s::PatchType::kMerge, parse("{'spec':{'replicas':7}}"), scaler).ok());
  EXPECT_EQ(apply(rig, containers("", 3), "two"), "Apply failed with 1 conflict: conflict with \"scaler\" using apps/v1: .spec.replicas");
  EXPECT_EQ(apply(rig, containers(""), "two"), "applied");  // given up: stays as the scaler set it
  EXPECT_EQ(int_at(rig.object("apps/deployments", "d"), "spec.replicas"), 7);
}

TEST(ServerSideApply, WithoutOwnersTheFirstConflicts) {
  Rig rig;
  ASSERT_EQ(rig.try_create("apps/deployments", containers("", 2)), "created");
  EXPECT_THAT(apply(rig, containers("", 3), "one"), HasSubstr("before-first-apply"));
  EXPECT_EQ(apply(rig, containers("", 3), "one", true), "applied");
}

TEST(FieldSet, GoesThroughItsJson) {
  const Json text = parse("{'f:a':{'.':{},'f:b':{}},'f:c':{'k:{\\'x\\':1}':{'.':{},'f:y':{}}}}");
  FieldSet set = FieldSet::from_json(text);
  EXPECT_EQ(set.to_json(), text);
  FieldSet other = FieldSet::from_json(parse("{'f:a':{'f:b':{}}}"));
  EXPECT_EQ(to_text(set.intersection(other).to_json()), R"({"f:a":{"f:b":{}}})");
  set.subtract(other);
  EXPECT_EQ(to_text(set.to_json().at("f:a")), "{}");
}

}  // namespace
}  // namespace fairway::apiserver
