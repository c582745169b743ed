#include <gtest/gtest.h>

#include "core/harness.h"
#include "core/report.h"
#include "core/stats.h"

namespace fairway::bench {
namespace {

TEST(Stats, PercentilesByNearestRank) {
  EXPECT_EQ(percentile({}, 50), 0);
  EXPECT_EQ(median({3, 1, 2}), 2);
  EXPECT_EQ(median({4, 1, 2, 3}), 2.5);
  std::vector<double> hundred;
  for (int i = 1; i <= 100; ++i) hundred.push_back(i);
  EXPECT_EQ(percentile(hundred, 99), 99);
  EXPECT_EQ(percentile(hundred, 100), 100);
  EXPECT_EQ(percentile(hundred, 0), 1);
}

TEST(Stats, HistogramErrsByLittle) {
  Histogram h;
  for (unsigned long long v = 1; v <= 1'000'000; ++v) h.add(v);
  EXPECT_EQ(h.count(), 1'000'000u);
  for (double p : {1.0, 50.0, 90.0, 99.0, 99.9}) EXPECT_NEAR(h.percentile_ns(p) / (p * 10'000), 1, 0.001) << p;
  Histogram small;
  small.add(7);
  EXPECT_EQ(small.percentile_ns(50), 7);
}

TEST(Compare, PairsAlternateAndTheirRatiosCount) {
  std::string order;
  double drift = 1;  // both get slower as time passes; the ratio does not
  auto c = compare(
      {.quick = true, .rounds = 5}, {},
      [&]() -> Result<double> {
        order += 'A';
        return 2 * drift;
      },
      [&]() -> Result<double> {
        order += 'B';
        drift *= 2;
        return drift;
      });
  ASSERT_TRUE(c.ok());
  EXPECT_EQ(order, "BABABABABA");
  EXPECT_EQ(c->ratio, 2);
  EXPECT_EQ(c->spread, 0);
  EXPECT_EQ(c->rounds, 5u);
}

TEST(Compare, NothingMeasuredIsAnError) {
  EXPECT_FALSE(compare(
                   {.quick = true}, {}, []() -> Result<double> { return 0; }, []() -> Result<double> { return 1; })
                   .ok());
  EXPECT_FALSE(
      compare(
          {.quick = true}, {}, []() -> Result<double> { return make_error(Code::kTimeout, "x"); }, []() -> Result<double> { return 1; })
          .ok());
}

TEST(Report, GoalsAreJudgedOnWhatTheyName) {
  Row row{.name = "x", .ours = 3, .unit = "ms", .ratio = 1.04, .goal = Goal::ratio_at_most(1.05)};
  EXPECT_EQ(row.met(), true);
  EXPECT_EQ(row.goal_text(), "≤ 1.05×");
  row.goal = Goal::ratio_at_least(1.05);
  EXPECT_EQ(row.met(), false);
  row.goal = Goal::at_most_value(3);
  EXPECT_EQ(row.met(), true);
  EXPECT_EQ(row.goal_text(), "≤ 3 ms");
  row.goal = {};
  EXPECT_EQ(row.met(), std::nullopt);
  EXPECT_EQ(row.goal_text(), "reported");
}

TEST(Report, JsonAndSvgSurviveAnyText) {
  Row row{.name = "a\"b<c>", .ours = 1, .base = 2, .base_name = "x & y\n", .unit = "µs", .ratio = 0.5, .spread = 0.1};
  Machine machine{.cpu = "A \"B\" <C>"};
  std::string json = render_json(machine, {row, row});
  EXPECT_NE(json.find(R"("name":"a\"b<c>")"), std::string::npos) << json;
  EXPECT_NE(json.find(R"("x & y\u000a")"), std::string::npos) << json;
  EXPECT_NE(json.find("\"met\":null"), std::string::npos);
  EXPECT_EQ(render_svg(machine, {row}).find("b<c>"), std::string::npos);
  EXPECT_NE(render_markdown(machine, {row}).find("0.500×"), std::string::npos);
}

}  // namespace
}  // namespace fairway::bench
