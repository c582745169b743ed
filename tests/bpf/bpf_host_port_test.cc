// hostPorts by BPF_PROG_TEST_RUN: what becomes of a packet to the node, and of what the pod answers. Frame by frame.
#include <gtest/gtest.h>

#include "packet.h"

namespace fairway::test {
namespace {

class HostPort : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why;
    cluster_ = Cluster::make({.nodes = 2}, why);
    if (!cluster_) GTEST_SKIP() << why;
    web_ = cluster_->add_pod(1, "web");
    near_ = cluster_->add_pod(1, "near");
    uplink_ = ifindex_in(*cluster_, cluster_->node_netns(1), "eth0");
    for (const auto protocol : {net::Protocol::kTcp, net::Protocol::kUdp}) cluster_->set_host_port(web_, 8080, 80, protocol, v6());
  }
  bool v6() const { return GetParam(); }
  net::IpAddr node() const { return cluster_->node_ip(1, v6()); }
  net::IpAddr world() const { return ip(v6() ? "2001:db8::1" : "198.51.100.1"); }
  PacketSpec from_world(std::uint8_t protocol, std::uint16_t dport = 8080) const {
    PacketSpec spec;
    spec.smac = *net::MacAddr::parse("02:00:00:00:00:01");
    spec.dmac = *net::MacAddr::parse("02:00:00:00:00:02");
    spec.saddr = world();
    spec.daddr = node();
    spec.protocol = protocol;
    spec.dport = dport;
    return spec;
  }
  PacketSpec from_web(net::IpAddr to, std::uint8_t protocol) const {
    PacketSpec spec;
    spec.smac = web_.mac;
    spec.dmac = web_.host_mac;
    spec.saddr = web_.ip(v6());
    spec.daddr = to;
    spec.protocol = protocol;
    spec.sport = 80;
    spec.dport = 1000;
    spec.tcp_flags = 0x12;
    return spec;
  }
  Verdict in(const PacketSpec& spec) { return run(*cluster_, 1, "uplink_in", uplink_, build(spec)); }
  Verdict out_of_web(const PacketSpec& spec) { return run(*cluster_, 1, "pod_in", web_.ifindex, build(spec)); }

  std::unique_ptr<Cluster> cluster_;
  Pod web_, near_;
  std::uint32_t uplink_ = 0;
};
INSTANTIATE_TEST_SUITE_P(Families, HostPort, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// world:1000 ──▶ node:8080 ══▶ world:1000 ──▶ web:80, and back
TEST_P(HostPort, ThereAndBack) {
  for (const std::uint8_t protocol : {6, 17}) {
    const Verdict came = in(from_world(protocol));
    EXPECT_EQ(came.code, kRedirect);
    const auto seen = parse(came.frame);
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->saddr, world()) << "the true source address";
    EXPECT_EQ(seen->sport, 1000);
    EXPECT_EQ(seen->daddr, web_.ip(v6()));
    EXPECT_EQ(seen->dport, 80);
    EXPECT_EQ(seen->dmac, web_.mac);
    EXPECT_EQ(seen->hops, 64) << "no hop less: the node would have taken it with the last one";
    EXPECT_TRUE(seen->checksums_right);
    const Verdict left = out_of_web(from_web(world(), protocol));
    EXPECT_EQ(left.code, kRedirect);
    const auto answer = parse(left.frame);
    ASSERT_TRUE(answer);
    EXPECT_EQ(answer->saddr, node());
    EXPECT_EQ(answer->sport, 8080);
    EXPECT_EQ(answer->daddr, world());
    EXPECT_EQ(answer->dport, 1000);
    EXPECT_EQ(answer->hops, 63);
    EXPECT_TRUE(answer->checksums_right);
  }
}

// What is not this node's address and port, or begins in the middle, is the stack's, byte for byte
TEST_P(HostPort, WhatIsLeftAlone) {
  PacketSpec other_port = from_world(6, 8081), other_node = from_world(6), middle = from_world(6), own = from_world(6);
  other_node.daddr = cluster_->node_ip(2, v6());
  middle.tcp_flags = 0x10;
  own.saddr = node();
  for (const PacketSpec& spec : {other_port, other_node, middle, own}) {
    const Verdict verdict = in(spec);
    EXPECT_EQ(verdict.code, kPass);
    EXPECT_EQ(verdict.frame, build(spec));
  }
  EXPECT_EQ(cluster_->count(1, "flow-new"), 0u);
  // and what the pod itself begins is no reply
  PacketSpec begins = from_web(near_.ip(v6()), 6);
  begins.tcp_flags = 0x02;
  const auto seen = parse(out_of_web(begins).frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->saddr, web_.ip(v6()));
  EXPECT_EQ(seen->daddr, near_.ip(v6()));
}

// A live flow goes on in the middle; the pod is gone, and the flow with it
TEST_P(HostPort, FollowsItsFlow) {
  PacketSpec spec = from_world(6);
  EXPECT_EQ(in(spec).code, kRedirect);
  spec.tcp_flags = 0x10;
  EXPECT_EQ(in(spec).code, kRedirect);
  cluster_->remove_frontend(1, {node(), 8080}, net::Protocol::kTcp);
  const Verdict verdict = in(spec);
  EXPECT_EQ(verdict.code, kPass);
  EXPECT_EQ(verdict.frame, build(spec));
}

// Without the flag nothing is looked up: nodes and pods without hostPorts pay nothing
TEST_P(HostPort, TheFlagsDecide) {
  cluster_->in(cluster_->node_netns(1), [&] { ASSERT_TRUE(cluster_->datapath(1).set_node_frontends(false).ok()); });
  EXPECT_EQ(in(from_world(17)).code, kPass);
  cluster_->set_flags(1, FW_CFG_NODE_FRONTENDS);
  EXPECT_EQ(in(from_world(17)).code, kPass) << "the flag is set_node_frontends()'s alone";
  cluster_->in(cluster_->node_netns(1), [&] {
    const Status again = cluster_->datapath(1).set_node_frontends(true);
    ASSERT_TRUE(again.ok()) << again.error().message;
  });
  cluster_->set_flags(1, 0);
  EXPECT_EQ(in(from_world(17)).code, kRedirect);
  cluster_->restart(1);
  cluster_->set_flags(1, 0);
  EXPECT_EQ(in(from_world(17)).code, kRedirect) << "kept over a restart";
}

// A reply too large for its way: the pod is told about its own packet, before it has the node's address
TEST_P(HostPort, AnswerTooLarge) {
  EXPECT_EQ(in(from_world(17)).code, kRedirect);
  PacketSpec answer = from_web(world(), 17);
  answer.payload = Bytes(1600, 'x');
  const auto told = parse(out_of_web(answer).frame);
  ASSERT_TRUE(told);
  EXPECT_EQ(told->protocol, v6() ? 58 : 1);
  EXPECT_EQ(told->icmp_type, v6() ? 2 : 3);
  EXPECT_EQ(told->daddr, web_.ip(v6()));
  EXPECT_EQ(told->icmp_low, 1500);
  answer.sport = 81;
  EXPECT_EQ(out_of_web(answer).code, kPass) << "no reply: the kernel's to tell";
}

// A path's MTU, told to the node about what the pod answered, reaches the pod in its own words
TEST_P(HostPort, ErrorAboutAnAnswer) {
  EXPECT_EQ(in(from_world(17)).code, kRedirect);
  const auto left = parse(out_of_web(from_web(world(), 17)).frame);
  ASSERT_TRUE(left);
  PacketSpec quoted = from_web(world(), 17);
  quoted.saddr = node();
  quoted.sport = 8080;
  const Bytes whole = build(quoted);
  PacketSpec error = from_world(v6() ? 58 : 1);
  error.saddr = ip(v6() ? "2001:db8::ff" : "198.51.100.254");
  error.icmp_type = v6() ? 2 : 3;
  error.icmp_code = v6() ? 0 : 4;
  error.sport = 0;
  error.dport = 1400;
  error.payload = Bytes(whole.begin() + 14, whole.begin() + 14 + (v6() ? 48 : 28));
  const Verdict verdict = in(error);
  EXPECT_EQ(verdict.code, kRedirect);
  const auto seen = parse(verdict.frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->daddr, web_.ip(v6()));
  EXPECT_EQ(seen->dmac, web_.mac);
  EXPECT_TRUE(seen->checksums_right);
  const Bytes mine = build(from_web(world(), 17));
  const std::size_t at = seen->l4_offset + 8 + (v6() ? 8 : 12);  // the quoted addresses and ports
  EXPECT_TRUE(std::equal(mine.begin() + 14 + (v6() ? 8 : 12), mine.begin() + 14 + (v6() ? 44 : 24),
                         verdict.frame.begin() + static_cast<std::ptrdiff_t>(at)));
}

}  // namespace
}  // namespace fairway::test
