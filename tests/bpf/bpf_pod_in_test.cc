// pod_in by BPF_PROG_TEST_RUN: what may come out of a pod, and what becomes of it. Frame by frame, bytes compared.
#include <gtest/gtest.h>

#include "packet.h"

namespace fairway::test {
namespace {

class PodIn : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why;
    cluster_ = Cluster::make({}, why);
    if (!cluster_) GTEST_SKIP() << why;
    a_ = cluster_->add_pod(1, "a");
    b_ = cluster_->add_pod(1, "b");
  }
  bool v6() const { return GetParam(); }
  // A frame as pod A sends it.
  PacketSpec from_a(net::IpAddr to) const {
    PacketSpec spec;
    spec.smac = a_.mac;
    spec.dmac = a_.host_mac;
    spec.saddr = a_.ip(to.family() == net::Family::kV6);
    spec.daddr = to;
    return spec;
  }
  Verdict send(const Bytes& frame) { return run(*cluster_, 1, "pod_in", a_.ifindex, frame); }
  Verdict send(const PacketSpec& spec) { return send(build(spec)); }
  void expect_dropped(const PacketSpec& spec, std::string_view reason) { expect_dropped(build(spec), reason); }
  void expect_dropped(const Bytes& frame, std::string_view reason) {
    const std::uint64_t before = cluster_->count(1, reason);
    EXPECT_EQ(send(frame).code, kShot) << reason;
    EXPECT_EQ(cluster_->count(1, reason), before + 1) << "the drop has its name";
  }
  PacketSpec icmp6(net::IpAddr from, net::IpAddr to, std::uint8_t type, const Bytes& body = Bytes(16, 0)) const {
    PacketSpec spec = from_a(to);
    spec.saddr = from;
    spec.protocol = 58;
    spec.icmp_type = type;
    spec.sport = spec.dport = 0;
    spec.hops = 255;
    spec.payload = body;
    return spec;
  }
  static Bytes bytes_of(const net::IpAddr& addr) { return {addr.bytes().begin(), addr.bytes().end()}; }

  std::unique_ptr<Cluster> cluster_;
  Pod a_, b_;
};
INSTANTIATE_TEST_SUITE_P(Families, PodIn, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// A ──▶ B on this node: B's MAC, one hop less, checksums right, redirected
TEST_P(PodIn, ToAPodOfThisNode) {
  for (const std::uint8_t protocol : {6, 17}) {
    PacketSpec spec = from_a(b_.ip(v6()));
    spec.protocol = protocol;
    const Verdict verdict = send(spec);
    EXPECT_EQ(verdict.code, kRedirect);
    const auto seen = parse(verdict.frame);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->dmac, b_.mac);
    EXPECT_EQ(seen->hops, 63);
    EXPECT_EQ(seen->saddr, a_.ip(v6()));
    EXPECT_EQ(seen->daddr, b_.ip(v6()));
    EXPECT_TRUE(seen->checksums_right);
  }
}

// What was remembered of A ──▶ B holds until a table changes, and not a packet longer
TEST_P(PodIn, TheStraightWayForgetsInTime) {
  PacketSpec spec = from_a(b_.ip(v6()));
  const Bytes first = send(spec).frame;
  for (int i = 0; i < 20; ++i) EXPECT_EQ(send(spec).frame, first) << "remembered or not, the frame is the same";
  PacketSpec other = spec;
  other.smac.bytes[5] ^= 1;
  expect_dropped(other, "spoofed-mac");
  other = spec;
  other.saddr = b_.ip(v6());
  expect_dropped(other, "spoofed-ip");
  EXPECT_EQ(run(*cluster_, 1, "pod_in", b_.ifindex, build(spec)).code, kShot) << "A's frame out of B's interface";
  other = spec;
  other.hops = 1;
  EXPECT_EQ(send(other).code, kPass);
  EXPECT_EQ(send(spec).frame, first);

  datapath::Datapath& dp = cluster_->datapath(1);
  const fw_addr addr = datapath::to_abi(b_.ip(v6()));
  fw_endpoint row = *dp.endpoints().lookup(addr);
  row.mac[5] ^= 0x55;  // another pod has the address by now
  row.generation++;
  ASSERT_TRUE(dp.put_endpoint(addr, row).ok());
  EXPECT_EQ(parse(send(spec).frame)->dmac.bytes[5], b_.mac.bytes[5] ^ 0x55);
  ASSERT_TRUE(dp.endpoints().remove(addr).ok());
  EXPECT_EQ(send(spec).code, kPass) << "nobody has it: the kernel's routes";
  ASSERT_TRUE(dp.put_endpoint(addr, row).ok());
  EXPECT_EQ(send(spec).code, kRedirect);
  cluster_->ip("-n " + a_.netns + " link set eth0 down");  // its own kernel's MLD reports would be counted too
  ASSERT_TRUE(dp.local_ifs().remove(a_.ifindex).ok());
  expect_dropped(spec, "unknown-interface");
}

TEST_P(PodIn, SpoofedSources) {
  PacketSpec spec = from_a(b_.ip(v6()));
  spec.smac.bytes[5] ^= 1;
  expect_dropped(spec, "spoofed-mac");
  spec = from_a(b_.ip(v6()));
  spec.saddr = b_.ip(v6());
  expect_dropped(spec, "spoofed-ip");
  spec.saddr = ip(v6() ? "::1" : "127.0.0.1");
  expect_dropped(spec, "spoofed-ip");
  spec.saddr = ip(v6() ? "::" : "0.0.0.0");
  expect_dropped(spec, "spoofed-ip");
  spec.saddr = cluster_->node_ip(1, v6());
  expect_dropped(spec, "spoofed-ip");
  EXPECT_EQ(run(*cluster_, 1, "pod_in", 1, build(from_a(b_.ip(v6())))).code, kShot) << "a device that is no pod's";
  EXPECT_EQ(cluster_->count(1, "unknown-interface"), 1u);
}

TEST_P(PodIn, MalformedFrames) {
  const Bytes whole = build(from_a(b_.ip(v6())));
  // a transport header cut short, where ports are needed (BPF_PROG_TEST_RUN itself refuses a cut IP header)
  const Bytes to_vip = build(from_a(ip(v6() ? "fd00:10:96::10" : "10.96.0.10")));
  for (std::size_t cut = 0; cut < 8; ++cut)
    expect_dropped(Bytes(to_vip.begin(), to_vip.begin() + (v6() ? 54 : 34) + static_cast<long>(cut)), "malformed");
  Bytes wrong = whole;
  wrong[14] = v6() ? 0x45 : 0x65;
  expect_dropped(wrong, "malformed");
  if (!v6()) {
    wrong[14] = 0x44;
    expect_dropped(wrong, "malformed");
  }
  wrong = whole;
  wrong[12] = 0x88;
  wrong[13] = 0xcc;  // LLDP
  expect_dropped(wrong, "not-ip");
}

TEST_P(PodIn, HopsAndSpecialDestinations) {
  PacketSpec spec = from_a(b_.ip(v6()));
  spec.hops = 1;
  EXPECT_EQ(send(spec).code, kPass) << "the kernel says 'time exceeded'";
  EXPECT_EQ(cluster_->count(1, "slow-path"), 1u);
  EXPECT_EQ(send(from_a(cluster_->node_ip(1, v6()))).code, kPass) << "the node's own stack";
  EXPECT_EQ(send(from_a(ip(v6() ? "ff02::fb" : "224.0.0.251"))).code, kPass);
  EXPECT_EQ(send(from_a(ip(v6() ? "fe80::1" : "169.254.1.1"))).code, kPass) << "the gateway";
  EXPECT_EQ(send(from_a(ip(v6() ? "fd00:10:244:1::ffff" : "10.244.1.250"))).code, kPass) << "a pod nobody knows: the kernel's routes";
  expect_dropped(from_a(ip(v6() ? "::1" : "127.0.0.1")), "martian");
}

// A ──▶ VIP:53: the frame leaves as A ──▶ B:5353 with right checksums; a UDP checksum of zero stays zero
TEST_P(PodIn, ServiceRewritesTheFrame) {
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::10" : "10.96.0.10");
  for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) {
    cluster_->set_service(1, {vip, 53}, protocol, {{{b_.ip(v6()), 5353}, 1}});
    PacketSpec spec = from_a(vip);
    spec.protocol = static_cast<std::uint8_t>(protocol);
    spec.dport = 53;
    const Verdict verdict = send(spec);
    EXPECT_EQ(verdict.code, kRedirect);
    const auto seen = parse(verdict.frame);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->daddr, b_.ip(v6()));
    EXPECT_EQ(seen->dport, 5353);
    EXPECT_EQ(seen->sport, 1000);
    EXPECT_EQ(seen->hops, 63);
    EXPECT_TRUE(seen->checksums_right);
  }
  PacketSpec spec = from_a(vip);
  spec.dport = 53;
  spec.udp_zero_checksum = true;
  const Verdict verdict = send(spec);
  const auto seen = parse(verdict.frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(verdict.frame[seen->l4_offset + 6] | verdict.frame[seen->l4_offset + 7], 0);
  // both rows of the two flows, and a client that is marked
  EXPECT_EQ(cluster_->datapath(1).flows_new().dump()->size(), 4u);
  EXPECT_TRUE(cluster_->datapath(1).endpoints().lookup(datapath::to_abi(a_.ip(v6())))->flags & FW_EP_NAT);
}

// A ──SYN──▶ VIP without endpoints: the same buffer goes back as the RST of VIP
TEST_P(PodIn, RefusalByReset) {
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::10" : "10.96.0.10");
  cluster_->set_service(1, {vip, 80}, net::Protocol::kTcp, {});
  PacketSpec spec = from_a(vip);
  spec.protocol = 6;
  spec.dport = 80;
  spec.tcp_seq = 0xfffffff0;
  spec.payload = Bytes(100, 'x');
  const Verdict verdict = send(spec);
  EXPECT_EQ(verdict.code, kRedirect);
  const auto seen = parse(verdict.frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(verdict.frame.size(), (v6() ? 54u : 34u) + 20u);
  EXPECT_EQ(seen->dmac, a_.mac);
  EXPECT_EQ(seen->saddr, vip);
  EXPECT_EQ(seen->daddr, a_.ip(v6()));
  EXPECT_EQ(seen->sport, 80);
  EXPECT_EQ(seen->dport, 1000);
  EXPECT_EQ(seen->tcp_flags, 0x14);
  EXPECT_EQ(seen->tcp_ack, 0xfffffff1u);
  EXPECT_TRUE(seen->checksums_right);
  spec.tcp_flags = 0x04;
  EXPECT_EQ(send(spec).code, kShot) << "no RST answers a RST";
}

// A ──UDP──▶ VIP without endpoints: ICMP port unreachable from VIP, quoting what A sent
TEST_P(PodIn, RefusalByIcmp) {
  const net::IpAddr vip = ip(v6() ? "fd00:10:96::10" : "10.96.0.10");
  cluster_->set_service(1, {vip, 53}, net::Protocol::kUdp, {});
  PacketSpec spec = from_a(vip);
  spec.dport = 53;
  const Bytes sent = build(spec);
  const Verdict verdict = send(sent);
  EXPECT_EQ(verdict.code, kRedirect);
  const auto seen = parse(verdict.frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->protocol, v6() ? 58 : 1);
  EXPECT_EQ(seen->icmp_type, v6() ? 1 : 3);
  EXPECT_EQ(seen->icmp_code, v6() ? 4 : 3);
  EXPECT_EQ(seen->saddr, vip);
  EXPECT_EQ(seen->daddr, a_.ip(v6()));
  EXPECT_TRUE(seen->checksums_right);
  const Bytes quoted(verdict.frame.begin() + static_cast<long>(seen->l4_offset) + 8, verdict.frame.end());
  EXPECT_EQ(quoted, Bytes(sent.begin() + 14, sent.begin() + 14 + static_cast<long>(quoted.size())));
}

// a later fragment to a VIP whose first one was never seen
TEST_P(PodIn, FragmentsWithoutAHead) {
  PacketSpec spec = from_a(ip(v6() ? "fd00:10:96::10" : "10.96.0.10"));
  spec.fragment_word = v6() ? 185 << 3 : 185;
  expect_dropped(spec, "fragment");
}

TEST_F(PodIn, ArpOnlyInItsOwnName) {
  const net::IpAddr gateway = ip("169.254.1.1");
  const Verdict answered = send(build_arp(a_.mac, 1, a_.mac, a_.v4, gateway));
  EXPECT_EQ(answered.code, kRedirect);
  Bytes wanted = build_arp(a_.host_mac, 2, a_.host_mac, gateway, a_.v4);
  std::copy(a_.mac.bytes.begin(), a_.mac.bytes.end(), wanted.begin());
  std::copy(a_.mac.bytes.begin(), a_.mac.bytes.end(), wanted.begin() + 32);
  EXPECT_EQ(answered.frame, wanted);
  EXPECT_EQ(send(build_arp(a_.mac, 2, a_.mac, a_.v4, gateway)).code, kPass) << "its answer to the node";
  EXPECT_EQ(send(build_arp(a_.mac, 1, a_.mac, ip("0.0.0.0"), a_.v4)).code, kPass) << "a probe for its own address";
  expect_dropped(build_arp(a_.mac, 2, a_.mac, b_.v4, gateway), "rogue-arp");
  expect_dropped(build_arp(a_.mac, 2, a_.mac, gateway, a_.v4), "rogue-arp");
  expect_dropped(build_arp(a_.mac, 2, b_.mac, a_.v4, gateway), "rogue-arp");
  expect_dropped(build_arp(b_.mac, 2, a_.mac, a_.v4, gateway), "spoofed-mac");
  Bytes cut = build_arp(a_.mac, 1, a_.mac, a_.v4, gateway);
  cut.resize(30);
  expect_dropped(cut, "malformed");
}

TEST_F(PodIn, NeighbourDiscoveryOnlyInItsOwnName) {
  const net::IpAddr link_local = ip("fe80::fa:ff"), all_nodes = ip("ff02::1"), gateway = ip("fe80::1");
  expect_dropped(icmp6(link_local, all_nodes, 134), "rogue-nd");
  expect_dropped(icmp6(a_.v6, b_.v6, 134), "rogue-nd");
  expect_dropped(icmp6(link_local, all_nodes, 137), "rogue-nd");
  expect_dropped(icmp6(a_.v6, all_nodes, 136, bytes_of(b_.v6)), "rogue-nd");
  expect_dropped(icmp6(a_.v6, all_nodes, 136, bytes_of(gateway)), "rogue-nd");
  expect_dropped(icmp6(gateway, all_nodes, 136, bytes_of(gateway)), "spoofed-ip");
  expect_dropped(icmp6(link_local, b_.v6, 128), "spoofed-ip");
  EXPECT_EQ(send(icmp6(a_.v6, all_nodes, 136, bytes_of(a_.v6))).code, kPass);
  EXPECT_EQ(send(icmp6(link_local, all_nodes, 136, bytes_of(link_local))).code, kPass);
  EXPECT_EQ(send(icmp6(ip("::"), ip("ff02::1:ff00:1"), 135, bytes_of(a_.v6))).code, kPass) << "duplicate address detection";
  EXPECT_EQ(send(icmp6(link_local, ip("ff02::16"), 143)).code, kPass) << "MLD";
  EXPECT_EQ(send(icmp6(link_local, ip("ff02::2"), 133)).code, kPass);
}

// RFC 7113: an advertisement behind extension headers, or in fragments
TEST_F(PodIn, RogueAdvertisementsInDisguise) {
  const Bytes padding{0, 0, 1, 4, 0, 0, 0, 0};
  for (const std::vector<std::uint8_t>& chain : {std::vector<std::uint8_t>{0}, {60}, {0, 60}, {43, 60, 60}}) {
    PacketSpec spec = icmp6(ip("fe80::fa:ff"), ip("ff02::1"), 134);
    spec.extension_types = chain;
    spec.extensions.assign(chain.size(), padding);
    expect_dropped(spec, "rogue-nd");
    spec.fragment_word = 1;
    expect_dropped(spec, chain.size() < 3 ? "rogue-nd" : "malformed");
  }
  PacketSpec spec = icmp6(ip("fe80::fa:ff"), ip("ff02::1"), 134);
  spec.extension_types.assign(6, 60);
  spec.extensions.assign(6, padding);
  expect_dropped(spec, "malformed");
}

}  // namespace
}  // namespace fairway::test
