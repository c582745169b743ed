#include "core/sandbox.h"

#include <net/if.h>
#include <unistd.h>

#include <filesystem>

#include "datapath/addr.h"
#include "hostnet/node_network.h"
#include "hostnet/pod_link.h"
#include "hostnet/sysctl.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::bench {

namespace {

constexpr std::uint32_t kVni = 7;

std::uint32_t remote_id(const Node& node) { return node.underlay().v4_host_order() & 0xff; }

}  // namespace

Result<Netns> Netns::create(const std::string& name) {
  std::string path = "/run/netns/fwb-" + std::to_string(getpid()) + "-" + name;
  FW_TRY(sys::create_netns(path));
  return Netns(path);
}

Netns::~Netns() {
  if (!path_.empty()) (void)sys::remove_netns(path_);
}

Status Netns::ip(std::vector<std::string> args) const {
  args.insert(args.begin(), {"ip", "-n", name()});
  FW_TRY(sys::run_ok(args));
  return {};
}

Status Netns::run(const std::function<Status()>& body) const {
  FW_ASSIGN(sys::Fd fd, sys::open_netns(path_));
  return sys::in_netns(fd, body);
}

Status link(const Netns& a, const std::string& a_if, const std::string& a_addr, const Netns& b, const std::string& b_if,
            const std::string& b_addr) {
  FW_TRY(a.ip({"link", "add", a_if, "type", "veth", "peer", "name", b_if, "netns", b.name()}));
  for (auto [ns, device, addr] : {std::tuple{&a, &a_if, &a_addr}, {&b, &b_if, &b_addr}}) {
    if (!addr->empty()) FW_TRY(ns->ip({"addr", "add", *addr, "dev", *device}));
    FW_TRY(ns->ip({"link", "set", *device, "up"}));
  }
  return {};
}

std::string offloads(const Netns& ns, const std::string& device) {
  auto all = sys::run({"ip", "netns", "exec", ns.name(), "ethtool", "-k", device});
  if (!all.ok() || all->exit_code != 0) return "unknown";
  std::string out;
  for (const char* feature : {"tcp-segmentation-offload", "generic-receive-offload", "tx-checksumming"}) {
    std::size_t at = all->out.find(std::string(feature) + ": ");
    if (at == std::string::npos) continue;
    at += std::string(feature).size() + 2;
    out += (out.empty() ? "" : ", ") + std::string(feature) + " " + all->out.substr(at, all->out.find_first_of(" \n", at) - at);
  }
  return out;
}

Result<std::unique_ptr<Node>> Node::create(Context& context, const std::string& name, unsigned index) {
  FW_ASSIGN(Netns netns, Netns::create(name));
  std::unique_ptr<Node> node(new Node(std::move(netns), index, context.bpf_dir + "/" + name));
  Status opened = node->netns_.run([&]() -> Status {
    FW_TRY(hostnet::ensure_sysctl("net/ipv4/ip_forward", "1"));
    datapath::DatapathConfig config;
    config.bpf_dir = node->bpf_dir_;
    FW_ASSIGN(node->datapath_, datapath::Datapath::open(config));
    FW_ASSIGN(io::Netlink netlink, io::Netlink::open());
    node->netlink_ = std::make_unique<io::Netlink>(std::move(netlink));
    return node->write_config();
  });
  if (!opened.ok()) return std::move(opened).error();
  return node;
}

Node::~Node() {
  datapath_.reset();
  (void)netns_.run([&] { return datapath::Datapath::remove_all(bpf_dir_); });
}

Status Node::write_config() {
  fw_config config{};
  config.node_v4 = datapath::to_abi(underlay());
  config.uplink_ifindex = uplink_;
  config.uplink_mtu = 1500;
  config.vxlan_ifindex = vxlan_;
  config.vxlan_vni = kVni;
  config.cluster_v4 = datapath::to_abi(net::IpAddr::v4(0x0af40000));
  config.cluster_v4_len = 96 + 16;
  config.service_v4 = datapath::to_abi(net::IpAddr::v4(0x0a600000));
  config.service_v4_len = 96 + 16;
  config.flags = FW_CFG_SERVICES_SYNCED;
  return datapath_->set_config(config);
}

Result<const Netns*> Node::add_pod(unsigned n, std::uint32_t mtu) {
  FW_ASSIGN(Netns pod, Netns::create(netns_.name().substr(4) + "-p" + std::to_string(n)));
  pods_.push_back(std::make_unique<Netns>(std::move(pod)));
  std::string sandbox = pods_.back()->path();
  hostnet::PodLink link{.host_name = hostnet::host_link_name(sandbox, "eth0"),
                        .host_mac = hostnet::host_link_mac(sandbox, "eth0"),
                        .pod_name = "eth0",
                        .pod_mac = hostnet::pod_link_mac({pod_addr(n)}),
                        .ips = {pod_addr(n)},
                        .mtu = mtu};
  FW_ASSIGN(sys::Fd fd, sys::open_netns(sandbox));
  FW_ASSIGN(io::Netlink in_pod, hostnet::create_pod_link(*netlink_, fd, link));
  fw_endpoint endpoint{};
  endpoint.ifindex = link.host_ifindex;
  endpoint.flags = FW_EP_LOCAL;
  endpoint.generation = n;
  fw_local_if local{};
  local.v4 = datapath::to_abi(pod_addr(n));
  for (std::size_t i = 0; i < 6; ++i) {
    endpoint.mac[i] = local.mac[i] = link.pod_mac.bytes[i];
    local.host_mac[i] = link.host_mac.bytes[i];
  }
  Status attached = netns_.run([&]() -> Status {
    FW_TRY(datapath_->attach_pod(link.host_ifindex));
    FW_TRY(datapath_->local_ifs().update(link.host_ifindex, local));
    return datapath_->put_endpoint(datapath::to_abi(pod_addr(n)), endpoint);
  });
  if (!attached.ok()) return std::move(attached).error();
  FW_TRY(hostnet::activate_pod_link(*netlink_, in_pod, link));
  return pods_.back().get();
}

Status Node::use_uplink() {
  return netns_.run([&]() -> Status {
    uplink_ = if_nametoindex("eth0");
    FW_TRY(datapath_->attach_uplink(uplink_));
    fw_endpoint self{};
    self.flags = FW_EP_NODE;
    FW_TRY(datapath_->put_endpoint(datapath::to_abi(underlay()), self));
    FW_ASSIGN(hostnet::Device vxlan, hostnet::ensure_vxlan(underlay(), 1500 - hostnet::kVxlanOverheadV4));
    vxlan_ = vxlan.ifindex;
    FW_TRY(datapath_->attach_overlay(vxlan_));
    return write_config();
  });
}

Status Node::add_remote(const Node& other, const std::vector<unsigned>& pods, fw_node_mode mode) {
  std::uint32_t mtu = mode == FW_NODE_VXLAN ? 1500 - hostnet::kVxlanOverheadV4 : 1500;
  return netns_.run([&]() -> Status {
    fw_node row{};
    row.underlay_v4 = datapath::to_abi(other.underlay());
    row.mode = mode;
    row.mtu = mtu;
    FW_TRY(datapath_->nodes().update(remote_id(other), row));
    FW_ASSIGN(hostnet::Uplink uplink, hostnet::find_uplink({underlay()}));
    hostnet::RemoteRange range{.pods = net::Prefix(other.pod_addr(0), 24),
                               .underlay = other.underlay(),
                               .overlay = mode == FW_NODE_VXLAN,
                               .mtu = mtu,
                               .vni = kVni};
    FW_TRY(hostnet::apply_remote_range(range, uplink, vxlan_));
    fw_endpoint node{};  // by which the overlay knows who may send into it
    node.node = remote_id(other);
    node.flags = FW_EP_NODE;
    FW_TRY(datapath_->put_endpoint(datapath::to_abi(other.underlay()), node));
    fw_endpoint endpoint{};
    endpoint.node = remote_id(other);
    for (unsigned n : pods) {
      endpoint.generation = n;
      FW_TRY(datapath_->put_endpoint(datapath::to_abi(other.pod_addr(n)), endpoint));
    }
    return {};
  });
}

}  // namespace fairway::bench
