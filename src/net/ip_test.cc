#include "net/ip.h"

#include <gtest/gtest.h>

namespace fairway::net {
namespace {

TEST(IpAddr, RoundTripsBothFamilies) {
  for (const char* text : {"10.0.0.1", "255.255.255.255", "::", "::1", "fd00:10:244::1f"})
    EXPECT_EQ(IpAddr::parse(text)->to_string(), text);
}

TEST(IpAddr, RefusesWhatIsNotAnAddress) {
  for (const char* text : {"", "10.0.0", "10.0.0.01", "10.0.0.256", "::g", "1.2.3.4/8", "fe80::1%eth0"})
    EXPECT_FALSE(IpAddr::parse(text).ok()) << text;
}

TEST(IpAddr, ClassifiesAddresses) {
  EXPECT_TRUE(IpAddr::parse("127.9.9.9")->is_loopback());
  EXPECT_TRUE(IpAddr::parse("::1")->is_loopback());
  EXPECT_TRUE(IpAddr::parse("169.254.1.1")->is_link_local());
  EXPECT_TRUE(IpAddr::parse("fe80::1")->is_link_local());
  EXPECT_TRUE(IpAddr::parse("ff02::1")->is_multicast());
  EXPECT_FALSE(IpAddr::parse("10.0.0.1")->is_loopback());
}

TEST(Prefix, ContainsAndCounts) {
  const auto prefix = *Prefix::parse("10.244.1.0/24");
  EXPECT_TRUE(prefix.contains(*IpAddr::parse("10.244.1.255")));
  EXPECT_FALSE(prefix.contains(*IpAddr::parse("10.244.2.0")));
  EXPECT_EQ(prefix.size(), 256U);
  EXPECT_EQ(prefix.nth(10)->to_string(), "10.244.1.10");
  EXPECT_FALSE(prefix.nth(256).has_value());
  EXPECT_EQ(Prefix::parse("fd00::/64")->nth(0x10001)->to_string(), "fd00::1:1");
}

TEST(Prefix, RefusesHostBitsAndSaysWhatWasMeant) {
  const auto result = Prefix::parse("10.0.0.5/24");
  ASSERT_FALSE(result.ok());
  EXPECT_NE(result.error().message.find("10.0.0.0/24"), std::string::npos);
}

TEST(Prefix, MasksHostBitsWhereTheApiDoes) {
  EXPECT_EQ(Prefix::parse_masking("10.0.0.5/24")->to_string(), "10.0.0.0/24");
  EXPECT_EQ(Prefix::parse_masking("fd00::1/64")->to_string(), "fd00::/64");
  EXPECT_EQ(Prefix::parse_masking("0.0.0.0/0")->to_string(), "0.0.0.0/0");
  for (const char* bad : {"", "/", "10.0.0.0", "10.0.0.0/33", "10.0.0.0/", "10.0.0.0/08", "010.0.0.0/8", "10.0.0.0/-1", "fd00::/129",
                          "::ffff:10.0.0.0/8", "::ffff:10.0.0.0/104", "::ffff:0:0/96", " 10.0.0.0/8", "10.0.0.0/8 "})
    EXPECT_FALSE(Prefix::parse_masking(bad).ok()) << bad;
}

TEST(MacAddr, RoundTrips) {
  EXPECT_EQ(MacAddr::parse("02:00:0a:f4:01:02")->to_string(), "02:00:0a:f4:01:02");
  EXPECT_FALSE(MacAddr::parse("02:00:0a:f4:01").ok());
}

TEST(SocketAddr, RoundTrips) {
  EXPECT_EQ(SocketAddr::parse("[fd00::1]:80")->to_string(), "[fd00::1]:80");
  EXPECT_EQ(SocketAddr::parse("10.0.0.1:53")->port, 53);
  EXPECT_FALSE(SocketAddr::parse("10.0.0.1:65536").ok());
}

}  // namespace
}  // namespace fairway::net
