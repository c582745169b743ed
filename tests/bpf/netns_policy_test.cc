// Policy on real packets: same node, native and VXLAN, through Services, from the node, and what a pod says to itself.
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/time.h>

#include <cerrno>

#include "cluster.h"
#include "policy_rows.h"
#include "sockets.h"

namespace fairway::test {
namespace {

class PolicyPaths : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  net::IpAddr vip() const { return ip(v6() ? "fd00:10:96::10" : "10.96.0.10"); }
  // Nobody may begin to `pod`, nor may it begin to anybody.
  static void isolate(PolicyRows& rows, const Pod& pod, std::uint32_t subject) {
    rows.subject(pod.ifindex, subject, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  }
  // A denied packet is dropped in silence: the client hears nothing.
  static bool refused(const Cluster& cluster, const std::string& from, net::SocketAddr to) {
    const sys::Fd socket = client_in(cluster, from, Kind::kTcp, !to.addr.is_v4());
    const timeval brief{0, 300'000};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &brief, sizeof(brief));
    const int err = connect_to(socket, to);
    return err == EINPROGRESS || err == EAGAIN;
  }
};
INSTANTIATE_TEST_SUITE_P(Families, PolicyPaths, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// A ──[pod_in: A's egress, B's ingress]──▶ B
TEST_P(PolicyPaths, SameNode) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  PolicyRows rows(cluster, 1);
  rows.generation(1);
  isolate(rows, a, 6);
  isolate(rows, b, 5);
  rows.peer(a.ip(v6()), 10);
  rows.peer(b.ip(v6()), 11);
  const net::SocketAddr at{b.ip(v6()), 80};
  {
    const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, at);
    EXPECT_TRUE(refused(cluster, a.netns, at));
    EXPECT_GT(cluster.count(1, "policy-egress"), 0u);
    rows.verdict(6, FW_POL_EGRESS, 11, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
    EXPECT_TRUE(refused(cluster, a.netns, at));
    EXPECT_GT(cluster.count(1, "policy-ingress"), 0u);
  }
  rows.verdict(5, FW_POL_INGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 2);
  EXPECT_EQ(tcp_echo(cluster, a.netns, at, b.netns, at), "");
  EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 53}, b.netns, {b.ip(v6()), 53}), "");
  const sys::Fd listener = listen_in(cluster, a.netns, Kind::kTcp, {a.ip(v6()), 80});
  EXPECT_TRUE(refused(cluster, b.netns, {a.ip(v6()), 80})) << "the other direction";
  EXPECT_EQ(cluster.count(1, "track-promoted"), 0u) << "too short";
}

// A ──[pod_in: egress]──▶ eth0 ══▶ [uplink_in | overlay_in: ingress]──▶ B
TEST_P(PolicyPaths, TwoNodes) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
    PolicyRows near(cluster, 1), far(cluster, 2);
    near.generation(1);
    far.generation(1);
    isolate(near, a, 6);
    isolate(far, b, 6);
    const net::SocketAddr at{b.ip(v6()), 80};
    {
      const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, at);
      EXPECT_TRUE(refused(cluster, a.netns, at));
      EXPECT_GT(cluster.count(1, "policy-egress"), 0u);
      EXPECT_EQ(cluster.count(2, "policy-ingress"), 0u) << "it has not left";
      near.verdict(6, FW_POL_EGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
      EXPECT_TRUE(refused(cluster, a.netns, at));
      EXPECT_GT(cluster.count(2, "policy-ingress"), 0u);
    }
    far.verdict(6, FW_POL_INGRESS, FW_PEER_NONE, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
    EXPECT_EQ(tcp_echo(cluster, a.netns, at, b.netns, at), "");
    EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 53}, b.netns, {b.ip(v6()), 53}), "");
    // the error about a closed port passes with its connection, both isolated ends
    const sys::Fd udp = client_in(cluster, a.netns, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(udp, {b.ip(v6()), 9}), 0);
    ASSERT_TRUE(send_text(udp, "question"));
    EXPECT_EQ(wait_error(udp), ECONNREFUSED);
  }
}

// A ──▶ world, masqueraded; the answer is judged by the pod's own address
TEST_P(PolicyPaths, BeyondTheCluster) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  PolicyRows rows(cluster, 1);
  rows.generation(1);
  isolate(rows, a, 6);
  const net::SocketAddr world{ip(v6() ? "fd00:172:31::2" : "172.31.0.2"), 80};
  {
    const sys::Fd listener = listen_in(cluster, cluster.fabric_netns(), Kind::kTcp, world);
    EXPECT_TRUE(refused(cluster, a.netns, world));
  }
  rows.cidr(v6() ? "fd00:172:31::/48" : "172.31.0.0/16", 10);
  rows.verdict(6, FW_POL_EGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
  EXPECT_EQ(tcp_echo(cluster, a.netns, world, cluster.fabric_netns(), world), "");
  EXPECT_EQ(udp_echo(cluster, a.netns, world, cluster.fabric_netns(), world), "");
}

// per packet, by the backend; and a pod that picks itself
TEST_P(PolicyPaths, ThroughAService) {
  for (const int backend_node : {1, 2}) {
    FW_CLUSTER(cluster, {.vxlan = true, .nodes = 2});
    const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(backend_node, "b");
    cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, backend_node}});
    cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, backend_node}});
    cluster.set_service(1, {vip(), 54}, net::Protocol::kUdp, {{{a.ip(v6()), 5354}, 1}});
    PolicyRows near(cluster, 1), far(cluster, backend_node);
    near.generation(1);
    far.generation(1);
    isolate(near, a, 6);
    isolate(far, b, 5);
    EXPECT_TRUE(refused(cluster, a.netns, {vip(), 80}));
    EXPECT_GT(cluster.count(1, "policy-egress"), 0u);
    near.peer(b.ip(v6()), 11);
    near.verdict(6, FW_POL_EGRESS, 11, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
    EXPECT_TRUE(refused(cluster, a.netns, {vip(), 80}));
    EXPECT_GT(cluster.count(backend_node, "policy-ingress"), 0u);
    far.peer(a.ip(v6()), 10);
    far.verdict(5, FW_POL_INGRESS, 10, FW_PORT_ANY, FW_VERDICT_ALLOW, 1);
    EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), 80}, b.netns, {b.ip(v6()), 8080}), "");
    EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, b.netns, {b.ip(v6()), 5353}), "");
    EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 54}, a.netns, {a.ip(v6()), 5354}), "") << "itself";
  }
}

// the node reaches its pods, also through a Service, and they reach it
TEST_P(PolicyPaths, ItsOwnNode) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a");
  const std::string& host = cluster.node_netns(1);
  const net::IpAddr node = cluster.node_ip(1, v6());
  cluster.add_host_service(1);
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{a.ip(v6()), 5353}, 1}});
  PolicyRows rows(cluster, 1);
  rows.generation(1);
  isolate(rows, a, 6);
  EXPECT_EQ(tcp_echo(cluster, host, {a.ip(v6()), 80}, a.netns, {a.ip(v6()), 80}), "");
  EXPECT_EQ(tcp_echo(cluster, a.netns, {node, 80}, host, {node, 80}), "");
  EXPECT_EQ(udp_echo(cluster, host, {vip(), 53}, a.netns, {a.ip(v6()), 5353}), "");
  EXPECT_TRUE(cluster.datapath(1).track_new().dump()->empty()) << "nothing of it is tracked";
}

// isolation in the midst of a connection: refused at its next packet, and resumed from where it stood
TEST_P(PolicyPaths, ARunningConnectionIsRejudged) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  PolicyRows rows(cluster, 1);
  rows.generation(1);
  rows.subject(b.ifindex, 5, FW_SUBJECT_ALLOW, FW_SUBJECT_DENY);
  const net::SocketAddr at{b.ip(v6()), 80};
  const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, at);
  const sys::Fd client = client_in(cluster, a.netns, Kind::kTcp, v6());
  ASSERT_EQ(connect_to(client, at), 0);
  const sys::Fd server = accept_one(listener);
  ASSERT_TRUE(send_text(server, "one"));
  EXPECT_EQ(receive(client), "one") << "a reply, though B may begin nothing";
  rows.bank(0);
  rows.subject(b.ifindex, 5, FW_SUBJECT_DENY, FW_SUBJECT_DENY);
  rows.generation(2);
  ASSERT_TRUE(send_text(client, "two"));
  EXPECT_EQ(receive_soon(server), "");
  rows.copy_bank(0);
  rows.bank(1);
  rows.subject(b.ifindex, 5, FW_SUBJECT_ALLOW, FW_SUBJECT_DENY);
  rows.generation(3);
  EXPECT_EQ(receive(server), "two") << "sent anew by TCP";
}

}  // namespace
}  // namespace fairway::test
