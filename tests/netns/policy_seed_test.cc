// Connections that were there as a pod became isolated and that no socket names: seeded from the rows of translated flows, so that an
// answer that comes later is judged as one.
// test-deps: bpf_cluster fw_agent
#include <gtest/gtest.h>

#include "../bpf/cluster.h"
#include "../bpf/policy_rows.h"
#include "../bpf/sockets.h"
#include "agent/policy_host.h"
#include "io/netlink.h"

namespace fairway::test {
namespace {

class PolicySeed : public ::testing::TestWithParam<bool> {
 protected:
  bool v6() const { return GetParam(); }
  net::SocketAddr vip() const { return {ip(v6() ? "fd00:10:96::10" : "10.96.0.10"), 53}; }
  static model::LocalEndpoint endpoint(const Pod& pod) {
    model::LocalEndpoint out;
    out.host_ifindex = pod.ifindex;
    out.netns_path = "/run/netns/" + pod.netns;
    out.ips = {pod.v4, pod.v6};
    const auto netns = sys::open_netns(out.netns_path);
    EXPECT_TRUE(netns.ok());
    out.netns_cookie = *io::Netlink::open_in(*netns)->netns_cookie();
    return out;
  }
  // What the agent does before the flip that isolates the pod.
  static void begin_tracking(Cluster& cluster, const Pod& pod) {
    io::Loop loop;
    agent::KernelPolicyHost host(loop, cluster.datapath(1));
    const auto of_pod = endpoint(pod);
    host.set_find_pod([&](std::uint32_t ifindex) { return ifindex == pod.ifindex ? &of_pod : nullptr; });
    std::optional<Status> outcome;
    host.begin_tracking({pod.ifindex}, [&](Status status) {
      outcome = std::move(status);
      loop.stop();
    });
    if (!outcome) loop.run();
    ASSERT_TRUE(outcome && outcome->ok()) << outcome->error().message;
  }
  // A question to `to` from a socket that is not connected, its answer, and after the pod has become isolated another answer.
  // `stranger` reaches the client, too, as long as nothing judges it.
  void late_answer(Cluster& cluster, const Pod& client_pod, net::SocketAddr to, const std::string& server_netns, net::SocketAddr at,
                   const Pod& isolated, fw_subject_default ingress, fw_subject_default egress, const Pod& stranger) {
    PolicyRows rows(cluster, 1);
    const sys::Fd server = listen_in(cluster, server_netns, Kind::kUdp, at),
                  client = client_in(cluster, client_pod.netns, Kind::kUdp, v6());
    ASSERT_EQ(send_to(client, to, "question"), 0);
    net::SocketAddr from;
    ASSERT_EQ(receive(server, &from), "question");
    ASSERT_EQ(send_to(server, from, "answer"), 0);
    ASSERT_EQ(receive(client), "answer");
    const net::SocketAddr asked_from{client_pod.ip(v6()), port_of(client)};
    (void)send_to(client_in(cluster, stranger.netns, Kind::kUdp, v6()), asked_from, "early");
    ASSERT_EQ(receive(client), "early");
    begin_tracking(cluster, isolated);
    rows.subject(isolated.ifindex, 5, ingress, egress);
    rows.generation(1);
    ASSERT_EQ(send_to(server, from, "late"), 0);
    EXPECT_EQ(receive(client), "late");
    // Who is not of this connection is judged as who begins.
    (void)send_to(client_in(cluster, stranger.netns, Kind::kUdp, v6()), asked_from, "other");
    EXPECT_EQ(receive_soon(client), "");
  }
};
INSTANTIATE_TEST_SUITE_P(Families, PolicySeed, ::testing::Bool(), [](const auto& family) { return family.param ? "v6" : "v4"; });

TEST_P(PolicySeed, TheClientOfAServiceBecomesIsolated) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, vip(), net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  late_answer(cluster, a, vip(), b.netns, {b.ip(v6()), 5353}, a, FW_SUBJECT_DENY, FW_SUBJECT_ALLOW, b);
}

TEST_P(PolicySeed, ItsBackendBecomesIsolated) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  cluster.set_service(1, vip(), net::Protocol::kUdp, {{{b.ip(v6()), 5353}, 1}});
  late_answer(cluster, a, vip(), b.netns, {b.ip(v6()), 5353}, b, FW_SUBJECT_ALLOW, FW_SUBJECT_DENY, b);
}

TEST_P(PolicySeed, AClientOfTheWorldBecomesIsolated) {
  FW_CLUSTER(cluster, {.nodes = 1});
  const Pod a = cluster.add_pod(1, "a"), b = cluster.add_pod(1, "b");
  const net::SocketAddr world{ip(v6() ? "fd00:172:31::2" : "172.31.0.2"), 53};
  late_answer(cluster, a, world, cluster.fabric_netns(), world, a, FW_SUBJECT_DENY, FW_SUBJECT_ALLOW, b);
}

}  // namespace
}  // namespace fairway::test
