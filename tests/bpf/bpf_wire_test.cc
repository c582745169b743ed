// Frames to another node by BPF_PROG_TEST_RUN, as they leave once the kernel has been asked: the next hop's MAC, and VXLAN's header.
#include <gtest/gtest.h>

#include <array>
#include <chrono>
#include <thread>

#include "abi/overlay.h"
#include "datapath/addr.h"
#include "packet.h"

namespace fairway::test {
namespace {

constexpr std::size_t kEth = 14, kRoom = 50;
constexpr std::uint32_t kVni = 7;  // of the test cluster
const net::MacAddr kNextHop = *net::MacAddr::parse("02:aa:00:00:00:01"), kOtherHop = *net::MacAddr::parse("02:aa:00:00:00:02");

class Wire : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  // A pod of node 1 and one of node 2, which node 1 knows as its neighbour.
  bool make(bool vxlan) {
    std::string why;
    cluster_ = Cluster::make({.vxlan = vxlan, .nodes = 2}, why);
    if (!cluster_) return false;
    a_ = cluster_->add_pod(1, "a");
    far_ = cluster_->add_pod(2, "far");
    uplink_ = mac_of("eth0");
    set_neighbour(kNextHop);
    spec_.smac = a_.mac;
    spec_.dmac = a_.host_mac;
    spec_.saddr = a_.ip(v6());
    spec_.daddr = far_.ip(v6());
    return true;
  }
  net::MacAddr mac_of(const std::string& device) {
    const std::string text = cluster_->ip("-n " + cluster_->node_netns(1) + " -br link show dev " + device);
    const auto colon = text.find(':');
    return *net::MacAddr::parse(text.substr(colon - 2, 17));
  }
  void set_neighbour(const net::MacAddr& mac) {
    for (const bool six : {false, true})
      cluster_->ip("-n " + cluster_->node_netns(1) + " neigh replace " + cluster_->node_ip(2, six).to_string() +
                   " dev eth0 nud permanent lladdr " + mac.to_string());
  }
  Verdict send(const Bytes& frame) { return run(*cluster_, 1, "pod_in", a_.ifindex, frame); }
  // The verdict on a frame that finds its way prepared: its mark says so. It may be out of date on a busy machine, and is made anew then.
  Verdict prepared(const Bytes& frame) {
    Verdict verdict = send(frame);
    for (int i = 0; i < 100 && verdict.mark == 0; ++i) verdict = send(frame);
    EXPECT_EQ(verdict.code, kRedirect);
    EXPECT_NE(verdict.mark, 0u) << "never prepared";
    return verdict;
  }
  static void a_moment() { std::this_thread::sleep_for(std::chrono::milliseconds(120)); }  // of 8 jiffies, at any HZ

  std::unique_ptr<Cluster> cluster_;
  Pod a_, far_;
  net::MacAddr uplink_;
  PacketSpec spec_;
};
INSTANTIATE_TEST_SUITE_P(Families, Wire, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

TEST_P(Wire, NativeFollowsTheNeighbour) {
  if (!make(false)) GTEST_SKIP() << "needs root";
  const Bytes frame = build(spec_);
  const auto seen = parse(prepared(frame).frame);
  ASSERT_TRUE(seen);
  EXPECT_EQ(seen->dmac, kNextHop);
  EXPECT_EQ(seen->smac, uplink_);
  EXPECT_EQ(seen->hops, 63);
  EXPECT_TRUE(seen->checksums_right);
  set_neighbour(kOtherHop);
  a_moment();
  EXPECT_EQ(parse(prepared(frame).frame)->dmac, kOtherHop);
  // nobody knows the next hop: by bpf_redirect_neigh, which asks for it, packet by packet
  for (const bool six : {false, true})
    cluster_->ip("-n " + cluster_->node_netns(1) + " neigh del " + cluster_->node_ip(2, six).to_string() + " dev eth0");
  a_moment();
  for (int i = 0; i < 5; ++i) {
    const Verdict verdict = send(frame);
    EXPECT_EQ(verdict.code, kRedirect);
    EXPECT_EQ(verdict.mark, 0u);
  }
  set_neighbour(kNextHop);
  a_moment();
  EXPECT_EQ(parse(prepared(frame).frame)->dmac, kNextHop) << "known again";
  // what other nodes' rows say holds at once
  fw_node row = *cluster_->datapath(1).nodes().lookup(2);
  row.underlay_v4 = datapath::to_abi(ip("172.30.0.99"));
  row.underlay_v6 = datapath::to_abi(ip("fd00:172:30::99"));
  ASSERT_TRUE(cluster_->datapath(1).nodes().update(2, row).ok());
  EXPECT_EQ(send(frame).mark, 0u);
}

std::uint16_t word(const Bytes& frame, std::size_t at) { return static_cast<std::uint16_t>(frame[at] << 8 | frame[at + 1]); }

std::uint16_t sum_of(const Bytes& frame, std::size_t at, std::size_t length) {
  std::uint32_t sum = 0;
  for (std::size_t i = 0; i < length; i += 2) sum += word(frame, at + i);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return static_cast<std::uint16_t>(sum);
}

void set_ecn(Bytes& frame, bool v6, unsigned ecn) {
  if (v6) frame[kEth + 1] = static_cast<std::uint8_t>((frame[kEth + 1] & 0xcf) | ecn << 4);
  else frame[kEth + 1] = static_cast<std::uint8_t>((frame[kEth + 1] & 0xfc) | ecn);
}

// The overlay's device would have made the same header
TEST_P(Wire, VxlanHeader) {
  if (!make(true)) GTEST_SKIP() << "needs root";
  Bytes frame = build(spec_);
  for (const unsigned ecn : {0U, 1U, 2U, 3U}) {
    SCOPED_TRACE(ecn);
    set_ecn(frame, v6(), ecn);
    const Bytes out = prepared(frame).frame;
    ASSERT_EQ(out.size(), frame.size() + kRoom);
    EXPECT_TRUE(std::equal(kNextHop.bytes.begin(), kNextHop.bytes.end(), out.begin()));
    EXPECT_TRUE(std::equal(uplink_.bytes.begin(), uplink_.bytes.end(), out.begin() + 6));
    EXPECT_EQ(word(out, 12), 0x0800);
    EXPECT_EQ(word(out, 14) >> 8, 0x45);
    EXPECT_EQ(out[15], ecn == 3 ? 2 : ecn) << "RFC 6040";
    EXPECT_EQ(word(out, 16), out.size() - kEth);
    EXPECT_EQ(word(out, 20), 0) << "no fragment, may be cut";
    EXPECT_EQ(out[22], 64);
    EXPECT_EQ(out[23], 17);
    EXPECT_EQ(sum_of(out, kEth, 20), 0xffff);
    EXPECT_EQ((std::array<std::uint8_t, 4>{out[26], out[27], out[28], out[29]}), (std::array<std::uint8_t, 4>{172, 30, 0, 11}));
    EXPECT_EQ((std::array<std::uint8_t, 4>{out[30], out[31], out[32], out[33]}), (std::array<std::uint8_t, 4>{172, 30, 0, 12}));
    EXPECT_GE(word(out, 34), 32768);
    EXPECT_EQ(word(out, 36), FW_VXLAN_PORT);
    EXPECT_EQ(word(out, 38), out.size() - kEth - 20);
    EXPECT_EQ(word(out, 40), 0) << "no checksum: the inner packet has its own";
    EXPECT_EQ(word(out, 42), 0x0800);
    EXPECT_EQ((static_cast<unsigned>(word(out, 46)) << 8 | out[48]), kVni);
    EXPECT_EQ(word(out, 62), v6() ? 0x86dd : 0x0800);
    const auto seen = parse(Bytes(out.begin() + kRoom, out.end()));
    ASSERT_TRUE(seen);
    EXPECT_EQ(seen->daddr, far_.ip(v6()));
    EXPECT_EQ(seen->hops, 63);
  }
}

// No MAC of the next hop, no header: the overlay's device is asked, as for what is too large for one
TEST_P(Wire, VxlanWithoutANeighbour) {
  if (!make(true)) GTEST_SKIP() << "needs root";
  const Bytes frame = build(spec_);
  prepared(frame);
  cluster_->ip("-n " + cluster_->node_netns(1) + " neigh del " + cluster_->node_ip(2, false).to_string() + " dev eth0");
  a_moment();
  for (int i = 0; i < 5; ++i) {
    const Verdict verdict = send(frame);
    EXPECT_EQ(verdict.code, kRedirect);
    EXPECT_EQ(verdict.frame.size(), frame.size());
  }
}

// The overlay's frames are left to the stack; the same port of a pod is the pod's
TEST_P(Wire, TheOverlaysPortOfAPod) {
  if (!make(true)) GTEST_SKIP() << "needs root";
  const std::uint32_t eth0 = ifindex_in(*cluster_, cluster_->node_netns(1), "eth0");
  PacketSpec spec = spec_;
  spec.saddr = cluster_->node_ip(2, v6());
  spec.dport = FW_VXLAN_PORT;
  spec.daddr = cluster_->node_ip(1, v6());
  EXPECT_EQ(run(*cluster_, 1, "uplink_in", eth0, build(spec)).code, kPass);
  spec.daddr = a_.ip(v6());
  EXPECT_EQ(run(*cluster_, 1, "uplink_in", eth0, build(spec)).code, kRedirect);
}

// What goes to another node's pod is not masqueraded, and the mark that says so goes no further
TEST_P(Wire, TheMarkEndsAtTheUplink) {
  if (!make(false)) GTEST_SKIP() << "needs root";
  const Bytes frame = build(spec_);
  const Verdict verdict = prepared(frame), out = run(*cluster_, 1, "uplink_out", ifindex_in(*cluster_, cluster_->node_netns(1), "eth0"),
                                                     verdict.frame, 0, verdict.mark);
  EXPECT_EQ(out.code, kPass);
  EXPECT_EQ(out.mark, 0u);
}

}  // namespace
}  // namespace fairway::test
