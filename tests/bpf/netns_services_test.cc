// Services per packet and at the socket, through the attached programs.
#include <gtest/gtest.h>

#include <cerrno>

#include "cluster.h"
#include "sockets.h"

namespace fairway::test {
namespace {

class Services : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  net::IpAddr vip(int n = 10) const { return ip((v6() ? "fd00:10:96::" : "10.96.0.") + std::to_string(n)); }
};
INSTANTIATE_TEST_SUITE_P(Families, Services, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// A:ap ──▶ VIP:53 ──[pod_in]──▶ B:5353; B answers to A, and A sees VIP:53
TEST_P(Services, UdpPerPacket) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  net::SocketAddr seen;
  EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, b.netns, {b.ip(v6()), 5353}, &seen), "");
  EXPECT_EQ(seen.addr, a.ip(v6()));
}

TEST_P(Services, UdpPerPacketOnAnotherNode) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
    cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 2}});
    net::SocketAddr seen;
    EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, b.netns, {b.ip(v6()), 5353}, &seen), "");
    EXPECT_EQ(seen.addr, a.ip(v6()));
  }
}

TEST_P(Services, TcpPerPacket) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, 1}});
  EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), 80}, b.netns, {b.ip(v6()), 8080}), "");
  EXPECT_EQ(cluster.count(1, "flow-new"), 1u);
  EXPECT_EQ(cluster.count(1, "flow-promoted"), 1u);
}

// A ──▶ VIP ──▶ A itself, which sees VIP as the client
TEST_P(Services, Hairpin) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{a.ip(v6()), 8080}, 1}});
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{a.ip(v6()), 5353}, 1}});
  net::SocketAddr seen;
  EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), 80}, a.netns, {a.ip(v6()), 8080}, &seen), "");
  EXPECT_EQ(seen.addr, vip());
  EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, a.netns, {a.ip(v6()), 5353}, &seen), "");
  EXPECT_EQ(seen.addr, vip());
}

// no endpoint, or no such Service: refused at once, by RST or ICMP port unreachable
TEST_P(Services, RefusedAtOnce) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {});
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {});
  for (const net::IpAddr& addr : {vip(), vip(77)}) {
    const sys::Fd tcp = client_in(cluster, a.netns, Kind::kTcp, v6());
    EXPECT_EQ(connect_to(tcp, {addr, 80}), ECONNREFUSED);
    const sys::Fd udp = client_in(cluster, a.netns, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(udp, {addr, 53}), 0);
    ASSERT_TRUE(send_text(udp, "question"));
    EXPECT_EQ(wait_error(udp), ECONNREFUSED);
  }
  EXPECT_EQ(cluster.count(1, "no-backend"), 2u);
  EXPECT_EQ(cluster.count(1, "unknown-service"), 2u);
}

// A ──▶ VIP ──▶ a host-network pod of A's own node: the node's stack answers, and pod_out gives A back its VIP
TEST_P(Services, BackendIsTheNodeItself) {
  FW_CLUSTER(cluster, {.nodes = 2});
  const Pod a = cluster.add_pod(1, "a");
  for (const int n : {1, 2}) {
    const net::SocketAddr at{cluster.node_ip(n, v6()), 5353};
    const std::uint16_t port = static_cast<std::uint16_t>(50 + n);
    cluster.set_service(1, {vip(), port}, net::Protocol::kUdp, {{at, n}});
    cluster.set_service(1, {vip(), port}, net::Protocol::kTcp, {{at, n}});
    net::SocketAddr seen;
    EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), port}, cluster.node_netns(n), at, &seen), "") << "node " << n;
    EXPECT_EQ(seen.addr, a.ip(v6()));
    EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), port}, cluster.node_netns(n), at), "") << "node " << n;
    // and nobody listens: the stack's ICMP error is translated too
    const sys::Fd udp = client_in(cluster, a.netns, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(udp, {vip(), port}), 0);
    ASSERT_TRUE(send_text(udp, "question"));
    EXPECT_EQ(wait_error(udp), ECONNREFUSED);
  }
}

// process of the node ──▶ VIP ──route──▶ fwsvc0 ──[host_service_out]──▶ pod; the answer re-enters on fwsvc0
TEST_P(Services, HostProcess) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod near = cluster.add_pod(1, "near"), far = cluster.add_pod(2, "far");
    const std::string& host = cluster.node_netns(1);
    cluster.add_host_service(1);
    cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{near.ip(v6()), 5353}, 1}});
    cluster.set_service(1, {vip(), 54}, net::Protocol::kUdp, {{{far.ip(v6()), 5353}, 2}});
    cluster.set_service(1, {vip(), 55}, net::Protocol::kUdp, {{{cluster.node_ip(1, v6()), 5353}, 1}});
    cluster.set_service(1, {vip(), 56}, net::Protocol::kUdp, {});
    EXPECT_EQ(udp_echo(cluster, host, {vip(), 53}, near.netns, {near.ip(v6()), 5353}), "");
    EXPECT_EQ(udp_echo(cluster, host, {vip(), 54}, far.netns, {far.ip(v6()), 5353}), "");
    EXPECT_EQ(udp_echo(cluster, host, {vip(), 55}, host, {cluster.node_ip(1, v6()), 5353}), "");
    const sys::Fd udp = client_in(cluster, host, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(udp, {vip(), 56}), 0);
    ASSERT_TRUE(send_text(udp, "question"));
    EXPECT_EQ(wait_error(udp), ECONNREFUSED);
  }
}

}  // namespace
}  // namespace fairway::test
