// What the tests of policy by BPF_PROG_TEST_RUN share: two pods of a node, one of another, and packets between them.
#pragma once

#include <gtest/gtest.h>

#include "packet.h"
#include "policy_rows.h"

namespace fairway::test {

constexpr std::uint8_t kTcp = 6, kUdp = 17, kSctp = 132, kGre = 47, kSyn = 0x02, kAck = 0x10, kSynAck = 0x12, kFinAck = 0x11, kRst = 0x04;

class PolicyTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    std::string why;
    cluster_ = Cluster::make({.vxlan = true, .nodes = 2}, why);
    if (!cluster_) GTEST_SKIP() << why;
    a_ = cluster_->add_pod(1, "a");
    b_ = cluster_->add_pod(1, "b");
    far_ = cluster_->add_pod(2, "far");
    uplink_ = ifindex_in(*cluster_, cluster_->node_netns(1), "eth0");
    overlay_ = ifindex_in(*cluster_, cluster_->node_netns(1), "fwvx");
    rows_ = std::make_unique<PolicyRows>(*cluster_, 1);
    rows_->generation(1);
  }
  bool v6() const { return GetParam(); }
  net::IpAddr of(const Pod& pod) const { return pod.ip(v6()); }
  net::IpAddr world() const { return ip(v6() ? "2001:db8::1" : "198.51.100.1"); }
  net::IpAddr node(int n) const { return cluster_->node_ip(n, v6()); }
  datapath::Datapath& dp() { return cluster_->datapath(1); }

  static PacketSpec packet(const net::IpAddr& from, const net::IpAddr& to, std::uint8_t protocol, std::uint16_t sport, std::uint16_t dport,
                           std::uint8_t tcp_flags = kSyn) {
    PacketSpec spec;
    spec.smac = *net::MacAddr::parse("02:00:00:00:00:01");
    spec.dmac = *net::MacAddr::parse("02:00:00:00:00:02");
    spec.saddr = from;
    spec.daddr = to;
    spec.protocol = protocol;
    spec.sport = sport;
    spec.dport = dport;
    spec.tcp_flags = tcp_flags;
    return spec;
  }
  Verdict send(const Pod& from, PacketSpec spec) {
    spec.smac = from.mac;
    spec.dmac = from.host_mac;
    return run(*cluster_, 1, "pod_in", from.ifindex, build(spec));
  }
  // From one pod of the node to an address: is it let through?
  bool passes(const Pod& from, const net::IpAddr& to, std::uint16_t sport, std::uint16_t dport, std::uint8_t tcp_flags = kSyn,
              std::uint8_t protocol = kTcp) {
    return send(from, packet(of(from), to, protocol, sport, dport, tcp_flags)).code != kShot;
  }
  // From outside to a pod of the node.
  bool arrives(const net::IpAddr& from, const Pod& to, std::uint16_t sport, std::uint16_t dport, std::uint8_t tcp_flags = kSyn,
               std::uint8_t protocol = kTcp, bool by_overlay = false) {
    return run(*cluster_, 1, by_overlay ? "overlay_in" : "uplink_in", by_overlay ? overlay_ : uplink_,
               build(packet(from, of(to), protocol, sport, dport, tcp_flags)))
               .code != kShot;
  }
  std::uint64_t count(std::string_view what) { return cluster_->count(1, what); }
  // The row of a connection, if there is one.
  std::optional<fw_track> row(const net::SocketAddr& from, const net::SocketAddr& to, std::uint8_t protocol = kTcp) {
    const auto key = datapath::track_key(from, to, protocol).key;
    if (auto found = dp().track().lookup(key); found.ok()) return *found;
    if (auto found = dp().track_new().lookup(key); found.ok()) return *found;
    return std::nullopt;
  }

  std::unique_ptr<Cluster> cluster_;
  std::unique_ptr<PolicyRows> rows_;
  Pod a_, b_, far_;
  std::uint32_t uplink_ = 0, overlay_ = 0;
};

}  // namespace fairway::test
