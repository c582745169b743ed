#include "table/packed_table.h"

#include <gtest/gtest.h>

#include <map>
#include <random>

namespace fairway::table {
namespace {

TEST(PackedTable, FeedNamesEachChangedKeyOnce) {
  PackedTable t("t");
  t.set("a", "1");
  const auto reader = t.subscribe();
  EXPECT_EQ(t.take_changes(reader), std::vector<std::string>{"a"});  // what was there already
  t.set("b", "1");
  t.set("b", "2");
  t.set("a", "1");  // equal: nothing
  EXPECT_EQ(t.take_changes(reader), std::vector<std::string>{"b"});
  EXPECT_FALSE(t.has_changes(reader));
  t.erase("b");
  t.erase("never");
  EXPECT_EQ(t.take_changes(reader), std::vector<std::string>{"b"});
  EXPECT_FALSE(t.find("b").has_value());
}

TEST(PackedTable, LateEventsAreIgnored) {
  PackedTable t("t");
  EXPECT_TRUE(t.set("a", "new", 10));
  EXPECT_FALSE(t.set("a", "old", 9));
  EXPECT_EQ(t.find("a"), "new");
  EXPECT_FALSE(t.erase("a", 8));
  EXPECT_TRUE(t.erase("a", 12));
  EXPECT_FALSE(t.set("a", "zombie", 11));  // older than the deletion
  EXPECT_FALSE(t.find("a").has_value());
  EXPECT_TRUE(t.set("a", "again", 13));
}

TEST(PackedTable, ARelistIsTheTruth) {
  PackedTable t("t");
  t.set("keep", "1", 10);
  t.set("bad", "1", 10);
  t.set("gone", "1", 10);
  const auto reader = t.subscribe();
  t.take_changes(reader);
  t.begin_relist();
  EXPECT_TRUE(t.set("keep", "0", 3));  // a store restored from a backup counts anew
  EXPECT_TRUE(t.touch("bad"));
  EXPECT_FALSE(t.touch("unknown"));
  t.begin_relist();  // the first one was given up
  t.set("keep", "0", 3);
  t.touch("bad");
  EXPECT_EQ(t.not_listed(), std::vector<std::string>{"gone"});
  EXPECT_EQ(t.end_relist(), 1U);
  EXPECT_EQ(t.take_changes(reader), (std::vector<std::string>{"gone", "keep"}));
  EXPECT_EQ(t.end_relist(), 0U);
}

TEST(PackedTable, InitializedOnceEverySourceHasSynced) {
  PackedTable t("t");
  t.add_source("a");
  t.add_source("b");
  t.mark_initialized("a");
  EXPECT_FALSE(t.initialized());
  EXPECT_EQ(t.missing_sources(), std::vector<std::string>{"b"});
  t.mark_initialized("b");
  EXPECT_TRUE(t.initialized());
}

// A reader that replays the feed always ends with what the table holds.
TEST(PackedTable, ReplayedFeedEqualsTable) {
  std::mt19937 random(7);
  PackedTable t("t");
  const auto reader = t.subscribe();
  std::map<std::string, std::string> copy, truth;
  for (int step = 0; step < 20000; ++step) {
    const std::string key = "k" + std::to_string(random() % 50);
    if (random() % 3 == 0) {
      t.erase(key);
      truth.erase(key);
    } else {
      const std::string row(random() % 40, static_cast<char>('a' + random() % 26));
      t.set(key, row);
      truth[key] = row;
    }
    if (random() % 10 != 0) continue;
    for (const auto& changed : t.take_changes(reader)) {
      if (const auto row = t.find(changed)) copy[changed] = *row;
      else copy.erase(changed);
    }
    ASSERT_EQ(copy, truth);
    ASSERT_EQ(t.size(), truth.size());
  }
}

}  // namespace
}  // namespace fairway::table
