#include "k8s/quantity.h"

#include <gtest/gtest.h>

namespace fairway::k8s {
namespace {

TEST(Quantity, AsTheApiSpellsThem) {
  const std::pair<const char*, std::int64_t> wanted[] = {
      {"100m", 100}, {"1.5", 1500}, {"64Mi", (64LL << 20) * 1000}, {"2Gi", (2LL << 30) * 1000}, {"1k", 1'000'000}, {"1e3", 1'000'000},
      {"+2", 2000},  {"1u", 1},     {"9999E", INT64_MAX}};
  for (const auto& [text, milli] : wanted) EXPECT_EQ(parse_quantity_milli(text), milli) << text;
  for (const char* bad : {"", "x", "-1", "1Q", "1 Mi", "nan", "lots", "1.2.3", "inf", "1e+-3"})
    EXPECT_EQ(parse_quantity_milli(bad), std::nullopt) << bad;
  EXPECT_EQ(parse_quantity("-1")->value, -1);
  EXPECT_EQ(parse_quantity("5Ki")->suffix, "Ki");
}

}  // namespace
}  // namespace fairway::k8s
