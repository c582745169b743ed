#include "compile/dns/persistent_map.h"

#include <gtest/gtest.h>

#include <map>
#include <random>
#include <string>
#include <vector>

namespace fairway::compile::dns {
namespace {

std::map<std::string, std::string> contents(const PersistentMap& map) {
  std::map<std::string, std::string> out;
  map.for_each([&](std::string_view k, std::string_view v) { out.emplace(k, v); });
  return out;
}

TEST(PersistentMap, SetFindErase) {
  PersistentMap map;
  EXPECT_FALSE(map.find("a"));
  EXPECT_FALSE(map.erase("a"));
  EXPECT_TRUE(map.set("a", "1"));
  EXPECT_FALSE(map.set("a", "1"));
  EXPECT_TRUE(map.set("a", "2"));
  EXPECT_TRUE(map.set("", "empty key"));
  EXPECT_EQ(map.find("a"), "2");
  EXPECT_EQ(map.find(""), "empty key");
  EXPECT_EQ(map.size(), 2u);
  EXPECT_TRUE(map.erase("a"));
  EXPECT_TRUE(map.erase(""));
  EXPECT_EQ(map.size(), 0u);
  EXPECT_TRUE(contents(map).empty());
}

// Random operations against std::map, with snapshots taken on the way that must not change afterwards.
TEST(PersistentMap, BehavesAsAMapAndSnapshotsStay) {
  std::mt19937_64 random(7);
  PersistentMap map;
  std::map<std::string, std::string> model;
  std::vector<std::pair<PersistentMap, std::map<std::string, std::string>>> snapshots;
  for (int i = 0; i < 30'000; ++i) {
    std::string key = "k" + std::to_string(random() % 3000);
    if (random() % 3 != 0) {
      std::string value(random() % 20, static_cast<char>('a' + random() % 26));
      bool changed = !model.contains(key) || model[key] != value;
      EXPECT_EQ(map.set(key, value), changed);
      model[key] = value;
    } else {
      EXPECT_EQ(map.erase(key), model.erase(key) == 1);
    }
    if (i % 3000 == 0) snapshots.emplace_back(map, model);
    ASSERT_EQ(map.size(), model.size());
  }
  EXPECT_EQ(contents(map), model);
  for (const auto& [key, value] : model) EXPECT_EQ(map.find(key), value);
  for (const auto& [snapshot, then] : snapshots) EXPECT_EQ(contents(snapshot), then);
  while (!model.empty()) {
    EXPECT_TRUE(map.erase(model.begin()->first));
    model.erase(model.begin());
  }
  EXPECT_EQ(map.size(), 0u);
}

}  // namespace
}  // namespace fairway::compile::dns
