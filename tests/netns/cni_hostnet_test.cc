// test-deps: fw_hostnet
// The node's side: uplink, forwarding, overlay device, remote ranges and the host-service veth, on two nodes.
//
//   pod ns (10.244.1.2) ── node 1 ── eth0 192.0.2.1 ══ 192.0.2.2 eth0 ── node 2 ── pod ns (10.244.2.2)
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <string>
#include <thread>
#include <vector>

#include "hostnet/node_network.h"
#include "hostnet/pod_link.h"
#include "hostnet/sysctl.h"
#include "io/netlink.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::hostnet {
namespace {

net::IpAddr ip(const std::string& text) { return *net::IpAddr::parse(text); }
net::Prefix prefix(const std::string& text) { return *net::Prefix::parse(text); }

class HostnetTest : public ::testing::Test {
 protected:
  struct Node {
    std::string path, pod_path;
    sys::Fd netns, pod;
    net::IpAddr underlay;
    std::vector<net::IpAddr> pod_ips;
    Uplink uplink;
  };

  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, to make network namespaces";
    for (int i = 0; i < 2; ++i) {
      Node& node = nodes_[i];
      const std::string base = "/run/netns/hostnettest-" + std::to_string(::getpid()) + "-" + std::to_string(i);
      node.path = base;
      node.pod_path = base + "p";
      node.underlay = ip("192.0.2." + std::to_string(i + 1));
      const std::string n = std::to_string(i + 1);
      node.pod_ips = {ip("10.244." + n + ".2"), ip("fd00:10:244:" + n + "::2")};
      for (const auto& path : {node.path, node.pod_path}) {
        (void)sys::remove_netns(path);
        const Status made = sys::create_netns(path);
        if (!made.ok()) GTEST_SKIP() << "cannot make network namespaces: " << made.error().message;
      }
      node.netns = *sys::open_netns(node.path);
      node.pod = *sys::open_netns(node.pod_path);
    }
    on(0, [&]() -> Status {
      auto netlink = io::Netlink::open();
      io::NetlinkBatch batch;
      batch.create_veth({.name = "eth0",
                         .mac = {{2, 0, 0, 0, 0, 1}},
                         .peer_name = "eth0",
                         .peer_mac = {{2, 0, 0, 0, 0, 2}},
                         .peer_netns_fd = nodes_[1].netns.get()});
      FW_TRY(netlink->run(batch));
      return {};
    });
    for (Node& node : nodes_) set_up_node(node);
  }
  void TearDown() override {
    for (const Node& node : nodes_)
      for (const auto& path : {node.path, node.pod_path}) (void)sys::remove_netns(path);
  }

  void set_up_node(Node& node) {
    on(node, [&]() -> Status {
      auto netlink = *io::Netlink::open();
      const auto eth0 = *netlink.link("eth0");
      io::NetlinkBatch batch;
      batch.change_link({.index = eth0.index, .up = true});
      batch.replace_address({.link = eth0.index, .addr = node.underlay, .prefix_length = 24});
      FW_TRY(netlink.run(batch));
      FW_ASSIGN(node.uplink, prepare_node({node.underlay}));
      PodLink link{.host_name = host_link_name("s", "eth0"),
                   .host_mac = host_link_mac("s", "eth0"),
                   .pod_name = "eth0",
                   .pod_mac = pod_link_mac(node.pod_ips),
                   .ips = node.pod_ips,
                   .mtu = 1450};
      FW_ASSIGN(auto pod, create_pod_link(netlink, node.pod, link));
      FW_TRY(activate_pod_link(netlink, pod, link));
      return check_pod_link(netlink, pod, link);
    });
  }
  template <typename Body>
  void on(const sys::Fd& netns, Body body) {
    const Status status = sys::in_netns(netns, body);
    EXPECT_TRUE(status.ok()) << (status.ok() ? "" : status.error().message);
  }
  template <typename Body>
  void on(const Node& node, Body body) {
    on(node.netns, body);
  }
  template <typename Body>
  void on(int index, Body body) {
    on(nodes_[index].netns, body);
  }

  static std::string run_in(const sys::Fd& netns, const std::vector<std::string>& argv) {
    Result<sys::RunResult> out = make_error(Code::kInternal, "did not run");
    EXPECT_TRUE(sys::in_netns(netns, [&]() -> Status {
                  out = sys::run(argv);
                  return {};
                }).ok());
    return out.ok() ? out->out + out->err : out.error().message;
  }
  void expect_ping(const sys::Fd& from, const net::IpAddr& to, const std::string& size = "56") {
    const std::string out = run_in(from, {"ping", "-c1", "-W10", "-s", size, to.to_string()});
    EXPECT_NE(out.find(" 0% packet loss"), std::string::npos) << out;
  }
  RemoteRange range_of(const Node& node, int family, bool overlay, std::uint32_t mtu) {
    const std::string n = &node == &nodes_[0] ? "1" : "2";
    return {.pods = prefix(family == 4 ? "10.244." + n + ".0/24" : "fd00:10:244:" + n + "::/64"),
            .underlay = node.underlay,
            .overlay = overlay,
            .mtu = mtu,
            .vni = 100};
  }

  Node nodes_[2];
};

TEST_F(HostnetTest, TheUplinkIsFoundByAddressAndForwardingIsOn) {
  EXPECT_EQ(nodes_[0].uplink.name, "eth0");
  EXPECT_EQ(nodes_[0].uplink.mtu, 1500U);
  ASSERT_EQ(nodes_[0].uplink.subnets.size(), 1U);
  EXPECT_EQ(nodes_[0].uplink.subnets[0].to_string(), "192.0.2.0/24");
  on(0, []() -> Status {
    EXPECT_EQ(*read_sysctl("net/ipv4/ip_forward"), "1");
    EXPECT_EQ(*read_sysctl("net/ipv6/conf/all/forwarding"), "1");
    EXPECT_FALSE(find_uplink({ip("203.0.113.9")}).ok());
    EXPECT_FALSE(find_uplink({}).ok()) << "neither an address nor a default route";
    return {};
  });
}

TEST_F(HostnetTest, NativeRoutesCarryPods) {
  for (int i = 0; i < 2; ++i) {
    on(i, [&]() -> Status {
      const RemoteRange range = range_of(nodes_[1 - i], 4, false, 1500);
      FW_TRY(apply_remote_range(range, nodes_[i].uplink, 0));
      FW_TRY(apply_remote_range(range, nodes_[i].uplink, 0));
      EXPECT_EQ(*dump_remote_ranges(), std::vector<net::Prefix>{range.pods});
      EXPECT_EQ(apply_remote_range(range_of(nodes_[1 - i], 6, false, 1500), nodes_[i].uplink, 0).error().code, Code::kUnsupported);
      return {};
    });
  }
  expect_ping(nodes_[0].pod, nodes_[1].pod_ips[0]);
  on(0, [&]() -> Status {
    FW_TRY(remove_remote_range(range_of(nodes_[1], 4, false, 1500).pods));
    EXPECT_TRUE(dump_remote_ranges()->empty());
    return remove_remote_range(range_of(nodes_[1], 4, false, 1500).pods);
  });
}

TEST_F(HostnetTest, TheOverlayCarriesBothFamiliesAndTellsItsMtu) {
  for (int i = 0; i < 2; ++i) {
    on(i, [&]() -> Status {
      FW_ASSIGN(const Device first, ensure_vxlan(nodes_[i].underlay, 1400));
      FW_ASSIGN(const Device device, ensure_vxlan(nodes_[i].underlay, 1450));
      EXPECT_EQ(first.ifindex, device.ifindex) << "a changed MTU alone does not make a new device";
      EXPECT_EQ(device.mac, overlay_mac(nodes_[i].underlay));
      for (const int family : {4, 6})
        FW_TRY(apply_remote_range(range_of(nodes_[1 - i], family, true, 1400), nodes_[i].uplink, device.ifindex));
      return {};
    });
  }
  expect_ping(nodes_[0].pod, nodes_[1].pod_ips[0]);
  expect_ping(nodes_[0].pod, nodes_[1].pod_ips[1]);
  // The nodes have no IPv6 address of their own: without one from the pod range, no ICMPv6 error could be sent.
  on(0, []() -> Status { return ensure_blackhole({prefix("10.244.1.0/24"), prefix("fd00:10:244:1::/64")}); });
  // 1400 is the route's mtu, 1450 the pod's: what is larger gets a true ICMP with the number.
  const std::string large = run_in(nodes_[0].pod, {"ping", "-c1", "-W2", "-M", "do", "-s", "1400", nodes_[1].pod_ips[0].to_string()});
  EXPECT_NE(large.find("mtu = 1400"), std::string::npos) << large;
  const std::string large6 = run_in(nodes_[0].pod, {"ping", "-c1", "-W2", "-M", "do", "-s", "1390", nodes_[1].pod_ips[1].to_string()});
  EXPECT_NE(large6.find("mtu=1400"), std::string::npos) << large6;
  on(0, []() -> Status { return remove_vxlan(); });
  on(0, []() -> Status { return remove_vxlan(); });
}

TEST_F(HostnetTest, HostServiceVethTakesTheServiceRanges) {
  on(0, [&]() -> Status {
    const ServiceVethSpec spec{
        .service_ranges = {prefix("10.96.0.0/16"), prefix("fd00:10:96::/112")}, .node_addresses = {nodes_[0].underlay}, .mtu = 1450};
    FW_ASSIGN(const ServiceVeth first, ensure_host_service_veth(spec));
    FW_ASSIGN(const ServiceVeth again, ensure_host_service_veth(spec));
    EXPECT_EQ(first.host.ifindex, again.host.ifindex);
    EXPECT_TRUE(dump_remote_ranges()->empty()) << "service ranges are not pod ranges";
    return {};
  });
  const std::string route = run_in(nodes_[0].netns, {"ip", "route", "get", "10.96.0.10"});
  EXPECT_NE(route.find("dev fw-svc src 192.0.2.1"), std::string::npos) << route;
  const std::string route6 = run_in(nodes_[0].netns, {"ip", "-6", "route", "get", "fd00:10:96::a"});
  EXPECT_NE(route6.find("dev fw-svc"), std::string::npos) << route6;
}

TEST_F(HostnetTest, LocalAddressesAndTheRefusalOfAddressesThatNoPodHas) {
  on(0, [&]() -> Status {
    EXPECT_TRUE(*ensure_local_address(ip("10.96.0.10")));
    EXPECT_FALSE(*ensure_local_address(ip("10.96.0.10")));
    EXPECT_TRUE(*ensure_local_address(ip("fd00:10:96::a")));
    FW_TRY(remove_local_address(ip("10.96.0.10")));
    FW_TRY(remove_local_address(ip("10.96.0.10")));
    const std::vector<net::Prefix> own = {prefix("10.244.1.0/24"), prefix("fd00:10:244:1::/64")};
    FW_TRY(ensure_blackhole(own));
    return ensure_blackhole(own);
  });
  const std::string out = run_in(nodes_[0].pod, {"ping", "-c1", "-W2", "10.244.1.99"});
  EXPECT_NE(out.find("Destination Host Unreachable"), std::string::npos) << out;
  expect_ping(nodes_[0].netns, nodes_[0].pod_ips[0]);
}

// The kernel brings an IPv6 address into force behind the request's back, and late where the rtnl lock is busy, as it is where pods come
// and go.
TEST_F(HostnetTest, AnIpv6AddressIsInForceOnceItsPodIsActivated) {
  std::atomic<bool> done{false};
  std::thread busy([&] {
    on(1, [&]() -> Status {
      auto netlink = *io::Netlink::open();
      while (!done) {
        io::NetlinkBatch there, gone;
        there.create_veth({.name = "busy", .mac = {{2, 0, 0, 0, 9, 1}}, .peer_name = "busy2", .peer_mac = {{2, 0, 0, 0, 9, 2}}});
        gone.delete_link("busy");
        FW_TRY(netlink.run(there));
        FW_TRY(netlink.run(gone));
      }
      return {};
    });
  });
  for (int i = 0; i < 40; ++i) {
    const std::string name = "eth" + std::to_string(i + 1);
    PodLink link{.host_name = host_link_name("s", name), .host_mac = host_link_mac("s", name), .pod_name = name, .mtu = 1450};
    link.ips = {ip("fd00:10:244:1::1:" + std::to_string(i + 1))};
    link.pod_mac = pod_link_mac(link.ips);
    on(0, [&]() -> Status {
      auto netlink = *io::Netlink::open();
      FW_ASSIGN(auto pod, create_pod_link(netlink, nodes_[0].pod, link));
      return activate_pod_link(netlink, pod, link);
    });
    on(nodes_[0].pod, [&]() -> Status {
      const sys::Fd socket(::socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0));
      sockaddr_in6 own{};
      own.sin6_family = AF_INET6;
      own.sin6_port = htons(9);
      std::memcpy(&own.sin6_addr, link.ips[0].bytes().data(), 16);
      const timeval limit{1, 0};
      ::setsockopt(socket.get(), SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit);
      EXPECT_NE(::connect(socket.get(), reinterpret_cast<const sockaddr*>(&own), sizeof own), 0);
      EXPECT_EQ(errno, ECONNREFUSED) << "the pod itself answers, as nobody listens there: " << std::strerror(errno);
      return {};
    });
  }
  done = true;
  busy.join();
}

TEST_F(HostnetTest, AFailedPairLeavesNothing) {
  on(0, [&]() -> Status {
    auto netlink = *io::Netlink::open();
    PodLink link{.host_name = "fw0000000000001", .pod_name = "eth0", .ips = {ip("10.244.1.9")}};  // eth0 is there already
    EXPECT_FALSE(create_pod_link(netlink, nodes_[0].pod, link).ok());
    link.pod_name = "eth1";
    link.mtu = 10;  // below what a veth takes
    EXPECT_FALSE(create_pod_link(netlink, nodes_[0].pod, link).ok());
    EXPECT_EQ(dump_pod_links(netlink)->size(), 1U);
    return {};
  });
}

TEST_F(HostnetTest, ErrorsCarryTheKernelsWords) {
  on(0, []() -> Status {
    auto netlink = *io::Netlink::open();
    io::NetlinkBatch batch;
    batch.replace_route({.dst = prefix("198.51.100.0/24"), .link = 99999, .gateway = ip("192.0.2.7")});
    const auto outcome = netlink.run(batch);
    EXPECT_FALSE(outcome.ok());
    EXPECT_NE(outcome.error().message.find("set route 198.51.100.0/24"), std::string::npos) << outcome.error().message;
    EXPECT_EQ(netlink.link("nothere").error().code, Code::kNotFound);
    return {};
  });
}

}  // namespace
}  // namespace fairway::hostnet
