// The uplink's and the overlay's programs by BPF_PROG_TEST_RUN, and all programs on random frames.
#include <gtest/gtest.h>

#include <random>

#include "packet.h"

namespace fairway::test {
namespace {

class Uplink : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why;
    cluster_ = Cluster::make({.vxlan = true, .nodes = 2}, why);
    if (!cluster_) GTEST_SKIP() << why;
    a_ = cluster_->add_pod(1, "a");
    far_ = cluster_->add_pod(2, "far");
    uplink_ = ifindex_in(*cluster_, cluster_->node_netns(1), "eth0");
    overlay_ = ifindex_in(*cluster_, cluster_->node_netns(1), "fwvx");
  }
  bool v6() const { return GetParam(); }
  net::IpAddr world() const { return ip(v6() ? "2001:db8::1" : "198.51.100.1"); }
  net::IpAddr node() const { return cluster_->node_ip(1, v6()); }
  PacketSpec packet(net::IpAddr from, net::IpAddr to, std::uint8_t protocol) const {
    PacketSpec spec;
    spec.smac = *net::MacAddr::parse("02:00:00:00:00:01");
    spec.dmac = *net::MacAddr::parse("02:00:00:00:00:02");
    spec.saddr = from;
    spec.daddr = to;
    spec.protocol = protocol;
    return spec;
  }
  Verdict out(const PacketSpec& spec) { return run(*cluster_, 1, "uplink_out", uplink_, build(spec)); }
  Verdict in(const PacketSpec& spec) { return run(*cluster_, 1, "uplink_in", uplink_, build(spec)); }
  void expect_counted(std::string_view reason, std::uint64_t n) { EXPECT_EQ(cluster_->count(1, reason), n) << reason; }

  std::unique_ptr<Cluster> cluster_;
  Pod a_, far_;
  std::uint32_t uplink_ = 0, overlay_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Families, Uplink, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// A:1000 ──▶ world ══[uplink_out]══▶ N:np; and the answer back to A:1000
TEST_P(Uplink, MasqueradeThereAndBack) {
  for (const std::uint8_t protocol : {6, 17}) {
    const Verdict left = out(packet(a_.ip(v6()), world(), protocol));
    EXPECT_EQ(left.code, kPass);
    const auto seen = parse(left.frame);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->saddr, node());
    EXPECT_GE(seen->sport, FW_MASQ_PORT_MIN);
    EXPECT_TRUE(seen->checksums_right);
    EXPECT_EQ(out(packet(a_.ip(v6()), world(), protocol)).frame, left.frame) << "a flow keeps its port";
    PacketSpec answer = packet(world(), node(), protocol);
    answer.sport = 2000;
    answer.dport = seen->sport;
    answer.tcp_flags = 0x12;
    const Verdict back = in(answer);
    EXPECT_EQ(back.code, kRedirect);
    const auto got = parse(back.frame);
    ASSERT_TRUE(got);
    EXPECT_EQ(got->daddr, a_.ip(v6()));
    EXPECT_EQ(got->dport, 1000);
    EXPECT_EQ(got->dmac, a_.mac);
    EXPECT_TRUE(got->checksums_right);
    answer.saddr = ip(v6() ? "2001:db8::2" : "198.51.100.2");
    EXPECT_EQ(in(answer).code, kPass) << "another's packet to that port is the node's business";
  }
  expect_counted("masqueraded", 2);
}

TEST_P(Uplink, MasqueradeOfPing) {
  PacketSpec ping = packet(a_.ip(v6()), world(), v6() ? 58 : 1);
  ping.icmp_type = v6() ? 128 : 8;
  ping.sport = 77;  // identifier
  ping.dport = 1;   // sequence number
  const auto seen = parse(out(ping).frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->saddr, node());
  EXPECT_NE(seen->sport, 77);
  EXPECT_EQ(seen->icmp_low, 1);
  EXPECT_TRUE(seen->checksums_right);
  PacketSpec answer = packet(world(), node(), v6() ? 58 : 1);
  answer.icmp_type = v6() ? 129 : 0;
  answer.sport = seen->sport;
  answer.dport = 1;
  const Verdict back = in(answer);
  EXPECT_EQ(back.code, kRedirect);
  const auto got = parse(back.frame);
  ASSERT_TRUE(got);
  EXPECT_EQ(got->daddr, a_.ip(v6()));
  EXPECT_EQ(got->sport, 77);
  EXPECT_TRUE(got->checksums_right);
}

TEST_P(Uplink, WhatIsNotMasqueraded) {
  for (const net::IpAddr& to : {cluster_->node_ip(2, v6()), far_.ip(v6())}) {
    const PacketSpec spec = packet(a_.ip(v6()), to, 6);
    const Verdict verdict = out(spec);
    EXPECT_EQ(verdict.code, kPass);
    EXPECT_EQ(verdict.frame, build(spec)) << to.to_string();
  }
  const PacketSpec own = packet(node(), world(), 6);
  EXPECT_EQ(out(own).frame, build(own)) << "the node's own traffic";
  EXPECT_EQ(out(packet(a_.ip(v6()), world(), 132)).code, kShot) << "SCTP has no masquerade: dropped, not leaked";
  expect_counted("masquerade-protocol", 1);
  cluster_->set_flags(1, 0);
  const PacketSpec off = packet(a_.ip(v6()), world(), 6);
  EXPECT_EQ(out(off).frame, build(off));
}

TEST_P(Uplink, SourcesThatCannotComeFromOutside) {
  EXPECT_EQ(in(packet(ip(v6() ? "::1" : "127.0.0.1"), node(), 17)).code, kShot);
  EXPECT_EQ(in(packet(a_.ip(v6()), node(), 17)).code, kShot);
  EXPECT_EQ(run(*cluster_, 1, "overlay_in", overlay_, build(packet(a_.ip(v6()), a_.ip(v6()), 17))).code, kShot);
  expect_counted("martian", 3);
  const PacketSpec lost = packet(far_.ip(v6()), ip(v6() ? "fd00:10:244:1::ffff" : "10.244.1.250"), 17);
  EXPECT_EQ(run(*cluster_, 1, "overlay_in", overlay_, build(lost)).code, kShot);
  expect_counted("no-endpoint", 1);
}

TEST_P(Uplink, ArrivalGoesStraightIntoThePod) {
  const Bytes frame = build(packet(far_.ip(v6()), a_.ip(v6()), 6));
  const std::pair<const char*, std::uint32_t> ways[] = {{"uplink_in", uplink_}, {"overlay_in", overlay_}};
  for (const auto& [program, device] : ways) {
    const Verdict verdict = run(*cluster_, 1, program, device, frame);
    EXPECT_EQ(verdict.code, kRedirect) << program;
    EXPECT_EQ(parse(verdict.frame)->dmac, a_.mac);
  }
  EXPECT_EQ(in(packet(world(), node(), 6)).code, kPass) << "to the node itself";
}

// What was remembered of an arrival, and of the way to another node, ends with the table's row
TEST_P(Uplink, TheStraightWayForgetsInTime) {
  datapath::Datapath& dp = cluster_->datapath(1);
  const PacketSpec arriving = packet(far_.ip(v6()), a_.ip(v6()), 6);
  const Bytes first = in(arriving).frame;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(in(arriving).frame, first);
  PacketSpec martian = arriving;
  martian.saddr = a_.ip(v6());
  EXPECT_EQ(in(martian).code, kShot);
  const fw_addr addr = datapath::to_abi(a_.ip(v6()));
  const fw_endpoint row = *dp.endpoints().lookup(addr);
  ASSERT_TRUE(dp.endpoints().remove(addr).ok());
  EXPECT_EQ(in(arriving).code, kPass);
  ASSERT_TRUE(dp.put_endpoint(addr, row).ok());

  PacketSpec leaving = packet(a_.ip(v6()), far_.ip(v6()), 17);
  leaving.smac = a_.mac;
  leaving.payload = Bytes(1000, 'x');
  const auto out_of_pod = [&] { return run(*cluster_, 1, "pod_in", a_.ifindex, build(leaving)).code; };
  for (int i = 0; i < 5; ++i) EXPECT_EQ(out_of_pod(), kRedirect);
  fw_node peer = *dp.nodes().lookup(2);
  peer.mtu = 900;
  ASSERT_TRUE(dp.nodes().update(2, peer).ok());
  EXPECT_EQ(out_of_pod(), kPass) << "too large by now: the kernel says so";
  ASSERT_TRUE(dp.nodes().remove(2).ok());
  EXPECT_EQ(out_of_pod(), kShot);
  expect_counted("no-node", 1);
}

// Whatever a pod sends, nothing leaves the uplink with its address for a place beyond the cluster.
TEST(RandomFrames, NeverLeakAndNeverConfuse) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const std::uint32_t uplink = ifindex_in(cluster, cluster.node_netns(1), "eth0");
  for (const bool v6 : {false, true}) {
    cluster.set_service(1, {ip(v6 ? "fd00:10:96::10" : "10.96.0.10"), 53}, net::Protocol::kUdp, {{{b.ip(v6), 53}, 1}});
    const net::IpAddr targets[] = {b.ip(v6),
                                   a.ip(v6),
                                   ip(v6 ? "fd00:10:96::10" : "10.96.0.10"),
                                   cluster.node_ip(1, v6),
                                   ip(v6 ? "2001:db8::1" : "198.51.100.1"),
                                   ip(v6 ? "ff02::1" : "255.255.255.255")};
    std::mt19937 random(7);
    for (int i = 0; i < 3000; ++i) {
      PacketSpec spec;
      spec.smac = a.mac;
      spec.dmac = a.host_mac;
      spec.saddr = a.ip(v6);
      spec.daddr = targets[random() % std::size(targets)];
      constexpr std::uint8_t kProtocols[] = {6, 17, 1, 58, 132, 44, 0, 60};
      spec.protocol = kProtocols[random() % std::size(kProtocols)];
      spec.dport = random() % 2 == 0 ? 53 : static_cast<std::uint16_t>(random());
      spec.icmp_type = static_cast<std::uint8_t>(random());
      if (random() % 4 == 0) spec.fragment_word = static_cast<std::uint16_t>(random());
      Bytes frame = build(spec);
      for (std::uint32_t flips = random() % 4; flips > 0; --flips) frame[14 + random() % (frame.size() - 14)] ^= 1u << random() % 8;
      const std::size_t headers = v6 ? 54 : 34;  // BPF_PROG_TEST_RUN refuses less
      if (random() % 5 == 0) frame.resize(headers + random() % (frame.size() - headers));
      for (const char* program : {"pod_in", "uplink_in", "host_service_out"}) {
        const Verdict verdict = run(cluster, 1, program, program[0] == 'p' ? a.ifindex : uplink, frame);
        EXPECT_TRUE(verdict.code == kPass || verdict.code == kShot || verdict.code == kRedirect) << program;
      }
      const Verdict left = run(cluster, 1, "uplink_out", uplink, frame);
      const auto seen = parse(left.frame);
      if (left.code == kPass && seen && seen->daddr == targets[4]) { EXPECT_NE(seen->saddr, a.ip(v6)) << "leaked, frame " << i; }
    }
  }
}

}  // namespace
}  // namespace fairway::test
