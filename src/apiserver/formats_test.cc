#include "apiserver/formats.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "apiserver/table.h"

namespace fairway::apiserver {
namespace {

TEST(Formats, Names) {
  EXPECT_TRUE(check_format(Format::kDnsLabel, "a-1").empty());
  for (const char* bad : {"", "-a", "a-", "A", "a_b", "a.b"}) EXPECT_FALSE(check_format(Format::kDnsLabel, bad).empty()) << bad;
  EXPECT_THAT(check_format(Format::kDnsLabel, "a.b"), testing::ElementsAre("must not contain dots"));
  EXPECT_FALSE(check_format(Format::kDns1035Label, "1a").empty());
  EXPECT_TRUE(check_format(Format::kDnsSubdomain, "1a.b-c").empty());
  EXPECT_FALSE(check_format(Format::kDnsSubdomain, "a..b").empty());
  EXPECT_FALSE(check_format(Format::kDnsLabel, std::string(64, 'a')).empty());
  EXPECT_TRUE(check_format(Format::kQualifiedName, "app.kubernetes.io/name").empty());
  for (const char* bad : {"a b", "/a", "a/", "a/b/c", "A_b/c"}) EXPECT_FALSE(check_format(Format::kQualifiedName, bad).empty()) << bad;
  EXPECT_TRUE(check_format(Format::kLabelValue, "").empty());
  EXPECT_FALSE(check_format(Format::kLabelValue, "-a").empty());
  EXPECT_FALSE(check_format(Format::kPortName, "1234").empty());
  EXPECT_TRUE(check_format(Format::kPortName, "http2").empty());
}

TEST(Formats, QuantitiesAreCanonical) {
  const std::pair<const char*, const char*> cases[] = {
      {"1", "1"},          {"0.5", "500m"}, {"1000m", "1"},  {"1024Mi", "1Gi"},          {"1500Mi", "1500Mi"},
      {"64Mi", "64Mi"},    {"1000", "1k"},  {"1e3", "1k"},   {"128974848", "128974848"}, {"0", "0"},
      {"1.5Gi", "1536Mi"}, {"-1", "-1"},    {"100n", "100n"}};
  for (const auto& [from, to] : cases) EXPECT_EQ(canonical_quantity(from), std::optional<std::string>(to)) << from;
  for (const char* bad : {"", "m", "1x", "1 ", "1.2.3", "--1", "1Mii", "1e", "1e99"}) EXPECT_FALSE(canonical_quantity(bad)) << bad;
}

TEST(Formats, Times) {
  EXPECT_EQ(parse_time("1970-01-02T00:00:01Z"), 86401);
  EXPECT_EQ(parse_time("1970-01-01T01:00:00.5+01:00"), 0);
  for (const char* bad : {"", "1970-01-01", "1970-13-01T00:00:00Z", "1970-01-01T00:00:00", "1970-02-30T00:00:00Z", "x970-01-01T00:00:00Z"})
    EXPECT_FALSE(parse_time(bad)) << bad;
  EXPECT_EQ(format_time(1700000000), "2023-11-14T22:13:20Z");
  EXPECT_EQ(format_time(*parse_time("2024-02-29T23:59:59Z")), "2024-02-29T23:59:59Z");
}

TEST(Formats, Durations) {
  EXPECT_EQ(human_duration(119), "119s");
  EXPECT_EQ(human_duration(120), "2m");
  EXPECT_EQ(human_duration(125), "2m5s");
  EXPECT_EQ(human_duration(3600 * 3 + 60), "3h1m");
  EXPECT_EQ(human_duration(3600 * 30), "30h");
  EXPECT_EQ(human_duration(86400 * 3 + 7200), "3d2h");
  EXPECT_EQ(human_duration(86400 * 30), "30d");
}

TEST(Formats, Base64) {
  EXPECT_EQ(base64_encode("any carnal pleas"), "YW55IGNhcm5hbCBwbGVhcw==");
  EXPECT_TRUE(is_base64("YW55"));
  for (const char* bad : {"YW5", "Y=W5", "YW5*", "===="}) EXPECT_FALSE(is_base64(bad)) << bad;
}

TEST(Formats, OldFieldsTakeHostBits) {
  EXPECT_TRUE(lenient_cidr("10.0.0.1/8"));
  for (const char* bad : {"10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "x/8", "::/129", "10.0.0.0/8x"})
    EXPECT_FALSE(lenient_cidr(bad)) << bad;
}

}  // namespace
}  // namespace fairway::apiserver
