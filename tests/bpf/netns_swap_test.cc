// The datapath outlives the agent: adoption, swaps under a flow, maps of another size or layout, dead links.
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <filesystem>
#include <thread>

#include "cluster.h"
#include "sockets.h"

namespace fairway::test {
namespace {

// A TCP connection and a UDP flow through Services, kept busy by threads of their own until stop().
class BusyFlows {
 public:
  BusyFlows(Cluster& cluster, const Pod& client, const Pod& server, net::IpAddr vip)
      : tcp_listener_(listen_in(cluster, server.netns, Kind::kTcp, {server.v4, 8080})),
        udp_server_(listen_in(cluster, server.netns, Kind::kUdp, {server.v4, 5353})),
        tcp_(client_in(cluster, client.netns, Kind::kTcp, false)),
        udp_(client_in(cluster, client.netns, Kind::kUdp, false)),
        vip_(vip) {
    if (connect_to(tcp_, {vip, 80}) != 0) throw std::runtime_error("connect");
    tcp_server_ = accept_one(tcp_listener_);
    threads_.emplace_back([this] { run_tcp(); });
    threads_.emplace_back([this] { run_udp(); });
  }
  ~BusyFlows() { stop(); }
  void stop() {
    done_ = true;
    for (std::thread& thread : threads_) thread.join();
    threads_.clear();
  }
  std::atomic<int> rounds{0}, lost{0};

 private:
  void run_tcp() {
    while (!done_) {
      if (!send_text(tcp_, "x") || receive(tcp_server_) != "x" || !send_text(tcp_server_, "y") || receive(tcp_) != "y") ++lost;
      ++rounds;
    }
  }
  void run_udp() {
    while (!done_) {
      net::SocketAddr from;
      if (send_to(udp_, {vip_, 53}, "x") != 0 || receive(udp_server_, &from) != "x" || send_to(udp_server_, from, "y") != 0 ||
          receive(udp_) != "y")
        ++lost;
      ++rounds;
    }
  }
  sys::Fd tcp_listener_, udp_server_, tcp_, udp_, tcp_server_;
  net::IpAddr vip_;
  std::atomic<bool> done_{false};
  std::vector<std::thread> threads_;
};

class Swap : public ::testing::TestWithParam<bool> {};
INSTANTIATE_TEST_SUITE_P(Modes, Swap, ::testing::Bool(), [](const auto& mode) { return mode.param ? "clsact" : "preferred"; });

TEST_P(Swap, UnderFlowsWithoutALoss) {
  FW_CLUSTER(cluster, {.prefer_clsact = GetParam()});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const net::IpAddr vip = ip("10.96.0.10");
  cluster.set_service(1, {vip, 80}, net::Protocol::kTcp, {{{b.v4, 8080}, 1}});
  cluster.set_service(1, {vip, 53}, net::Protocol::kUdp, {{{b.v4, 5353}, 1}});
  BusyFlows flows(cluster, a, b, vip);
  const auto first = cluster.datapath(1).versions();
  ASSERT_TRUE(first.ok());
  for (int i = 0; i < 10; ++i) {
    const int before = flows.rounds;
    cluster.close(1);  // the agent is dead: all goes on
    while (flows.rounds < before + 20) std::this_thread::yield();
    cluster.restart(1);
    cluster.in(cluster.node_netns(1), [&] { EXPECT_TRUE(cluster.datapath(1).attach_pod(a.ifindex).ok()); });
  }
  flows.stop();
  EXPECT_EQ(flows.lost, 0);
  const auto last = cluster.datapath(1).versions();
  EXPECT_NE(first->programs[0].id, last->programs[0].id) << "the programs are new";
  EXPECT_FALSE(last->activation_pending);
  const auto stats = cluster.datapath(1).stats();
  for (const datapath::MapInfo& map : stats->maps) EXPECT_TRUE(map.adopted) << map.name;
}

// What grows with the cluster: larger tables under the same flows, again and again, and for the next agent too.
TEST_P(Swap, TablesGrowUnderFlowsWithoutALoss) {
  FW_CLUSTER(cluster, {.prefer_clsact = GetParam()});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const net::IpAddr vip = ip("10.96.0.10");
  cluster.set_service(1, {vip, 80}, net::Protocol::kTcp, {{{b.v4, 8080}, 1}});
  cluster.set_service(1, {vip, 53}, net::Protocol::kUdp, {{{b.v4, 5353}, 1}});
  BusyFlows flows(cluster, a, b, vip);
  const auto rows = cluster.datapath(1).frontends().dump();
  for (std::size_t size = 2000; size < 100'000; size *= 2) {
    const int before = flows.rounds;
    datapath::Datapath& dp = cluster.datapath(1);
    cluster.in(cluster.node_netns(1), [&] {
      ASSERT_TRUE(dp.reserve({.endpoints = size, .nodes = size, .frontends = size, .svc_slots = size, .backends = size}).ok());
    });
    EXPECT_GE(dp.endpoints().capacity(), size);
    EXPECT_GE(dp.svc_slots().capacity(), size);
    const std::size_t now = dp.backends().capacity();
    EXPECT_TRUE(dp.reserve({.backends = size}).ok());
    EXPECT_EQ(dp.backends().capacity(), now) << "there was room";
    while (flows.rounds < before + 20) std::this_thread::yield();
  }
  cluster.close(1);
  cluster.restart(1);
  const int before = flows.rounds;
  while (flows.rounds < before + 20) std::this_thread::yield();
  flows.stop();
  EXPECT_EQ(flows.lost, 0);
  EXPECT_EQ(cluster.datapath(1).frontends().capacity(), 65'536u) << "the next agent finds them as large";
  EXPECT_EQ(cluster.datapath(1).frontends().dump()->size(), rows->size());
}

TEST(Growth, EndsWhereItIsTold) {
  FW_CLUSTER(cluster, {});
  cluster.close(1);
  datapath::DatapathConfig config = cluster.datapath_config(1);
  config.most_rows = 2048;
  cluster.in(cluster.node_netns(1), [&] {
    auto opened = datapath::Datapath::open(config);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    EXPECT_TRUE((*opened)->reserve({.backends = 1500}).ok());
    EXPECT_EQ((*opened)->backends().capacity(), 2048u);
    const Status refused = (*opened)->reserve({.frontends = 2049});
    ASSERT_FALSE(refused.ok());
    EXPECT_EQ(refused.error().code, Code::kExhausted);
    EXPECT_NE(refused.error().message.find("frontends"), std::string::npos) << refused.error().message;
    EXPECT_EQ((*opened)->frontends().capacity(), 256u);
  });
}

TEST(Adoption, MapsOfAnotherSizeKeepTheirRows) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.close(1);
  datapath::DatapathConfig config = cluster.datapath_config(1);
  config.sizes.endpoints = 4096;
  config.sizes.flows_new = 2048;
  std::unique_ptr<datapath::Datapath> larger;
  cluster.in(cluster.node_netns(1), [&] {
    auto opened = datapath::Datapath::open(config);
    ASSERT_TRUE(opened.ok()) << opened.error().message;
    larger = std::move(*opened);
  });
  EXPECT_EQ(larger->endpoints().capacity(), 4096u);
  EXPECT_EQ(larger->endpoints().dump()->size(), 6u) << "two pods and the node, both families";
  EXPECT_FALSE(larger->versions()->activation_pending);
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.v4, 80}, b.netns, {b.v4, 80}), "");
}

// An older agent's map with rows of another layout: its programs go on until the new maps are filled.
TEST(Adoption, MapsOfAnotherLayoutWaitForActivation) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.close(1);
  const std::string pin = cluster.bpf_dir(1) + "/fairway/maps/nodes";
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  const sys::Fd other(bpf_map_create(BPF_MAP_TYPE_HASH, "nodes", 4, 12, 16, &opts));
  ASSERT_EQ(::unlink(pin.c_str()), 0);
  ASSERT_EQ(bpf_obj_pin(other.get(), pin.c_str()), 0);
  cluster.restart(1);
  datapath::Datapath& dp = cluster.datapath(1);
  EXPECT_TRUE(dp.versions()->activation_pending);
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.v4, 80}, b.netns, {b.v4, 80}), "") << "the old programs are in force";
  cluster.in(cluster.node_netns(1), [&] { ASSERT_TRUE(dp.activate().ok()); });
  EXPECT_FALSE(dp.versions()->activation_pending);
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.v4, 80}, b.netns, {b.v4, 80}), "");
  cluster.restart(1);
  EXPECT_FALSE(cluster.datapath(1).versions()->activation_pending) << "the new layout is adopted from then on";
}

// New programs or maps that the kernel refuses: the error says why, and the old stay in force.
TEST(Adoption, AFailedLoadChangesNothing) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const auto before = cluster.datapath(1).versions();
  const std::size_t attached = cluster.datapath(1).stats()->attachments.size();
  cluster.close(1);
  datapath::DatapathConfig config = cluster.datapath_config(1);
  config.sizes.flows = 0xffffffffu;
  cluster.in(cluster.node_netns(1), [&] {
    const auto opened = datapath::Datapath::open(config);
    ASSERT_FALSE(opened.ok());
    EXPECT_NE(opened.error().message.find("load the BPF programs"), std::string::npos) << opened.error().message;
    EXPECT_NE(opened.error().message.find("flows"), std::string::npos) << opened.error().message;
  });
  EXPECT_EQ(tcp_echo(cluster, a.netns, {b.v4, 80}, b.netns, {b.v4, 80}), "");
  cluster.restart(1);
  EXPECT_EQ(cluster.datapath(1).stats()->attachments.size(), attached);
  EXPECT_EQ(cluster.datapath(1).endpoints().dump()->size(), 6u);
  EXPECT_EQ(cluster.datapath(1).versions()->programs[0].tag, before->programs[0].tag);
}

TEST(Adoption, LinksOfDevicesThatAreGoneAreRemoved) {
  FW_CLUSTER(cluster, {});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const auto attached = [&] { return cluster.datapath(1).stats()->attachments.size(); };
  const std::size_t before = attached();
  cluster.ip("-n " + cluster.node_netns(1) + " link del v" + std::to_string(std::stoi(a.netns.substr(a.netns.rfind('p') + 1))));
  cluster.restart(1);
  EXPECT_EQ(attached(), before - 2);
  cluster.in(cluster.node_netns(1), [&] {
    EXPECT_TRUE(cluster.datapath(1).detach_pod(a.ifindex).ok()) << "a device that is gone";
    EXPECT_TRUE(cluster.datapath(1).detach_pod(b.ifindex).ok());
    EXPECT_TRUE(cluster.datapath(1).detach_pod(b.ifindex).ok()) << "twice";
    EXPECT_FALSE(cluster.datapath(1).attach_pod(99999).ok());
  });
  EXPECT_EQ(attached(), before - 4);
}

TEST(Adoption, AFolderThatIsNoBpfFileSystemIsRefused) {
  if (!is_privileged()) GTEST_SKIP() << "needs root";
  char dir[] = "/tmp/fwbpf-XXXXXX";
  ASSERT_NE(::mkdtemp(dir), nullptr);
  const auto opened = datapath::Datapath::open({.bpf_dir = dir});
  ASSERT_FALSE(opened.ok());
  EXPECT_NE(opened.error().message.find("is not on a BPF file system"), std::string::npos) << opened.error().message;
  std::filesystem::remove_all(dir);
}

}  // namespace
}  // namespace fairway::test
