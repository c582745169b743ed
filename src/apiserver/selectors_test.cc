#include "apiserver/selectors.h"

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

using test::parse;

bool matches(const char* selector, const char* labels) {
  auto parsed = LabelSelector::parse(selector);
  EXPECT_TRUE(parsed.ok()) << selector;
  const Json object = parse(labels);
  return parsed->matches(&object.as_object());
}

TEST(LabelSelector, MatchesAsTheApiSays) {
  const char* labels = "{'app':'web','tier':'front','n':'5','empty':''}";
  for (const char* yes : {"", "app=web", "app==web,tier!=back", "app in (api, web)", "tier notin (back)", "app", "!zone", "zone!=a",
                          "zone notin (a,b)", "n>4", "n<6", "empty=", "empty in ()"})
    EXPECT_TRUE(matches(yes, labels)) << yes;
  for (const char* no : {"app=api", "zone", "!app", "app notin (web)", "zone in (a)", "n>5", "app>1", "app=web,zone=a"})
    EXPECT_FALSE(matches(no, labels)) << no;
}

TEST(LabelSelector, RefusesWhatItCannotRead) {
  for (const char* bad : {"a=b,", ",a", "a in b", "a in (b", "a=b c", "=b", "a=-", "!", "a b"})
    EXPECT_FALSE(LabelSelector::parse(bad).ok()) << bad;
}

TEST(FieldSelector, KnowsItsKindsFields) {
  const Json pod = parse("{'metadata':{'name':'a','namespace':'n'},'spec':{'nodeName':'x'},'status':{'phase':'Running'}}");
  auto selector = FieldSelector::parse("status.phase!=Pending,spec.nodeName=x,metadata.name==a", {"status.phase", "spec.nodeName"});
  ASSERT_TRUE(selector.ok());
  EXPECT_TRUE(selector->matches(pod));
  EXPECT_EQ(selector->name(), "a");
  EXPECT_FALSE(FieldSelector::parse("spec.foo=x", {}).ok());
  EXPECT_FALSE(FieldSelector::parse("spec", {}).ok());
  EXPECT_FALSE(FieldSelector::parse("spec.nodeName=", {"spec.nodeName"})->matches(pod));
}

TEST(SelectorText, PrintsObjects) {
  EXPECT_EQ(selector_text(parse("{'matchLabels':{'b':'2','a':'1'},'matchExpressions':[{'key':'c','operator':'In','values':['x','y']},{'key'"
                                ":'d','operator':'DoesNotExist'}]}")),
            "a=1,b=2,c in (x,y),!d");
}

}  // namespace
}  // namespace fairway::apiserver
