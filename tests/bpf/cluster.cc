#include "cluster.h"

#include <arpa/inet.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <stdexcept>
#include <thread>

#include "base/check.h"
#include "io/netlink.h"
#include "sys/process.h"

namespace fairway::test {
namespace {

constexpr const char* kPodMacPrefix = "02:fa:00:00:00:";
constexpr const char* kHostMacPrefix = "02:fb:00:00:00:";

std::string hex(int n) {
  char text[3];
  std::snprintf(text, sizeof(text), "%02x", n & 0xff);
  return text;
}

void write_sysctl(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/net/" + name);
  file << value;
}

std::uint32_t fw_node_id(int of, int seen_from) { return of == seen_from ? 0 : static_cast<std::uint32_t>(of); }

}  // namespace

void must(const Status& status) {
  if (!status.ok()) throw std::runtime_error(status.error().message);
}

bool is_privileged() { return ::geteuid() == 0; }

net::IpAddr ip(const std::string& text) {
  auto parsed = net::IpAddr::parse(text);
  if (!parsed.ok()) throw std::runtime_error(parsed.error().message);
  return *parsed;
}

std::uint32_t ifindex_in(const Cluster& cluster, const std::string& netns, const std::string& device) {
  std::uint32_t index = 0;
  cluster.in(netns, [&] { index = ::if_nametoindex(device.c_str()); });
  if (index == 0) throw std::runtime_error("no device " + device + " in " + netns);
  return index;
}

std::unique_ptr<Cluster> Cluster::make(const Options& options, std::string& why_not) {
  if (!is_privileged()) {
    why_not = "needs root: network namespaces and BPF";
    return nullptr;
  }
  std::unique_ptr<Cluster> cluster(new Cluster(options));
  cluster->make_fabric();
  for (int n = 1; n <= options.nodes; ++n) cluster->make_node(n);
  for (int n = 1; n <= options.nodes; ++n) {
    if (options.vxlan) cluster->make_overlay(n);
    cluster->route_to_peers(n);
    cluster->open_datapath(n);
  }
  return cluster;
}

Cluster::Cluster(const Options& options) : options_(options), prefix_("fwbpf" + std::to_string(::getpid())) {}

Cluster::~Cluster() {
  for (auto& [number, node] : nodes_) {
    if (node.bpf_dir.empty()) continue;
    auto netns = sys::open_netns(path(node.netns));
    if (netns.ok()) (void)sys::in_netns(*netns, [&] { return datapath::Datapath::remove_all(node.bpf_dir + "/fairway"); });
    node.datapath.reset();
    ::umount2(node.bpf_dir.c_str(), MNT_DETACH);
    ::rmdir(node.bpf_dir.c_str());
  }
  for (const std::string& name : namespaces_) (void)sys::remove_netns(path(name));
}

std::string Cluster::ip(const std::string& command) const {
  std::vector<std::string> argv{"ip"};
  std::istringstream words(command);
  for (std::string word; words >> word;) argv.push_back(word);
  auto out = sys::run_ok(argv);
  if (!out.ok()) throw std::runtime_error("ip " + command + ": " + out.error().message);
  return *out;
}

void Cluster::in(const std::string& netns, const std::function<void()>& body) const {
  auto fd = sys::open_netns(path(netns));
  FW_CHECK(fd.ok());
  must(sys::in_netns(*fd, [&] {
    body();
    return Status{};
  }));
}

// The end of a veth that went up first drops what it is to send, until the kernel has seen its carrier; it looks when it is read (from 6.4
// on). And it makes an IPv6 address' route in a work queue, once that gets the rtnl lock; until then what is sent to it is lost.
void Cluster::wait_until_up(const std::string& netns, const std::string& device, const std::optional<net::IpAddr>& addr) const {
  const auto fd = sys::open_netns(path(netns));
  auto netlink = io::Netlink::open_in(*fd);
  const auto up = [&] {
    if (netlink->link(device)->qdisc == "noop") return false;
    const auto routes = netlink->routes(RT_TABLE_LOCAL);
    return !addr || std::any_of(routes->begin(), routes->end(), [&](const auto& route) { return route.dst == net::Prefix(*addr); });
  };
  const auto deadline = std::chrono::steady_clock::now() + std::chrono::seconds(60);
  while (!up()) {
    if (std::chrono::steady_clock::now() > deadline) throw std::runtime_error(device + " of " + netns + " does not come up");
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
}

void Cluster::new_netns(const std::string& name) {
  must(sys::create_netns(path(name)));
  namespaces_.push_back(name);
  in(name, [] {
    for (const char* which : {"all", "default"}) {
      write_sysctl(std::string("ipv4/conf/") + which + "/rp_filter", "0");
      write_sysctl(std::string("ipv6/conf/") + which + "/accept_dad", "0");
      write_sysctl(std::string("ipv6/conf/") + which + "/forwarding", "0");
    }
  });
}

void Cluster::make_fabric() {
  fabric_ = prefix_ + "f";
  new_netns(fabric_);
  in(fabric_, [] {
    write_sysctl("ipv4/ip_forward", "1");
    write_sysctl("ipv6/conf/all/forwarding", "1");
  });
  const std::string n = "-n " + fabric_ + " ";
  ip(n + "link add br0 mtu " + std::to_string(options_.uplink_mtu) + " type bridge mcast_snooping 0");
  ip(n + "link set br0 up");
  ip(n + "addr add 172.30.0.1/24 dev br0");
  ip(n + "addr add fd00:172:30::1/64 dev br0 nodad");
  ip(n + "addr add 172.31.0.2/32 dev lo");
  ip(n + "addr add fd00:172:31::2/128 dev lo nodad");
}

void Cluster::make_node(int number) {
  Node& node = nodes_[number];
  node.netns = prefix_ + "n" + std::to_string(number);
  new_netns(node.netns);
  in(node.netns, [] {
    write_sysctl("ipv4/ip_forward", "1");
    write_sysctl("ipv6/conf/all/forwarding", "1");
  });
  const std::string mtu = std::to_string(options_.uplink_mtu), port = "p" + std::to_string(number);
  ip("-n " + node.netns + " link add eth0 mtu " + mtu + " type veth peer name " + port + " mtu " + mtu + " netns " + fabric_);
  ip("-n " + fabric_ + " link set " + port + " master br0 up");
  const std::string n = "-n " + node.netns + " ";
  ip(n + "link set eth0 up");
  ip(n + "addr add " + node_ip(number, false).to_string() + "/24 dev eth0");
  ip(n + "addr add " + node_ip(number, true).to_string() + "/64 dev eth0 nodad");
  ip(n + "route add default via 172.30.0.1");
  ip(n + "-6 route add default via fd00:172:30::1");
  wait_until_up(node.netns, "eth0", node_ip(number, true));
  wait_until_up(fabric_, port);
  node.uplink = ifindex_in(*this, node.netns, "eth0");
}

void Cluster::make_overlay(int number) {
  Node& node = nodes_.at(number);
  const std::string n = "-n " + node.netns + " ";
  ip(n + "link add fwvx mtu " + std::to_string(options_.uplink_mtu - 50) + " type vxlan external dstport 4789");
  ip(n + "link set fwvx arp off up");  // the overlay's MACs mean nothing: overlay_in takes what comes
  node.overlay = ifindex_in(*this, node.netns, "fwvx");
}

void Cluster::route_to_peers(int number) {
  const std::string n = "-n " + nodes_.at(number).netns + " ";
  for (int peer = 1; peer <= options_.nodes; ++peer) {
    if (peer == number) continue;
    const std::string v4 = "10.244." + std::to_string(peer) + ".0/24", v6 = "fd00:10:244:" + std::to_string(peer) + "::/64";
    if (options_.vxlan) {
      const std::string encap = " encap ip id " + std::to_string(kVni) + " dst " + node_ip(peer, false).to_string() + " dev fwvx mtu " +
                                std::to_string(options_.uplink_mtu - 50);
      ip(n + "route add " + v4 + encap);
      ip(n + "-6 route add " + v6 + encap);
    } else {
      ip(n + "route add " + v4 + " via " + node_ip(peer, false).to_string() + " mtu " + std::to_string(options_.uplink_mtu));
      ip(n + "-6 route add " + v6 + " via " + node_ip(peer, true).to_string() + " mtu " + std::to_string(options_.uplink_mtu));
    }
  }
}

net::IpAddr Cluster::node_ip(int node, bool v6) const {
  return test::ip(v6 ? "fd00:172:30::" + std::to_string(10 + node) : "172.30.0." + std::to_string(10 + node));
}

datapath::DatapathConfig Cluster::datapath_config(int node) const {
  datapath::DatapathConfig config;
  config.bpf_dir = nodes_.at(node).bpf_dir + "/fairway";
  config.prefer_clsact = options_.prefer_clsact;
  config.sizes = {.endpoints = 1024,
                  .local_ifs = 64,
                  .nodes = 64,
                  .frontends = 256,
                  .svc_slots = 1024,
                  .backends = 1024,
                  .flows_new = 1024,
                  .flows = 1024,
                  .fragments = 256,
                  .sock_origin = 1024,
                  .pol_peers = 1024,
                  .pol_cidrs = 1024,
                  .pol_verdicts = 4096,
                  .pol_hits = 256,
                  .pol_denied = 16,
                  .track_new = 1024,
                  .track = 1024};
  return config;
}

void Cluster::open_datapath(int number) {
  Node& node = nodes_.at(number);
  char dir[] = "/tmp/fwbpf-XXXXXX";
  if (::mkdtemp(dir) == nullptr) throw std::runtime_error("mkdtemp");
  node.bpf_dir = dir;
  if (::mount("bpf", dir, "bpf", 0, nullptr) < 0) throw std::runtime_error("mount bpffs");
  restart(number);
  in(node.netns, [&] {
    must(node.datapath->attach_uplink(node.uplink));
    if (node.overlay != 0) must(node.datapath->attach_overlay(node.overlay));
  });
  write_config(number, FW_CFG_MASQUERADE_V4 | FW_CFG_MASQUERADE_V6 | FW_CFG_SERVICES_SYNCED);
  for (int other = 1; other <= options_.nodes; ++other) {
    for (const bool v6 : {false, true}) {
      fw_endpoint row{};
      row.node = fw_node_id(other, number);
      row.flags = FW_EP_NODE;
      must(node.datapath->put_endpoint(datapath::to_abi(node_ip(other, v6)), row));
    }
    if (other == number) continue;
    fw_node row{};
    row.underlay_v4 = datapath::to_abi(node_ip(other, false));
    if (!options_.vxlan) row.underlay_v6 = datapath::to_abi(node_ip(other, true));
    row.mode = options_.vxlan ? FW_NODE_VXLAN : FW_NODE_NATIVE;
    row.mtu = options_.uplink_mtu - (options_.vxlan ? 50 : 0);
    must(node.datapath->nodes().update(static_cast<std::uint32_t>(other), row));
  }
}

void Cluster::restart(int number) {
  Node& node = nodes_.at(number);
  node.datapath.reset();
  in(node.netns, [&] {
    auto opened = datapath::Datapath::open(datapath_config(number));
    if (!opened.ok()) throw std::runtime_error(opened.error().message);
    node.datapath = std::move(*opened);
  });
}

void Cluster::write_config(int number, std::uint32_t flags) {
  Node& node = nodes_.at(number);
  fw_config config{};
  config.node_v4 = datapath::to_abi(node_ip(number, false));
  config.node_v6 = datapath::to_abi(node_ip(number, true));
  config.uplink_ifindex = node.uplink;
  config.vxlan_ifindex = node.overlay;
  config.vxlan_vni = kVni;
  config.uplink_mtu = options_.uplink_mtu;
  config.cluster_v4 = datapath::to_abi(test::ip("10.244.0.0"));
  config.cluster_v4_len = 96 + 16;
  config.cluster_v6 = datapath::to_abi(test::ip("fd00:10:244::"));
  config.cluster_v6_len = 48;
  config.service_v4 = datapath::to_abi(test::ip("10.96.0.0"));
  config.service_v4_len = 96 + 16;
  config.service_v6 = datapath::to_abi(test::ip("fd00:10:96::"));
  config.service_v6_len = 112;
  config.flags = flags;
  in(node.netns, [&] { must(node.datapath->set_config(config)); });
}

void Cluster::set_flags(int node, std::uint32_t flags) { write_config(node, flags); }

Pod Cluster::add_pod(int number, const std::string& name) {
  Node& node = nodes_.at(number);
  const int id = next_pod_++;
  Pod pod;
  pod.name = name;
  pod.node = number;
  pod.netns = prefix_ + "p" + std::to_string(id);
  pod.v4 = test::ip("10.244." + std::to_string(number) + "." + std::to_string(id));
  pod.v6 = test::ip("fd00:10:244:" + std::to_string(number) + "::" + std::to_string(id));
  const std::string mac = kPodMacPrefix + hex(id), host_mac = kHostMacPrefix + hex(id), veth = "v" + std::to_string(id);
  pod.mac = *net::MacAddr::parse(mac);
  pod.host_mac = *net::MacAddr::parse(host_mac);
  new_netns(pod.netns);
  const std::string n = "-n " + node.netns + " ", p = "-n " + pod.netns + " ";
  const std::string mtu = std::to_string(options_.uplink_mtu - (options_.vxlan ? 50 : 0));
  ip(n + "link add " + veth + " address " + host_mac + " mtu " + mtu + " type veth peer name eth0 address " + mac + " mtu " + mtu +
     " netns " + pod.netns);
  ip(n + "link set " + veth + " up");
  ip(n + "addr add fe80::1/64 dev " + veth + " nodad");
  ip(p + "link set eth0 up");
  ip(p + "addr add " + pod.v4.to_string() + "/32 dev eth0");
  ip(p + "addr add " + pod.v6.to_string() + "/128 dev eth0 nodad");
  ip(p + "route add 169.254.1.1 dev eth0");
  ip(p + "route add default via 169.254.1.1 dev eth0");
  ip(p + "-6 route add default via fe80::1 dev eth0");
  ip(p + "neigh replace 169.254.1.1 lladdr " + host_mac + " dev eth0 nud permanent");
  ip(p + "neigh replace fe80::1 lladdr " + host_mac + " dev eth0 nud permanent");
  ip(n + "route add " + pod.v4.to_string() + " dev " + veth);
  ip(n + "-6 route add " + pod.v6.to_string() + " dev " + veth);
  ip(n + "neigh replace " + pod.v4.to_string() + " lladdr " + mac + " dev " + veth + " nud permanent");
  ip(n + "neigh replace " + pod.v6.to_string() + " lladdr " + mac + " dev " + veth + " nud permanent");
  pod.ifindex = ifindex_in(*this, node.netns, veth);
  wait_until_up(node.netns, veth);
  wait_until_up(pod.netns, "eth0", pod.v6);

  fw_local_if local{};
  local.v4 = datapath::to_abi(pod.v4);
  local.v6 = datapath::to_abi(pod.v6);
  std::memcpy(local.mac, pod.mac.bytes.data(), 6);
  std::memcpy(local.host_mac, pod.host_mac.bytes.data(), 6);
  must(node.datapath->local_ifs().update(pod.ifindex, local));
  const std::uint32_t generation = generation_++;
  for (auto& [seen_from, other] : nodes_) {
    fw_endpoint row{};
    row.node = fw_node_id(number, seen_from);
    row.generation = generation;
    if (seen_from == number) {
      row.flags = FW_EP_LOCAL;
      row.ifindex = pod.ifindex;
      std::memcpy(row.mac, pod.mac.bytes.data(), 6);
    }
    for (const net::IpAddr& addr : {pod.v4, pod.v6}) must(other.datapath->put_endpoint(datapath::to_abi(addr), row));
  }
  in(node.netns, [&] { must(node.datapath->attach_pod(pod.ifindex)); });
  return pod;
}

void Cluster::set_service(int number, net::SocketAddr vip, net::Protocol protocol, const std::vector<Backend>& backends,
                          std::uint32_t flags) {
  datapath::Datapath& dp = datapath(number);
  fw_frontend front{};
  front.slot_base = next_slot_;
  front.count = static_cast<std::uint32_t>(backends.size());
  front.flags = flags;
  front.service = next_slot_;
  for (const Backend& backend : backends) {
    fw_backend row{};
    row.addr = datapath::to_abi(backend.addr.addr);
    row.port_be = htons(backend.addr.port);
    row.protocol = static_cast<__u8>(protocol);
    row.generation = generation_++;
    row.node = fw_node_id(backend.node, number);
    must(dp.backends().update(next_backend_, row));
    must(dp.svc_slots().update(next_slot_++, next_backend_++));
  }
  fw_frontend_key key{};
  key.addr = datapath::to_abi(vip.addr);
  key.port_be = htons(vip.port);
  key.protocol = static_cast<__u8>(protocol);
  must(dp.frontends().update(key, front));
}

void Cluster::set_host_port(const Pod& pod, std::uint16_t host_port, std::uint16_t port, net::Protocol protocol, bool v6) {
  datapath::Datapath& dp = datapath(pod.node);
  set_service(pod.node, {node_ip(pod.node, v6), host_port}, protocol, {{{pod.ip(v6), port}, pod.node}}, FW_FE_HOST_PORT);
  fw_local_if row = *dp.local_ifs().lookup(pod.ifindex);
  row.flags |= FW_IF_HOST_PORT;
  must(dp.local_ifs().update(pod.ifindex, row));
  in(node_netns(pod.node), [&] { must(dp.set_node_frontends(true)); });
}

void Cluster::remove_frontend(int number, net::SocketAddr at, net::Protocol protocol) {
  fw_frontend_key key{};
  key.addr = datapath::to_abi(at.addr);
  key.port_be = htons(at.port);
  key.protocol = static_cast<__u8>(protocol);
  must(datapath(number).frontends().remove(key));
}

void Cluster::shape(const Pod& pod) {
  for (const net::IpAddr& addr : {pod.v4, pod.v6}) {
    fw_endpoint row = *datapath(pod.node).endpoints().lookup(datapath::to_abi(addr));
    row.flags |= FW_EP_SHAPED;
    must(datapath(pod.node).put_endpoint(datapath::to_abi(addr), row));
  }
}

std::uint64_t Cluster::through_queue(const Pod& pod) const {
  const std::string text = ip("-n " + node_netns(pod.node) + " -s -j link show dev v" + pod.netns.substr(prefix_.size() + 1));
  const std::string key = "\"packets\":";
  const auto at = text.find(key, text.find("\"tx\":"));
  if (at == std::string::npos) throw std::runtime_error("no counters in " + text);
  return std::stoull(text.substr(at + key.size()));
}

void Cluster::add_host_service(int number) {
  Node& node = nodes_.at(number);
  const std::string n = "-n " + node.netns + " ";
  ip(n + "link add fwsvc0 type veth peer name fwsvc1");
  in(node.netns, [] {
    write_sysctl("ipv4/conf/fwsvc0/rp_filter", "2");
    write_sysctl("ipv4/conf/fwsvc0/accept_local", "1");
  });
  ip(n + "addr add 169.254.1.3/32 dev fwsvc0 scope host");
  ip(n + "link set fwsvc0 up");
  ip(n + "link set fwsvc1 up");
  ip(n + "route add 10.96.0.0/16 via 169.254.1.2 dev fwsvc0 onlink src " + node_ip(number, false).to_string());
  ip(n + "-6 route add fd00:10:96::/112 via fe80::2 dev fwsvc0 onlink src " + node_ip(number, true).to_string());
  ip(n + "neigh replace 169.254.1.2 lladdr 02:fc:00:00:00:02 dev fwsvc0 nud permanent");
  ip(n + "neigh replace fe80::2 lladdr 02:fc:00:00:00:02 dev fwsvc0 nud permanent");
  const std::uint32_t index = ifindex_in(*this, node.netns, "fwsvc0");
  in(node.netns, [&] { must(node.datapath->attach_host_service(index)); });
}

std::uint64_t Cluster::count(int node, std::string_view name) {
  auto stats = datapath(node).stats();
  if (!stats.ok()) throw std::runtime_error(stats.error().message);
  for (const datapath::Count& count : stats->counts)
    if (count.name == name) return count.packets;
  return 0;
}

}  // namespace fairway::test
