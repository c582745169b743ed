// What the sink writes through PolicyTables, without a kernel; how the programs read it is tested in tests/bpf.
#include <gtest/gtest.h>

#include "datapath/addr.h"
#include "datapath/memory_policy_tables.h"

namespace fairway::datapath {
namespace {

TEST(PolicyTables, PortClassesByBank) {
  MemoryPolicyTables tables;
  ASSERT_TRUE(tables.set_port_classes(0, net::Protocol::kTcp, 100, 300, 7).ok());
  ASSERT_TRUE(tables.set_port_classes(1, net::Protocol::kTcp, 128, 128, 9).ok());
  ASSERT_TRUE(tables.set_port_classes(1, net::Protocol::kSctp, 65535, 65535, 3).ok());
  const auto at = [&](unsigned bank, net::Protocol protocol, std::uint16_t port) { return *tables.port_class(bank, protocol, port); };
  for (const auto& [port, port_class] : {std::pair{99, 0}, {100, 7}, {127, 7}, {128, 7}, {300, 7}, {301, 0}})
    EXPECT_EQ(at(0, net::Protocol::kTcp, static_cast<std::uint16_t>(port)), port_class) << port;
  EXPECT_EQ(at(1, net::Protocol::kTcp, 127), 0);
  EXPECT_EQ(at(1, net::Protocol::kTcp, 128), 9);
  EXPECT_EQ(at(0, net::Protocol::kUdp, 128), 0) << "a protocol's ports are its own";
  EXPECT_EQ(at(1, net::Protocol::kSctp, 65535), 3);
  EXPECT_EQ(tables.pol_ports().size(), 4u);
  ASSERT_TRUE(tables.set_port_classes(0, net::Protocol::kTcp, 0, 65535, 0).ok());
  ASSERT_TRUE(tables.set_port_classes(1, net::Protocol::kTcp, 0, 65535, 0).ok());
  EXPECT_EQ(tables.pol_ports().size(), 1u) << "runs of nothing have no row";
  ASSERT_TRUE(tables.set_port_classes(0, net::Protocol::kUdp, 0, 65535, 5).ok());
  for (const std::uint16_t port : {0, 1, 32768, 65535}) EXPECT_EQ(at(0, net::Protocol::kUdp, port), 5) << port;
  EXPECT_FALSE(tables.set_port_classes(0, net::Protocol::kTcp, 2, 1, 1).ok());
  EXPECT_FALSE(tables.set_port_classes(2, net::Protocol::kTcp, 1, 2, 1).ok());
  EXPECT_FALSE(tables.set_port_classes(0, static_cast<net::Protocol>(1), 1, 2, 1).ok());
}

TEST(PolicyTables, PrefixesOfAFamilyAreItsOwn) {
  for (const char* text : {"0.0.0.0/0", "10.0.0.0/8", "10.1.2.3/32", "::/0", "fd00:10::/56", "fd00::1/128"}) {
    const net::Prefix prefix = *net::Prefix::parse(text);
    EXPECT_EQ(prefix_of(cidr_key(prefix)), prefix) << text;
  }
  EXPECT_EQ(cidr_key(*net::Prefix::parse("10.0.0.0/16")).prefixlen, 32u + 112u);
  EXPECT_NE(cidr_key(*net::Prefix::parse("::/0")).family, cidr_key(*net::Prefix::parse("0.0.0.0/0")).family);
}

TEST(PolicyTables, OneKeyForBothDirections) {
  const net::SocketAddr a{*net::IpAddr::parse("10.244.1.2"), 40000}, b{*net::IpAddr::parse("10.244.1.3"), 80};
  const TrackKey out = track_key(a, b, 6), back = track_key(b, a, 6);
  EXPECT_EQ(std::memcmp(&out.key, &back.key, sizeof(out.key)), 0);
  EXPECT_NE(out.low_began, back.low_began);
  const net::SocketAddr same{a.addr, 80};
  EXPECT_EQ(track_key(a, same, 6).low_began + track_key(same, a, 6).low_began, FW_TRACK_LOW_BEGAN);
  EXPECT_EQ(seeded_row(back, 5).flags & (FW_TRACK_SEEDED | FW_TRACK_REPLIED | FW_TRACK_ESTABLISHED | FW_TRACK_LOW_BEGAN),
            FW_TRACK_SEEDED | FW_TRACK_REPLIED | FW_TRACK_ESTABLISHED | back.low_began);
}

}  // namespace
}  // namespace fairway::datapath
