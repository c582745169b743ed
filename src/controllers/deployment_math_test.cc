#include "controllers/deployment_math.h"

#include <gtest/gtest.h>

#include <numeric>

namespace fairway::controllers {
namespace {

Json deployment(int replicas, const char* rolling) {
  return json::object{
      {"spec", {{"replicas", replicas}, {"strategy", {{"type", "RollingUpdate"}, {"rollingUpdate", json::parse(rolling)}}}}}};
}

TEST(Strategy, PercentagesRoundSurgeUpAndUnavailableDown) {
  const auto s = strategy_of(deployment(10, R"({"maxSurge":"25%","maxUnavailable":"25%"})"));
  EXPECT_EQ(s.max_surge, 3);
  EXPECT_EQ(s.max_unavailable, 2);
}

TEST(Strategy, BothZeroWouldNeverMove) {
  const auto s = strategy_of(deployment(1, R"({"maxSurge":0,"maxUnavailable":"25%"})"));
  EXPECT_EQ(s.max_surge, 0);
  EXPECT_EQ(s.max_unavailable, 1);
}

TEST(RollingUpdate, NewSetGrowsOnlyIntoTheSurge) {
  const Strategy s{.max_surge = 1, .max_unavailable = 0};
  EXPECT_EQ(next_new_replicas(s, 3, 0, 3), 1);
  EXPECT_EQ(next_new_replicas(s, 3, 1, 4), 1);
  EXPECT_EQ(next_new_replicas(s, 3, 5, 5), 3);
}

TEST(RollingUpdate, OldPodsThatNeverServedGoFirst) {
  const Strategy s{.max_surge = 1, .max_unavailable = 0};
  // Three wanted, three old of which none is available, one new that is not yet: the old ones serve nobody.
  EXPECT_EQ(next_old_replicas(s, 3, {{3, 0}}, {1, 0}), (std::vector<Replicas>{3}));
  EXPECT_EQ(next_old_replicas(s, 3, {{2, 0}, {3, 3}}, {1, 1}), (std::vector<Replicas>{0, 2}));
}

// Whatever the numbers, a rollout played with pods that become ready one after the other ends, and never breaks
// the two promises: at most wanted + surge pods, at least wanted - unavailable serving.
TEST(RollingUpdate, EndsAndKeepsItsPromises) {
  for (int wanted = 0; wanted <= 7; ++wanted) {
    for (int surge = 0; surge <= 3; ++surge) {
      for (int unavailable = 0; unavailable <= 3; ++unavailable) {
        if (surge == 0 && unavailable == 0) continue;
        const Strategy s{.max_surge = surge, .max_unavailable = std::min(unavailable, wanted)};
        SetCounts old{wanted, wanted}, fresh{0, 0};
        int rounds = 0;
        while ((old.replicas != 0 || fresh.replicas != wanted || fresh.available != wanted) && ++rounds < 200) {
          const auto next = next_new_replicas(s, wanted, fresh.replicas, old.replicas + fresh.replicas);
          if (next != fresh.replicas) {
            fresh.replicas = next;
          } else {
            old.replicas = next_old_replicas(s, wanted, {old}, fresh)[0];
            old.available = std::min(old.available, old.replicas);
          }
          ASSERT_LE(old.replicas + fresh.replicas, wanted + surge);
          ASSERT_GE(old.available + fresh.available, wanted - s.max_unavailable);
          if (rounds % 2 == 0 && fresh.available < fresh.replicas) ++fresh.available;
        }
        EXPECT_LT(rounds, 200) << wanted << " wanted, surge " << surge << ", unavailable " << unavailable;
      }
    }
  }
}

TEST(RollingUpdate, HugeNumbersDoNotOverflow) {
  const Json d = deployment(2147483647, R"({"maxSurge":"100%","maxUnavailable":"100%"})");
  EXPECT_EQ(next_new_replicas(strategy_of(d), 2147483647, 0, 2147483647), 2147483647);
}

TEST(Proportional, GivesAllAndKeepsTheShape) {
  const auto next = proportional({{8, 12}, {4, 12}}, 24);
  EXPECT_EQ(std::accumulate(next.begin(), next.end(), 0), 24);
  EXPECT_EQ(next, (std::vector<Replicas>{16, 8}));
  EXPECT_EQ(proportional({{8, 12}, {4, 12}}, 0), (std::vector<Replicas>{0, 0}));
}

TEST(TemplateHash, OrderOfMembersDoesNotMatterAndContentDoes) {
  const Json a = json::parse(R"({"metadata":{"labels":{"app":"x","tier":"y"}},"spec":{"containers":[{"name":"c","image":"i"}]}})");
  const Json b = json::parse(R"({"spec":{"containers":[{"image":"i","name":"c"}]},"metadata":{"labels":{"tier":"y","app":"x"}}})");
  const Json c = json::parse(R"({"spec":{"containers":[{"image":"j","name":"c"}]},"metadata":{"labels":{"tier":"y","app":"x"}}})");
  EXPECT_EQ(template_hash(a, 0), template_hash(b, 0));
  EXPECT_NE(template_hash(a, 0), template_hash(c, 0));
  EXPECT_NE(template_hash(a, 0), template_hash(a, 1));
  EXPECT_EQ(template_hash(a, 0).find_first_not_of("bcdfghjklmnpqrstvwxz2456789"), std::string::npos);
}

TEST(SameTemplate, IgnoresTheHashLabelAlone) {
  const Json a = json::parse(R"({"metadata":{"labels":{"app":"x"}},"spec":{}})");
  const Json b = json::parse(R"({"metadata":{"labels":{"app":"x","pod-template-hash":"abc"}},"spec":{}})");
  const Json c = json::parse(R"({"metadata":{"labels":{"app":"y","pod-template-hash":"abc"}},"spec":{}})");
  EXPECT_TRUE(same_template(a, b));
  EXPECT_FALSE(same_template(a, c));
}

}  // namespace
}  // namespace fairway::controllers
