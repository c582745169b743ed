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
