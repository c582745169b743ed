#include "apiserver/body_reader.h"

#include <fmt/format.h>

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

TEST(JsonReader, FindsDuplicateKeysAnywhere) {
  auto body = read_json(R"({"a":1,"b":{"c":[{"d":1},{"d":1,"d":2}]},"a":2})");
  ASSERT_TRUE(body.ok());
  EXPECT_THAT(body->duplicates, testing::ElementsAre("duplicate field \"b.c[1].d\"", "duplicate field \"a\""));
  EXPECT_EQ(body->value.at("a").as_int64(), 2);
}

TEST(JsonReader, RefusesWhatIsNoJson) {
  for (const char* text : {"", "{", "{\"a\":1}x", "[1,]", "nul", "{\"a\":\"\xff\"}", "{'a':1}"}) EXPECT_FALSE(read_json(text).ok()) << text;
  EXPECT_TRUE(read_json(" {\"a\": 1} \n").ok());
}

TEST(JsonReader, RefusesDepth) {
  const std::string deep(100'000, '[');
  EXPECT_FALSE(read_json(deep).ok());
  EXPECT_TRUE(read_json(std::string(100, '[') + std::string(100, ']')).ok());
}

TEST(YamlReader, ReadsAsKubernetesDoes) {
  auto body = read_yaml("a: 1\nb: \"1\"\nc: yes\nd: [x, 0x10, 0777, 1.5, ~, '']\ne: {f: null}\ng: 08\n");
  ASSERT_TRUE(body.ok());
  EXPECT_EQ(to_text(body->value), R"({"a":1,"b":"1","c":true,"d":["x",16,511,1.5E0,null,""],"e":{"f":null},"g":8})");
}

std::string merged(const std::string& text) {
  auto body = read_yaml(text);
  if (!body.ok()) return body.error().message;
  return body->duplicates.empty() ? to_text(body->value) : body->duplicates.front();
}

// As go.yaml.in/yaml/v2, which sigs.k8s.io/yaml reads with: in the order in which the keys are written.
TEST(YamlReader, MergesMaps) {
  EXPECT_EQ(merged("a: &a {x: 1, y: 2}\nb: {<<: *a, y: 3}\n"), R"({"a":{"x":1,"y":2},"b":{"x":1,"y":3}})");
  EXPECT_EQ(merged("a: &a {x: 1}\nb: {x: 2, <<: *a}\n"), R"({"a":{"x":1},"b":{"x":1}})");
  EXPECT_EQ(merged("b: {<<: [{x: 1}, {x: 2, y: 2}]}\n"), R"({"b":{"x":1,"y":2}})");
  EXPECT_EQ(merged("a: &a {x: 1}\nb: &b {<<: *a, y: 2}\nc:\n- <<: *b\n  z: 3\n"),
            R"({"a":{"x":1},"b":{"x":1,"y":2},"c":[{"x":1,"y":2,"z":3}]})");
  EXPECT_EQ(merged("b: {\"<<\": 1}\n"), R"({"b":{"<<":1}})");
  EXPECT_EQ(merged("b: {<<: {x: 1}, x: 2, x: 3}\n"), "duplicate field \"b.x\"");
  EXPECT_EQ(merged("b: {<<: {x: 1}, <<: {y: 1}}\n"), "duplicate field \"b.<<\"");
  for (const char* text : {"b:\n  <<: 1\n", "b:\n  <<: [{}, 2]\n", "b:\n  <<: [[]]\n", "b:\n  <<: ~\n"})
    EXPECT_THAT(merged(text), testing::EndsWith("line 2: map merge requires map or sequence of maps as the value"));
  EXPECT_THAT(merged("&a {<<: *a}"), testing::EndsWith("nested too deeply"));
}

TEST(YamlReader, FindsDuplicatesAndBombs) {
  auto twice = read_yaml("a: 1\nb: {c: 1, c: 2}\na: 2\n");
  ASSERT_TRUE(twice.ok());
  EXPECT_THAT(twice->duplicates, testing::ElementsAre("duplicate field \"b.c\"", "duplicate field \"a\""));
  std::string bomb = "a: &a [x,x,x,x,x,x,x,x,x,x]\n";
  for (char c = 'b'; c < 'j'; ++c)
    bomb += fmt::format("{}: &{} [*{},*{},*{},*{},*{},*{},*{},*{},*{},*{}]\n", c, c, char(c - 1), char(c - 1), char(c - 1), char(c - 1),
                        char(c - 1), char(c - 1), char(c - 1), char(c - 1), char(c - 1), char(c - 1));
  EXPECT_FALSE(read_yaml(bomb).ok());
  EXPECT_FALSE(read_yaml(std::string(100'000, '[')).ok());
  EXPECT_FALSE(read_yaml("a: [1\n").ok());
  EXPECT_FALSE(read_yaml("&a [*a]").ok());
}

}  // namespace
}  // namespace fairway::apiserver
