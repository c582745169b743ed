#include "apiserver/patch.h"

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;

std::string strategic(const char* message, const char* target, const char* patch) {
  auto result = strategic_patch(*Schemas::builtin().find(message), parse(target), parse(patch));
  return result.ok() ? to_text(*result) : result.error().message;
}
std::string same(const char* text) { return to_text(parse(text)); }

TEST(JsonPatch, FollowsTheRfc) {
  auto run = [](const char* target, const char* patch) {
    auto result = json_patch(parse(target), parse(patch));
    return result.ok() ? to_text(*result) : "error";
  };
  EXPECT_EQ(run("{'a':[1,2]}", "[{'op':'add','path':'/a/1','value':9},{'op':'add','path':'/a/-','value':8}]"), same("{'a':[1,9,2,8]}"));
  EXPECT_EQ(run("{'a/b':{'~c':1}}", "[{'op':'replace','path':'/a~1b/~0c','value':2}]"), same("{'a/b':{'~c':2}}"));
  EXPECT_EQ(run("{'a':{'x':1},'b':{}}", "[{'op':'move','from':'/a/x','path':'/b/y'},{'op':'copy','from':'/b','path':'/c'}]"),
            same("{'a':{},'b':{'y':1},'c':{'y':1}}"));
  EXPECT_EQ(run("{'a':[1,2,3]}", "[{'op':'remove','path':'/a/0'},{'op':'test','path':'/a/0','value':2}]"), same("{'a':[2,3]}"));
  for (const char* bad :
       {"[{'op':'test','path':'/a','value':1}]", "[{'op':'remove','path':'/x'}]", "[{'op':'replace','path':'/x','value':1}]",
        "[{'op':'add','path':'/x/y','value':1}]", "[{'op':'add','path':'/a/7','value':1}]", "[{'op':'add','path':'/a/-1','value':1}]",
        "[{'op':'dig','path':'/a'}]", "[{'op':'add','path':'a','value':1}]", "[1]", "[{'op':'remove','path':''}]"}) {
    EXPECT_EQ(run("{'a':[]}", bad), "error") << bad;
  }
}

TEST(MergePatch, FollowsTheRfc) {
  Json target = parse("{'a':{'b':1,'c':2},'d':[1,2]}");
  merge_patch(target, parse("{'a':{'b':null,'e':{'f':null,'g':1}},'d':[3]}"));
  EXPECT_EQ(to_text(target), same("{'a':{'c':2,'e':{'g':1}},'d':[3]}"));
}

TEST(StrategicPatch, MergesListsByKey) {
  EXPECT_EQ(strategic("PodSpec", "{'containers':[{'name':'a','image':'x','env':[{'name':'E','value':'1'}]},{'name':'b'}]}",
                      "{'containers':[{'name':'a','env':[{'name':'F','value':'2'}]},{'name':'c','image':'z'}]}"),
            same("{'containers':[{'name':'a','image':'x','env':[{'name':'E','value':'1'},{'name':'F','value':'2'}]},{'name':'b'},{'name':'"
                 "c','image':'z'}]}"));
  EXPECT_EQ(strategic("PodSpec", "{'containers':[{'name':'a'},{'name':'b'}]}", "{'containers':[{'name':'a','$patch':'delete'}]}"),
            same("{'containers':[{'name':'b'}]}"));
  EXPECT_EQ(strategic("PodSpec", "{'containers':[{'name':'a'},{'name':'b'}]}", "{'containers':[{'$patch':'replace'},{'name':'z'}]}"),
            same("{'containers':[{'name':'z'}]}"));
  EXPECT_EQ(strategic("PodSpec", "{'tolerations':[{'key':'a'}]}", "{'tolerations':[{'key':'b'}]}"), same("{'tolerations':[{'key':'b'}]}"));
}

TEST(StrategicPatch, KnowsItsDirectives) {
  EXPECT_EQ(strategic("PodSpec", "{'containers':[{'name':'a'},{'name':'b'},{'name':'c'}]}",
                      "{'$setElementOrder/containers':[{'name':'c'},{'name':'a'}],'containers':[{'name':'b','$patch':'delete'}]}"),
            same("{'containers':[{'name':'c'},{'name':'a'}]}"));
  EXPECT_EQ(strategic("ObjectMeta", "{'finalizers':['a','b']}", "{'$deleteFromPrimitiveList/finalizers':['a'],'finalizers':['c']}"),
            same("{'finalizers':['b','c']}"));
  EXPECT_EQ(strategic("DeploymentSpec", "{'strategy':{'type':'RollingUpdate','rollingUpdate':{'maxSurge':1}}}",
                      "{'strategy':{'$retainKeys':['type'],'type':'Recreate'}}"),
            same("{'strategy':{'type':'Recreate'}}"));
  EXPECT_EQ(strategic("PodSpec", "{'volumes':[{'name':'v','emptyDir':{}}]}",
                      "{'volumes':[{'$retainKeys':['name','configMap'],'name':'v','configMap':{'name':'c'}}]}"),
            same("{'volumes':[{'name':'v','configMap':{'name':'c'}}]}"));
  EXPECT_EQ(strategic("PodSpec", "{'nodeSelector':{'a':'1','b':'2'}}", "{'nodeSelector':{'$patch':'replace','c':'3'}}"),
            same("{'nodeSelector':{'c':'3'}}"));
  EXPECT_EQ(strategic("PodSpec", "{'nodeSelector':{'a':'1'}}", "{'nodeSelector':null}"), "{}");
  EXPECT_EQ(strategic("PodSpec", "{}", "{'containers':[{'image':'x'}]}"),
            "map: {\"image\":\"x\"} does not contain declared merge key: name");
}

// kubectl sends both items when 53/TCP is added beside 53/UDP (kubectl-wire.md section 4).
TEST(StrategicPatch, TwoProtocolsOnOnePort) {
  EXPECT_EQ(
      strategic(
          "ServiceSpec", "{'ports':[{'name':'u','port':53,'protocol':'UDP'}]}",
          "{'$setElementOrder/"
          "ports':[{'port':53},{'port':53}],'ports':[{'name':'u','port':53,'protocol':'UDP'},{'name':'t','port':53,'protocol':'TCP'}]}"),
      same("{'ports':[{'name':'u','port':53,'protocol':'UDP'},{'name':'t','port':53,'protocol':'TCP'}]}"));
}

}  // namespace
}  // namespace fairway::apiserver
