// A small cluster of namespaces for the datapath's tests: nodes on a fabric, pods on nodes, a host beyond.
//
//     world 172.31.0.2 (lo of the fabric)          pod: /32 and /128 on a veth, gateway 169.254.1.1 / fe80::1
//            |                                      node n: pods 10.244.n.x and fd00:10:244:n::x
//      fabric: br0 172.30.0.1, fd00:172:30::1
//        |                 |
//   node 1: eth0 .11    node 2: eth0 .12            each with a bpffs and a Datapath of its own
//     pods                pods
//
// All of it is named after the process and goes with the object. The layout that the agent's host networking makes is made
// here by ip(8), so that these tests fail for the datapath's faults alone.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "datapath/addr.h"
#include "datapath/datapath.h"
#include "sys/netns.h"

namespace fairway::test {

constexpr std::uint32_t kVni = 7;  // of the overlay

void must(const Status& status);  // throws its message

struct Pod {
  std::string name;
  std::string netns;
  int node = 0;
  std::uint32_t ifindex = 0;  // host side
  net::IpAddr v4, v6;
  net::MacAddr mac, host_mac;
  net::IpAddr ip(bool want_v6) const { return want_v6 ? v6 : v4; }
};

struct Options {
  bool vxlan = false;
  bool prefer_clsact = false;
  int nodes = 1;
  unsigned uplink_mtu = 1500;
};

class Cluster {
 public:
  // Empty where privileges are missing: the test is skipped.
  static std::unique_ptr<Cluster> make(const Options& options, std::string& why_not);
  ~Cluster();

  Pod add_pod(int node, const std::string& name);
  datapath::Datapath& datapath(int node) { return *nodes_.at(node).datapath; }
  const std::string& node_netns(int node) const { return nodes_.at(node).netns; }
  const std::string& fabric_netns() const { return fabric_; }
  net::IpAddr node_ip(int node, bool v6) const;
  std::string bpf_dir(int node) const { return nodes_.at(node).bpf_dir; }
  datapath::DatapathConfig datapath_config(int node) const;
  // Lets go of the node's Datapath object, as a killed agent does, and opens it anew.
  void restart(int node);
  void close(int node) { nodes_.at(node).datapath.reset(); }

  struct Backend {
    net::SocketAddr addr;
    int node = 0;  // that it is on
  };
  // Writes a Service to the node's maps, make before break.
  void set_service(int node, net::SocketAddr vip, net::Protocol protocol, const std::vector<Backend>& backends,
                   std::uint32_t flags = FW_FE_CLUSTER_IP);
  // A port of the pod's node that leads to the pod, as the agent writes it.
  void set_host_port(const Pod& pod, std::uint16_t host_port, std::uint16_t port, net::Protocol protocol, bool v6);
  void remove_frontend(int node, net::SocketAddr at, net::Protocol protocol);
  // Marks the pod as one whose host side's queue holds a limit, and counts the packets that went through that queue.
  void shape(const Pod& pod);
  std::uint64_t through_queue(const Pod& pod) const;
  void set_flags(int node, std::uint32_t flags);
  std::uint64_t count(int node, std::string_view name);
  // Makes the node's veth for host processes to Services, with the service ranges routed to it.
  void add_host_service(int node);

  // Runs in the namespace; aborts the test where the namespace cannot be entered.
  void in(const std::string& netns, const std::function<void()>& body) const;
  std::string ip(const std::string& command) const;  // "-n NETNS link set …"; throws on failure

 private:
  struct Node {
    std::string netns, bpf_dir;
    std::uint32_t uplink = 0, overlay = 0;
    std::unique_ptr<datapath::Datapath> datapath;
  };
  explicit Cluster(const Options& options);
  void make_fabric();
  void make_node(int node);
  void make_overlay(int node);
  void route_to_peers(int node);
  void open_datapath(int node);
  void write_config(int node, std::uint32_t flags);
  std::string path(const std::string& netns) const { return "/run/netns/" + netns; }
  void new_netns(const std::string& name);
  void wait_until_up(const std::string& netns, const std::string& device, const std::optional<net::IpAddr>& addr = {}) const;

  Options options_;
  std::string prefix_;
  std::string fabric_;
  std::map<int, Node> nodes_;
  std::vector<std::string> namespaces_;
  std::uint32_t next_backend_ = 1, next_slot_ = 1, generation_ = 1;
  int next_pod_ = 2;
};

std::uint32_t ifindex_in(const Cluster& cluster, const std::string& netns, const std::string& device);
net::IpAddr ip(const std::string& text);
bool is_privileged();

}  // namespace fairway::test

// In a test: FW_CLUSTER(cluster, options) declares it, or skips the test in one sentence.
#define FW_CLUSTER(name, ...)                                                        \
  std::string name##_why;                                                            \
  const auto name##_owner = ::fairway::test::Cluster::make(__VA_ARGS__, name##_why); \
  if (!name##_owner) GTEST_SKIP() << name##_why;                                     \
  auto& name = *name##_owner
