// hostPorts and limits to what a pod receives, through the attached programs.
#include <gtest/gtest.h>

#include <cerrno>

#include "cluster.h"
#include "sockets.h"

namespace fairway::test {
namespace {

constexpr net::Protocol kProtocols[] = {net::Protocol::kTcp, net::Protocol::kUdp};

class HostPorts : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  // Port 8080 of the pod's node leads to port 80 of the pod, over both protocols.
  void map_ports(Cluster& cluster, const Pod& pod) const {
    for (const auto protocol : kProtocols) cluster.set_host_port(pod, 8080, 80, protocol, v6());
  }
  // Both protocols; the server, pod `to`, has to see `client`, and the client the node's port.
  void expect_reached(const Cluster& cluster, const std::string& from, const Pod& to, net::IpAddr client) const {
    const net::SocketAddr port{cluster.node_ip(to.node, v6()), 8080}, at{to.ip(v6()), 80};
    net::SocketAddr seen;
    EXPECT_EQ(tcp_echo(cluster, from, port, to.netns, at, &seen), "");
    EXPECT_EQ(seen.addr, client);
    seen = {};
    EXPECT_EQ(udp_echo(cluster, from, port, to.netns, at, &seen), "");
    EXPECT_EQ(seen.addr, client);
  }
};
INSTANTIATE_TEST_SUITE_P(Families, HostPorts, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

// client:ap ──▶ node:8080 ══[uplink_in]══▶ client:ap ──▶ pod:80; the answer leaves as node:8080 ──[pod_in]──▶ eth0
TEST_P(HostPorts, FromOutside) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod web = cluster.add_pod(1, "web");
  map_ports(cluster, web);
  expect_reached(cluster, cluster.fabric_netns(), web, ip(v6() ? "fd00:172:30::1" : "172.30.0.1"));
  EXPECT_EQ(cluster.count(1, "masqueraded"), 0u) << "what a pod answers through its hostPort has the node's address already";
}

// from pods of its own node and of another, native and VXLAN, and from the other node's processes
TEST_P(HostPorts, FromPodsAndNodes) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod web = cluster.add_pod(1, "web"), near = cluster.add_pod(1, "near"), far = cluster.add_pod(2, "far");
    map_ports(cluster, web);
    expect_reached(cluster, near.netns, web, near.ip(v6()));
    expect_reached(cluster, far.netns, web, far.ip(v6()));
    expect_reached(cluster, cluster.node_netns(2), web, cluster.node_ip(2, v6()));
  }
}

// process of the node ──▶ its own address ──lo, [loopback_out]──▶ pod; the answer re-enters on fwsvc0
TEST_P(HostPorts, FromTheNodeItself) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod web = cluster.add_pod(1, "web");
  const std::string& host = cluster.node_netns(1);
  cluster.add_host_service(1);
  map_ports(cluster, web);
  expect_reached(cluster, host, web, cluster.node_ip(1, v6()));
  // a datagram that lo carries and the pod's veth does not: refused, not lost
  const sys::Fd client = client_in(cluster, host, Kind::kUdp, v6());
  ASSERT_EQ(connect_to(client, {cluster.node_ip(1, v6()), 8080}), 0);
  ASSERT_TRUE(send_text(client, std::string(4000, 'x')));
  EXPECT_EQ(wait_error(client), EMSGSIZE);
}

// a pod that speaks to itself through its node's port sees the node as the client
TEST_P(HostPorts, FromThePodItself) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod web = cluster.add_pod(1, "web");
  map_ports(cluster, web);
  expect_reached(cluster, web.netns, web, cluster.node_ip(1, v6()));
}

// CVE-2025-67499: the port is the node's alone, whoever else is asked through it; and only the protocol that was mapped
TEST_P(HostPorts, CapturesNothingElse) {
  FW_CLUSTER(cluster, {.nodes = 2});
  const Pod web = cluster.add_pod(1, "web"), near = cluster.add_pod(1, "near"), far = cluster.add_pod(2, "far");
  cluster.add_host_service(1);
  cluster.set_host_port(web, 8080, 80, net::Protocol::kTcp, v6());
  const net::IpAddr outside = ip(v6() ? "fd00:172:30::1" : "172.30.0.1");
  const std::pair<net::IpAddr, std::string> others[] = {{near.ip(v6()), near.netns},
                                                        {far.ip(v6()), far.netns},
                                                        {cluster.node_ip(2, v6()), cluster.node_netns(2)},
                                                        {outside, cluster.fabric_netns()}};
  for (const auto& [address, netns] : others) {
    SCOPED_TRACE(address.to_string());
    for (const std::string& client : {web.netns, near.netns, cluster.node_netns(1)}) {
      if (client == netns) continue;
      EXPECT_EQ(tcp_echo(cluster, client, {address, 8080}, netns, {address, 8080}), "") << client;
    }
  }
  net::SocketAddr seen;
  const net::SocketAddr node{cluster.node_ip(1, v6()), 8080};
  EXPECT_EQ(udp_echo(cluster, near.netns, node, cluster.node_netns(1), node, &seen), "") << "UDP is the node's own";
  EXPECT_EQ(tcp_echo(cluster, web.netns, {near.ip(v6()), 81}, near.netns, {near.ip(v6()), 81}, &seen), "");
  EXPECT_EQ(seen.addr, web.ip(v6())) << "what the pod begins keeps its own address";
}

// the node's own connection from a port that is a hostPort: its answers are the node's
TEST_P(HostPorts, TheNodesOwnConnections) {
  FW_CLUSTER(cluster, {.nodes = 2});
  const Pod web = cluster.add_pod(1, "web");
  map_ports(cluster, web);
  const net::SocketAddr at{cluster.node_ip(2, v6()), 81};
  const sys::Fd listener = listen_in(cluster, cluster.node_netns(2), Kind::kTcp, at);
  const sys::Fd client = client_in(cluster, cluster.node_netns(1), Kind::kTcp, v6(), 8080);
  EXPECT_EQ(connect_to(client, at), 0);
  const sys::Fd server = accept_one(listener);
  ASSERT_TRUE(send_text(server, "hello"));
  EXPECT_EQ(receive(client), "hello");
}

// errors go both ways through the port: a refusal to the client, a path's MTU to the pod
TEST_P(HostPorts, Errors) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod web = cluster.add_pod(1, "web"), near = cluster.add_pod(1, "near");
  map_ports(cluster, web);
  for (const std::string& from : {cluster.fabric_netns(), near.netns}) {
    const sys::Fd tcp = client_in(cluster, from, Kind::kTcp, v6());
    EXPECT_EQ(connect_to(tcp, {cluster.node_ip(1, v6()), 8080}), ECONNREFUSED) << "nobody listens in the pod";
    const sys::Fd udp = client_in(cluster, from, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(udp, {cluster.node_ip(1, v6()), 8080}), 0);
    ASSERT_TRUE(send_text(udp, "question"));
    EXPECT_EQ(wait_error(udp), ECONNREFUSED);
  }
  // the client goes away, and its answer finds nobody
  const sys::Fd server = listen_in(cluster, web.netns, Kind::kUdp, {web.ip(v6()), 80});
  net::SocketAddr client_addr;
  {
    const sys::Fd client = client_in(cluster, cluster.fabric_netns(), Kind::kUdp, v6());
    ASSERT_EQ(connect_to(client, {cluster.node_ip(1, v6()), 8080}), 0);
    ASSERT_TRUE(send_text(client, "question"));
    ASSERT_EQ(receive(server, &client_addr), "question");
  }
  ASSERT_EQ(connect_to(server, client_addr), 0);
  ASSERT_TRUE(send_text(server, "answer"));
  EXPECT_EQ(wait_error(server), ECONNREFUSED);
}

// the port goes with its pod: a live connection ends, a new one is the node's to refuse, and nothing goes to the old address
TEST_P(HostPorts, GoneWithItsPod) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod web = cluster.add_pod(1, "web"), near = cluster.add_pod(1, "near");
  map_ports(cluster, web);
  const sys::Fd listener = listen_in(cluster, web.netns, Kind::kTcp, {web.ip(v6()), 80});
  const sys::Fd live = client_in(cluster, near.netns, Kind::kTcp, v6());
  ASSERT_EQ(connect_to(live, {cluster.node_ip(1, v6()), 8080}), 0);
  const sys::Fd server = accept_one(listener);
  for (const auto protocol : kProtocols) cluster.remove_frontend(1, {cluster.node_ip(1, v6()), 8080}, protocol);
  cluster.in(cluster.node_netns(1), [&] { ASSERT_TRUE(cluster.datapath(1).set_node_frontends(false).ok()); });
  ASSERT_TRUE(send_text(live, "still there?"));
  EXPECT_EQ(wait_error(live), ECONNRESET) << "the node's stack knows nothing of it";
  for (const std::string& from : {near.netns, cluster.fabric_netns()}) {
    const sys::Fd tcp = client_in(cluster, from, Kind::kTcp, v6());
    EXPECT_EQ(connect_to(tcp, {cluster.node_ip(1, v6()), 8080}), ECONNREFUSED);
  }
  const auto stats = cluster.datapath(1).stats();
  ASSERT_TRUE(stats.ok());
  for (const auto& one : stats->attachments) EXPECT_NE(one.kind, "loopback_out");
}

// what goes to a limited pod goes through the queue of its veth's host side, on every way
TEST_P(HostPorts, ALimitedPodIsReachedThroughItsQueue) {
  for (const bool vxlan : {false, true}) {
    SCOPED_TRACE(vxlan ? "vxlan" : "native");
    FW_CLUSTER(cluster, {.vxlan = vxlan, .nodes = 2});
    const Pod slow = cluster.add_pod(1, "slow"), near = cluster.add_pod(1, "near"), far = cluster.add_pod(2, "far");
    cluster.add_host_service(1);
    map_ports(cluster, slow);
    const net::SocketAddr at{slow.ip(v6()), 80}, port{cluster.node_ip(1, v6()), 8080};
    const net::SocketAddr vip{ip(v6() ? "fd00:10:96::10" : "10.96.0.10"), 53};
    cluster.set_service(1, vip, net::Protocol::kUdp, {{at, 1}});
    const std::pair<std::string, net::SocketAddr> ways[] = {
        {near.netns, at},   {far.netns, at},   {cluster.node_netns(1), at},    {near.netns, vip},
        {near.netns, port}, {far.netns, port}, {cluster.fabric_netns(), port}, {cluster.node_netns(1), vip}};
    // Often each, so that what was remembered of the first packet is used, and more often than the node itself sends the pod something
    // (multicast reports, errors about closed ports); and before the limit, so that it must be forgotten.
    constexpr unsigned kEach = 10;
    const auto pass = [&](const std::pair<std::string, net::SocketAddr>& way) {
      const std::uint64_t before = cluster.through_queue(slow);
      for (unsigned i = 0; i < kEach; ++i) {
        EXPECT_EQ(udp_echo(cluster, way.first, way.second, slow.netns, at), "") << way.first << " " << way.second.to_string();
      }
      return cluster.through_queue(slow) - before;
    };
    EXPECT_LT(pass(ways[0]), kEach) << "without a limit the queue is passed by";
    EXPECT_LT(pass(ways[1]), kEach);
    cluster.shape(slow);
    for (const auto& way : ways) EXPECT_GE(pass(way), kEach) << way.first << " " << way.second.to_string();
  }
}

}  // namespace
}  // namespace fairway::test
