// Sandbox: network namespaces and links of a benchmark, and a node of Fairway's in one.
//
// All names live in the run's own mount namespace (main_bench.cc), so nothing outlives the process, however it ends.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/harness.h"
#include "datapath/datapath.h"
#include "io/netlink.h"
#include "net/ip.h"

namespace fairway::bench {

class Netns {
 public:
  static Result<Netns> create(const std::string& name);
  Netns(Netns&& other) noexcept : path_(std::exchange(other.path_, "")) {}
  Netns& operator=(Netns&&) = delete;
  ~Netns();
  const std::string& path() const { return path_; }
  std::string name() const { return path_.substr(path_.rfind('/') + 1); }
  // iproute2 in it: ip({"addr", "add", ...}).
  Status ip(std::vector<std::string> args) const;
  // Any function on this thread, inside.
  Status run(const std::function<Status()>& body) const;

 private:
  explicit Netns(std::string path) : path_(std::move(path)) {}
  std::string path_;
};

// A veth pair with an address at each end, up. Names: `a_if` in a, `b_if` in b.
Status link(const Netns& a, const std::string& a_if, const std::string& a_addr, const Netns& b, const std::string& b_if,
            const std::string& b_addr);

// The offloads that bound a stream's packets, as `ethtool -k` says, for the report.
std::string offloads(const Netns& ns, const std::string& device);

// A node as the agent makes it, less the agent: programs loaded and attached, rows written by hand.
class Node {
 public:
  // `index` tells nodes of one benchmark apart: its pods are 10.244.index.0/24, its uplink address 172.30.0.index.
  static Result<std::unique_ptr<Node>> create(Context& context, const std::string& name, unsigned index);
  ~Node();

  const Netns& netns() const { return netns_; }
  datapath::Datapath& datapath() { return *datapath_; }
  // What the agent asks its datapath for, which lies in the agent's own namespace; to enter one takes longer than to see that all fits.
  Status reserve(const datapath::Room& rows) {
    if (datapath_->fits(rows)) return {};
    return netns_.run([&] { return datapath_->reserve(rows); });
  }
  net::IpAddr pod_addr(unsigned n) const { return net::IpAddr::v4(0x0af40000u + (index_ << 8) + n); }
  net::IpAddr underlay() const { return net::IpAddr::v4(0xac1e0000u + index_); }
  std::uint32_t uplink_ifindex() const { return uplink_; }

  // A pod with pod_addr(n); its namespace lives as long as the node.
  Result<const Netns*> add_pod(unsigned n, std::uint32_t mtu = 1500);
  // The device `eth0`, which the caller has put there, becomes the uplink, with programs.
  Status use_uplink();
  // Another node's pods: rows of `nodes` and `endpoints`, and the kernel's route, native or over VXLAN.
  Status add_remote(const Node& other, const std::vector<unsigned>& pods, fw_node_mode mode);
  Status attach_cgroup(const std::string& path) { return datapath_->attach_cgroup(path); }

 private:
  Node(Netns netns, unsigned index, std::string bpf_dir) : netns_(std::move(netns)), index_(index), bpf_dir_(std::move(bpf_dir)) {}
  Status write_config();

  Netns netns_;
  unsigned index_;
  std::string bpf_dir_;
  std::unique_ptr<datapath::Datapath> datapath_;
  std::unique_ptr<io::Netlink> netlink_;
  std::vector<std::unique_ptr<Netns>> pods_;
  std::uint32_t uplink_ = 0, vxlan_ = 0;
};

}  // namespace fairway::bench
