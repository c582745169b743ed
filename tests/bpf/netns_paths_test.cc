// Packets between pods, nodes and the world, through the attached programs.
#include <gtest/gtest.h>

#include <thread>

#include "cluster.h"
#include "packet.h"
#include "sockets.h"
#include "sys/process.h"

namespace fairway::test {
namespace {

// Every path in both families.
class Paths : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
};
INSTANTIATE_TEST_SUITE_P(Families, Paths, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// pod A ──[pod_in: redirect_peer]──▶ pod B, and back
TEST_P(Paths, SameNode) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  net::SocketAddr seen;
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.ip(v6()), 80}, b.netns, {b.ip(v6()), 80}, &seen), "");
  EXPECT_EQ(seen.addr, a.ip(v6())) << "the true source address";
  EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 53}, b.netns, {b.ip(v6()), 53}, &seen), "");
  EXPECT_EQ(seen.addr, a.ip(v6()));
}

// node ──stack──▶ veth ──▶ pod; pod ──[pod_in: UNSPEC]──▶ stack ──▶ node
TEST_P(Paths, PodAndItsNode) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  const net::IpAddr node = cluster.node_ip(1, v6());
  net::SocketAddr seen;
  EXPECT_EQ(tcp_echo(cluster, a.netns, {node, 80}, cluster.node_netns(1), {node, 80}, &seen), "");
  EXPECT_EQ(seen.addr, a.ip(v6()));
  EXPECT_EQ(tcp_echo(cluster, cluster.node_netns(1), {a.ip(v6()), 80}, a.netns, {a.ip(v6()), 80}), "");
}

// pod A ──[pod_in]──▶ eth0 ══▶ [uplink_in]──▶ pod B        (or through the VXLAN device and overlay_in)
TEST_P(Paths, TwoNodes) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
    net::SocketAddr seen;
    EXPECT_EQ(tcp_echo(cluster, a.netns, {b.ip(v6()), 80}, b.netns, {b.ip(v6()), 80}, &seen), "");
    EXPECT_EQ(seen.addr, a.ip(v6()));
    EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 53}, b.netns, {b.ip(v6()), 53}), "");
    // the other node itself: never masqueraded
    const net::IpAddr node = cluster.node_ip(2, v6());
    EXPECT_EQ(tcp_echo(cluster, a.netns, {node, 81}, cluster.node_netns(2), {node, 81}, &seen), "");
    EXPECT_EQ(seen.addr, a.ip(v6()));
    EXPECT_EQ(cluster.count(1, "masqueraded"), 0u);
  }
}

// Whoever reaches a node can send to its VXLAN port. What comes out of the tunnel is the sending node's own, or nothing.
TEST_P(Paths, NobodyButANodeSpeaksTheOverlay) {
  FW_CLUSTER(cluster, {.vxlan = true, .nodes = 2});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b"), far = cluster.add_pod(2, "far");
  const auto forged = [&](const Pod& from, const Pod& to) {
    std::string text(8, '\0');  // VXLAN, RFC 7348: flags with a number in force, the number
    text[0] = 8;
    text[6] = static_cast<char>(kVni);
    const Bytes inner = build({.smac = from.mac, .dmac = to.mac, .saddr = from.ip(v6()), .daddr = to.ip(v6()), .sport = 7, .dport = 53});
    return text.append(inner.begin(), inner.end());
  };
  const auto reaches_by = [&](const std::string& sender, const net::IpAddr& addr, const Pod& source, const Pod& victim) {
    const sys::Fd server = listen_in(cluster, victim.netns, Kind::kUdp, {victim.ip(v6()), 53});
    const sys::Fd socket = client_in(cluster, sender, Kind::kUdp, false);
    EXPECT_EQ(send_to(socket, {addr, 4789}, forged(source, victim)), 0);
    // What its own node sends it comes: the forged one before it, or never.
    EXPECT_EQ(send_to(client_in(cluster, cluster.node_netns(victim.node), Kind::kUdp, v6()), {victim.ip(v6()), 53}, "after"), 0);
    return receive(server) != "after" || !receive_soon(server).empty();
  };
  const auto reaches = [&](const std::string& sender, int node, const Pod& source, const Pod& victim) {
    return reaches_by(sender, cluster.node_ip(node, false), source, victim);
  };
  EXPECT_FALSE(reaches(a.netns, 1, far, b)) << "a pod to its own node";
  EXPECT_FALSE(reaches(cluster.fabric_netns(), 1, far, b)) << "a host of the network";
  EXPECT_EQ(cluster.count(1, "spoofed-overlay"), 2u);
  EXPECT_FALSE(reaches(a.netns, 2, b, far)) << "a pod to another node";
  EXPECT_EQ(cluster.count(2, "spoofed-overlay"), 1u);
  EXPECT_FALSE(reaches(cluster.node_netns(2), 1, b, a)) << "a node, for a pod that is not on it";
  // An address of the node that is not its Node's: on the way there a pod gets its own node's name.
  const net::IpAddr other = ip("172.30.0.99");
  ASSERT_TRUE(sys::run_ok({"ip", "-n", cluster.node_netns(2), "addr", "add", "172.30.0.99/24", "dev", "eth0"}).ok());
  EXPECT_FALSE(reaches_by(a.netns, other, b, far)) << "a pod, masqueraded";
  EXPECT_EQ(cluster.count(2, "spoofed-overlay"), 2u);
  EXPECT_TRUE(reaches(cluster.node_netns(2), 1, far, b)) << "a node for a pod of its own";
}

// Megabytes in frames of 64 KB over VXLAN: the header is made by pod_in, and what is too large for one goes by the device
TEST_P(Paths, BulkOverVxlan) {
  FW_CLUSTER(cluster, {.vxlan = true, .nodes = 2});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
  const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, {b.ip(v6()), 80});
  const sys::Fd client = client_in(cluster, a.netns, Kind::kTcp, v6());
  ASSERT_EQ(connect_to(client, {b.ip(v6()), 80}), 0);
  const sys::Fd server = accept_one(listener);
  std::string sent, got;
  for (std::size_t i = 0; i < (4 << 20); ++i) sent += static_cast<char>('a' + i * i % 23);
  std::thread writer([&] { EXPECT_TRUE(send_text(client, sent)); });
  while (got.size() < sent.size()) {
    const std::string part = receive(server);
    if (part.empty()) break;
    got += part;
  }
  writer.join();
  EXPECT_TRUE(got == sent) << got.size() << " bytes";
}

// pod A:ap ──[pod_in]──[uplink_out: N:np]──▶ world; back: [uplink_in: A:ap]──▶ pod A
TEST_P(Paths, BeyondTheClusterIsMasqueraded) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  const net::IpAddr world = ip(v6() ? "fd00:172:31::2" : "172.31.0.2");
  net::SocketAddr seen;
  EXPECT_EQ(tcp_echo(cluster, a.netns, {world, 80}, cluster.fabric_netns(), {world, 80}, &seen), "");
  EXPECT_EQ(seen.addr, cluster.node_ip(1, v6()));
  EXPECT_GE(seen.port, FW_MASQ_PORT_MIN);
  EXPECT_LE(seen.port, FW_MASQ_PORT_MAX);
  EXPECT_EQ(udp_echo(cluster, a.netns, {world, 53}, cluster.fabric_netns(), {world, 53}, &seen), "");
  EXPECT_EQ(seen.addr, cluster.node_ip(1, v6()));
  EXPECT_EQ(cluster.count(1, "masqueraded"), 2u);
}

TEST(Clsact, CarriesTheSamePrograms) {
  FW_CLUSTER(cluster, {.prefer_clsact = true, .nodes = 2});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b"), c = cluster.add_pod(2, "c");
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.v4, 80}, b.netns, {b.v4, 80}), "");
  EXPECT_EQ(tcp_echo(cluster, a.netns, {c.v6, 80}, c.netns, {c.v6, 80}), "");
  EXPECT_EQ(cluster.datapath(1).versions()->mode, datapath::AttachMode::kClsact);
}

}  // namespace
}  // namespace fairway::test
