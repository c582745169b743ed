#include "apiserver/crd_schema.h"

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;
using test::Rig;
using testing::HasSubstr;

constexpr const char* kDefinition = R"({"metadata":{"name":"widgets.example.com"},"spec":{"group":"example.com","scope":"Namespaced",
  "names":{"plural":"widgets","kind":"Widget"},"versions":[{"name":"v1","served":true,"storage":true,
  "subresources":{"status":{},"scale":{"specReplicasPath":".spec.replicas","statusReplicasPath":".status.replicas"}},
  "additionalPrinterColumns":[{"name":"Size","type":"string","jsonPath":".spec.size"}],
  "schema":{"openAPIV3Schema":{"type":"object","properties":{"spec":{"type":"object","required":["size"],"properties":{
    "size":{"type":"string","enum":["s","m"]},"replicas":{"type":"integer","minimum":0,"maximum":10,"default":1},
    "word":{"type":"string","pattern":"^[a-z]+$","maxLength":5},"free":{"type":"object","x-kubernetes-preserve-unknown-fields":true},
    "map":{"type":"object","additionalProperties":{"type":"integer"}},
    "list":{"type":"array","maxItems":2,"items":{"type":"object","properties":{"id":{"type":"string"}}},"x-kubernetes-list-type":"map","x-kubernetes-list-map-keys":["id"]}}},
    "status":{"type":"object","x-kubernetes-preserve-unknown-fields":true}}}}}]}})";

struct WidgetRig : Rig {
  WidgetRig() { EXPECT_EQ(try_create("apiextensions.k8s.io/customresourcedefinitions", kDefinition), "created"); }
  std::string widget(const std::string& spec) { return try_create("example.com/widgets", "{'metadata':{'name':'w'},'spec':" + spec + "}"); }
};

TEST(CustomResources, AreServedAtOnce) {
  WidgetRig rig;
  ASSERT_EQ(rig.widget("{'size':'s','free':{'any':[1,{'x':null}]},'map':{'a':1}}"), "created");
  const Json object = rig.object("example.com/widgets", "w");
  EXPECT_EQ(int_at(object, "spec.replicas"), 1);
  EXPECT_EQ(text_at(object, "apiVersion"), "example.com/v1");
  ASSERT_TRUE(
      rig.engine.patch(rig.target("example.com/widgets", "w", "scale"), k8s::PatchType::kMerge, parse("{'spec':{'replicas':4}}"), {}).ok());
  EXPECT_EQ(int_at(rig.object("example.com/widgets", "w"), "spec.replicas"), 4);
  ASSERT_TRUE(rig.engine.remove(rig.target("apiextensions.k8s.io/customresourcedefinitions", "widgets.example.com"), {}).ok());
  EXPECT_EQ(rig.engine.kinds().find("example.com", "v1", "widgets"), nullptr);
  EXPECT_TRUE(rig.store->objects("example.com/widgets").empty());
}

TEST(CustomResources, AreValidated) {
  WidgetRig rig;
  EXPECT_THAT(rig.widget("{}"), HasSubstr("spec.size: Required value"));
  EXPECT_THAT(rig.widget("{'size':'x'}"), HasSubstr("spec.size: Unsupported value: \"x\": supported values: \"s\", \"m\""));
  EXPECT_THAT(rig.widget("{'size':'s','replicas':'x'}"), HasSubstr("spec.replicas in body must be of type integer: \"string\""));
  EXPECT_THAT(rig.widget("{'size':'s','replicas':11}"), HasSubstr("should be less than or equal to 10"));
  EXPECT_THAT(rig.widget("{'size':'s','word':'A'}"), HasSubstr("should match '^[a-z]+$'"));
  EXPECT_THAT(rig.widget("{'size':'s','map':{'a':'b'}}"), HasSubstr("spec.map.a in body must be of type integer"));
  EXPECT_THAT(rig.widget("{'size':'s','list':[{'id':'a'},{'id':'b'},{'id':'c'}]}"), HasSubstr("must have at most 2 items"));
  EXPECT_THAT(rig.widget("{'size':'s','bogus':1}"), HasSubstr("unknown field \"spec.bogus\""));
  auto loose = rig.engine.create(rig.target("example.com/widgets"), parse("{'metadata':{'name':'l'},'spec':{'size':'s','bogus':1}}"), {});
  ASSERT_TRUE(loose.ok());
  EXPECT_THAT(loose->warnings, testing::ElementsAre("unknown field \"spec.bogus\""));
  EXPECT_EQ(find(loose->object, "spec.bogus"), nullptr);
}

// An expression that backtracks without end held the whole API server; a long text took its stack.
TEST(CustomResources, PatternsCostLittle) {
  for (const auto& [pattern, text, words] :
       {std::tuple{"^(a+)+$", std::string(200, 'a') + "b", "the schema's pattern cannot be used"},
        std::tuple{"^(a+)+$", std::string("b"), "should match '^(a+)+$'"}, std::tuple{"^(a+)+$", std::string("aaa"), "created"},
        std::tuple{"^[a-z]+$", std::string(400'000, 'a'), "created"}}) {
    Rig rig;
    std::string definition = kDefinition;
    definition.replace(definition.find("^[a-z]+$"), 8, pattern);
    definition.replace(definition.find("\"maxLength\":5"), 13, "\"maxLength\":500000");
    ASSERT_EQ(rig.try_create("apiextensions.k8s.io/customresourcedefinitions", definition), "created");
    EXPECT_THAT(rig.try_create("example.com/widgets", "{'metadata':{'name':'w'},'spec':{'size':'s','word':'" + text + "'}}"),
                HasSubstr(words))
        << pattern;
  }
}

TEST(CustomResources, PatternsMustBeExpressions) {
  Rig rig;
  std::string definition = kDefinition;
  definition.replace(definition.find("^[a-z]+$"), 8, "(((");
  EXPECT_THAT(rig.try_create("apiextensions.k8s.io/customresourcedefinitions", definition),
              HasSubstr("spec.versions[0].schema.openAPIV3Schema.properties[spec].properties[word].pattern: Invalid value: \"(((\": must "
                        "be a valid regular expression, but isn't: "));
}

TEST(CustomResources, DefinitionsAreValidated) {
  Rig rig;
  const std::string where = "apiextensions.k8s.io/customresourcedefinitions";
  Json wrong = parse(kDefinition);
  set_at(wrong.get_object(), "metadata.name", "other.example.com");
  EXPECT_THAT(rig.try_create(where, to_text(wrong)), HasSubstr("must be spec.names.plural+\".\"+spec.group"));
  Json no_schema = parse(kDefinition);
  find(no_schema, "spec")->get_object()["versions"].get_array()[0].get_object().erase("schema");
  EXPECT_THAT(rig.try_create(where, to_text(no_schema)), HasSubstr("schemas are required"));
}

TEST(JsonPath, Simple) {
  const Json object = parse("{'a':{'b.c':[1,2]},'l':[{'type':'X','v':1},{'type':'Y','v':2}]}");
  EXPECT_EQ(to_text(*at_json_path(object, ".a.b\\.c[1]")), "2");
  EXPECT_EQ(to_text(*at_json_path(object, ".l[?(@.type==\"Y\")].v")), "2");
  for (const char* none : {".x", ".a.b", ".l[9]", ".l[", "x", ".l[?(@.type==]", ".l[?(@==)]"})
    EXPECT_EQ(at_json_path(object, none), nullptr) << none;
}

}  // namespace
}  // namespace fairway::apiserver
