// What a translating datapath gets wrong first: MTU, fragments, ICMP errors, ports that clash, backends that vanish.
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sched.h>
#include <sys/socket.h>

#include <cerrno>

#include "cluster.h"
#include "sockets.h"

namespace fairway::test {
namespace {

class Edges : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  net::IpAddr vip(int n = 10) const { return ip((v6() ? "fd00:10:96::" : "10.96.0.") + std::to_string(n)); }
  net::IpAddr world() const { return ip(v6() ? "fd00:172:31::2" : "172.31.0.2"); }
};
INSTANTIATE_TEST_SUITE_P(Families, Edges, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

void forbid_fragments(const sys::Fd& socket, bool v6) {
  const int on = v6 ? IPV6_PMTUDISC_DO : IP_PMTUDISC_DO;
  ::setsockopt(socket.get(), v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP), v6 ? IPV6_MTU_DISCOVER : IP_MTU_DISCOVER,
               &on, sizeof(on));
}

int path_mtu(const sys::Fd& socket, bool v6) {
  int mtu = 0;
  socklen_t size = sizeof(mtu);
  ::getsockopt(socket.get(), v6 ? static_cast<int>(IPPROTO_IPV6) : static_cast<int>(IPPROTO_IP), v6 ? IPV6_MTU : IP_MTU, &mtu, &size);
  return mtu;
}

// A sends 1400 bytes with DF to a pod behind a path of 1300: the ICMP error tells A the truth.
TEST_P(Edges, PathMtuIsTold) {
  FW_CLUSTER(cluster, {.nodes = 2});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
  fw_node peer = *cluster.datapath(1).nodes().lookup(2);
  peer.mtu = 1300;
  ASSERT_TRUE(cluster.datapath(1).nodes().update(2, peer).ok());
  const std::string n = "-n " + cluster.node_netns(1) + (v6() ? " -6" : "") + " route change ";
  cluster.ip(n + (v6() ? "fd00:10:244:2::/64" : "10.244.2.0/24") + " via " + cluster.node_ip(2, v6()).to_string() + " mtu 1300");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 2}});
  for (const net::SocketAddr to : {net::SocketAddr{b.ip(v6()), 5353}, net::SocketAddr{vip(), 53}}) {
    SCOPED_TRACE(to.to_string());
    const sys::Fd server = listen_in(cluster, b.netns, Kind::kUdp, {b.ip(v6()), 5353});
    const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
    forbid_fragments(socket, v6());
    ASSERT_EQ(connect_to(socket, to), 0);
    ASSERT_TRUE(send_text(socket, std::string(1400, 'x')));
    EXPECT_EQ(wait_error(socket), EMSGSIZE);
    EXPECT_EQ(path_mtu(socket, v6()), 1300);
    ASSERT_TRUE(send_text(socket, std::string(1200, 'x')));
    EXPECT_EQ(receive(server).size(), 1200u);
  }
}

// A bulk TCP flow finds its way through the same narrow path, direct and through a Service (GSO: segments are judged).
TEST_P(Edges, TcpFitsItselfToThePath) {
  FW_CLUSTER(cluster, {.nodes = 2});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(2, "b");
  fw_node peer = *cluster.datapath(1).nodes().lookup(2);
  peer.mtu = 1300;
  ASSERT_TRUE(cluster.datapath(1).nodes().update(2, peer).ok());
  const std::string n = "-n " + cluster.node_netns(1) + (v6() ? " -6" : "") + " route change ";
  cluster.ip(n + (v6() ? "fd00:10:244:2::/64" : "10.244.2.0/24") + " via " + cluster.node_ip(2, v6()).to_string() + " mtu 1300");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, 2}});
  for (const net::SocketAddr to : {net::SocketAddr{b.ip(v6()), 8080}, net::SocketAddr{vip(), 80}}) {
    SCOPED_TRACE(to.to_string());
    const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, {b.ip(v6()), 8080});
    const sys::Fd socket = client_in(cluster, a.netns, Kind::kTcp, v6());
    ASSERT_EQ(connect_to(socket, to), 0);
    const sys::Fd accepted = accept_one(listener);
    const std::string bulk(30000, 'x');
    ASSERT_TRUE(send_text(socket, bulk));
    std::size_t got = 0;
    while (got < bulk.size()) {
      const std::string part = receive(accepted);
      if (part.empty()) break;
      got += part.size();
    }
    EXPECT_EQ(got, bulk.size());
    EXPECT_LE(path_mtu(socket, v6()), 1300);
  }
}

// A sender that changes CPUs midway reorders its fragments: from here on this thread has one.
class OneCpu {
 public:
  OneCpu() {
    ::sched_getaffinity(0, sizeof(all_), &all_);
    cpu_set_t one;
    CPU_ZERO(&one);
    CPU_SET(static_cast<unsigned>(::sched_getcpu()), &one);
    EXPECT_EQ(::sched_setaffinity(0, sizeof(one), &one), 0);
  }
  ~OneCpu() { ::sched_setaffinity(0, sizeof(all_), &all_); }

 private:
  cpu_set_t all_;
};

// 4000 bytes of UDP: three fragments, of which the first alone has ports
TEST_P(Edges, FragmentsAreTranslated) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  const std::string big(4000, 'x');
  const OneCpu one_cpu;
  for (const bool beyond : {false, true}) {
    SCOPED_TRACE(beyond ? "masqueraded" : "service");
    const sys::Fd server = beyond ? listen_in(cluster, cluster.fabric_netns(), Kind::kUdp, {world(), 53})
                                  : listen_in(cluster, b.netns, Kind::kUdp, {b.ip(v6()), 5353});
    const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
    const net::SocketAddr to{beyond ? world() : vip(), 53};
    net::SocketAddr from, answered;
    ASSERT_EQ(send_to(socket, to, big), 0);
    ASSERT_EQ(receive(server, &from).size(), big.size());
    EXPECT_EQ(from.addr, beyond ? cluster.node_ip(1, v6()) : a.ip(v6()));
    ASSERT_EQ(send_to(server, from, big), 0);
    EXPECT_EQ(receive(socket, &answered).size(), big.size());
    EXPECT_EQ(answered.to_string(), to.to_string());
  }
}

// A ──▶ VIP ──▶ B: port closed; B's ICMP error quotes A→B, A has to see VIP. The same beyond the masquerade.
TEST_P(Edges, IcmpErrorsAreTranslated) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  for (const net::SocketAddr to : {net::SocketAddr{vip(), 53}, net::SocketAddr{world(), 53}}) {
    SCOPED_TRACE(to.to_string());
    const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
    ASSERT_EQ(connect_to(socket, to), 0);
    ASSERT_TRUE(send_text(socket, "question"));
    EXPECT_EQ(wait_error(socket), ECONNREFUSED);
  }
}

// The backend's id is gone, or is another pod's by now: the next packet of the flow goes to a live one.
TEST_P(Edges, AFlowLeavesABackendThatIsGone) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b"), c = cluster.add_pod(1, "c");
  const sys::Fd at_b = listen_in(cluster, b.netns, Kind::kUdp, {b.ip(v6()), 53});
  const sys::Fd at_c = listen_in(cluster, c.netns, Kind::kUdp, {c.ip(v6()), 53});
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 53}, 1}});
  const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
  ASSERT_EQ(send_to(socket, {vip(), 53}, "1"), 0);
  EXPECT_EQ(receive(at_b), "1");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{c.ip(v6()), 53}, 1}});
  ASSERT_EQ(send_to(socket, {vip(), 53}, "2"), 0);
  EXPECT_EQ(receive(at_b), "2") << "its backend lives: a flow stays where it is";
  const auto rows = cluster.datapath(1).backends().dump();
  for (const auto& [id, row] : *rows) {
    if (datapath::from_abi(row.addr) == b.ip(v6())) { ASSERT_TRUE(cluster.datapath(1).backends().remove(id).ok()); }
  }
  ASSERT_EQ(send_to(socket, {vip(), 53}, "3"), 0);
  EXPECT_EQ(receive(at_c), "3");
  EXPECT_EQ(cluster.count(1, "backend-gone"), 1u);
}

// One source port of A to the VIP and straight to the backend: two flows, one tuple on the wire.
TEST_P(Edges, DirectAndTranslatedFlowsAreNotConfused) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  cluster.set_service(1, {vip(11), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  const sys::Fd server = listen_in(cluster, b.netns, Kind::kUdp, {b.ip(v6()), 5353});
  const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6(), 4444);
  const net::SocketAddr ways[] = {{vip(), 53}, {b.ip(v6()), 5353}, {vip(11), 53}};
  for (int round = 0; round < 3; ++round) {
    for (const net::SocketAddr& to : ways) {
      ASSERT_EQ(send_to(socket, to, "question"), 0);
      net::SocketAddr from, answered;
      ASSERT_EQ(receive(server, &from), "question");
      ASSERT_EQ(send_to(server, from, "answer"), 0);
      ASSERT_EQ(receive(socket, &answered), "answer");
      EXPECT_EQ(answered.to_string(), to.to_string()) << "round " << round;
    }
  }
  EXPECT_EQ(cluster.count(1, "port-clash"), 2u);
}

// A and B speak straight; then A reaches B through a Service, and B's answer to that has to be looked up from now on
TEST_P(Edges, ARememberedWayEndsWithTheFirstTranslatedFlow) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 53}, net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  for (int i = 0; i < 5; ++i) {
    EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 5353}, b.netns, {b.ip(v6()), 5353}), "");
    EXPECT_EQ(udp_echo(cluster, b.netns, {a.ip(v6()), 53}, a.netns, {a.ip(v6()), 53}), "");
  }
  EXPECT_EQ(udp_echo(cluster, a.netns, {vip(), 53}, b.netns, {b.ip(v6()), 5353}), "");
  EXPECT_EQ(udp_echo(cluster, a.netns, {b.ip(v6()), 5353}, b.netns, {b.ip(v6()), 5353}), "");
}

// The client uses its port again for a new connection, before the old row has expired.
TEST_P(Edges, ASynReplacesAnOldRow) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, {vip(), 80}, net::Protocol::kTcp, {{{b.ip(v6()), 8080}, 1}});
  const sys::Fd listener = listen_in(cluster, b.netns, Kind::kTcp, {b.ip(v6()), 8080});
  for (int i = 0; i < 3; ++i) {
    const sys::Fd socket = client_in(cluster, a.netns, Kind::kTcp, v6(), 4444);
    const linger reset{1, 0};
    ::setsockopt(socket.get(), SOL_SOCKET, SO_LINGER, &reset, sizeof(reset));
    ASSERT_EQ(connect_to(socket, {vip(), 80}), 0) << i;
    const sys::Fd accepted = accept_one(listener);
    ASSERT_TRUE(send_text(socket, "question"));
    EXPECT_EQ(receive(accepted), "question");
  }
  EXPECT_EQ(cluster.count(1, "stale-row"), 2u);
}

// A Service whose endpoint is beyond the cluster: translated, then masqueraded, and both undone on the way back
TEST_P(Edges, AServiceOfTheWorld) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a");
  cluster.set_service(1, {vip(), 443}, net::Protocol::kTcp, {{{world(), 6443}, 0}});
  net::SocketAddr seen;
  EXPECT_EQ(tcp_echo(cluster, a.netns, {vip(), 443}, cluster.fabric_netns(), {world(), 6443}, &seen), "");
  EXPECT_EQ(seen.addr, cluster.node_ip(1, v6()));
}

// Three ports for masquerade: each serves many destinations, and the fourth flow to one destination is dropped by name
TEST_P(Edges, MasqueradePortsAreSharedAndBounded) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a");
  fw_config config = *cluster.datapath(1).config();
  config.masq_port_min = 20000;
  config.masq_port_max = 20002;
  cluster.in(cluster.node_netns(1), [&] { ASSERT_TRUE(cluster.datapath(1).set_config(config).ok()); });
  for (const std::uint16_t port : {53, 54}) {
    const sys::Fd server = listen_in(cluster, cluster.fabric_netns(), Kind::kUdp, {world(), port});
    for (int i = 0; i < 4; ++i) {
      const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
      ASSERT_EQ(send_to(socket, {world(), port}, "question"), 0);
      net::SocketAddr from;
      if (i == 3) break;
      EXPECT_EQ(receive(server, &from), "question");
      EXPECT_EQ(from.addr, cluster.node_ip(1, v6()));
    }
  }
  EXPECT_EQ(cluster.count(1, "masquerade-exhausted"), 2u);
}

// Before every Service is known, an unknown VIP is not refused
TEST_P(Edges, NothingIsRefusedBeforeTheServicesAreKnown) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a");
  cluster.set_flags(1, FW_CFG_MASQUERADE_V4 | FW_CFG_MASQUERADE_V6);
  const sys::Fd socket = client_in(cluster, a.netns, Kind::kUdp, v6());
  ASSERT_EQ(connect_to(socket, {vip(99), 53}), 0);
  ASSERT_TRUE(send_text(socket, "question"));
  EXPECT_NE(wait_error(socket, kImpatienceMs), ECONNREFUSED);
  EXPECT_EQ(cluster.count(1, "unknown-service"), 0u);
}

}  // namespace
}  // namespace fairway::test
