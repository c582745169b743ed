#include "lab/fabric.h"

#include <cstdio>
#include <fstream>

#include "lab/layout.h"
#include "sys/netns.h"
#include "sys/process.h"

namespace fairway::lab {
namespace {

// The fabric is made with iproute2: it stands for switches and routers, is set once, and the words below are the ones
// a reader would type to look at it. (Pods' links, where time counts, go through io::Netlink.)
Status ip_batch(const std::string& netns, const std::string& commands) {
  auto out = sys::run_ok({"ip", "-n", netns, "-batch", "-"}, commands);
  if (!out.ok()) return std::move(out).error().with_context("fabric, in namespace " + netns);
  return {};
}

std::string bridge(unsigned subnet) { return "br" + std::to_string(subnet); }
// Its own MAC: else it has the lowest of its ports', and each node that comes or goes may give it another. The nodes that know the old
// one then reach neither the API server nor the world for half a minute, until they ask again.
std::string bridge_mac(unsigned subnet) {
  char text[18];
  std::snprintf(text, sizeof text, "02:fb:00:00:00:%02x", subnet & 0xff);
  return text;
}
std::string port(const NodeSpec& node) { return "p-" + node.name; }
std::string length(const net::Prefix& prefix) { return "/" + std::to_string(prefix.length()); }
std::string nodad(net::Family family) { return family == net::Family::kV6 ? " nodad" : ""; }

// A namespace that was there already is the same one: creating is idempotent.
Status ensure_netns(const std::string& path) {
  auto status = sys::create_netns(path);
  return status.ok() || status.error().code == Code::kAlreadyExists ? Status{} : status;
}

Status write_sysctl(const std::string& name, const std::string& value) {
  std::ofstream file("/proc/sys/" + name);
  if (!(file << value << std::flush)) return make_error(Code::kIo, "write sysctl " + name);
  return {};
}

Status enable_forwarding() {
  FW_ASSIGN(const sys::Fd netns, sys::open_netns(kFabricNetns));
  return sys::in_netns(netns, [] {
    auto v4 = write_sysctl("net/ipv4/ip_forward", "1");
    return v4.ok() ? write_sysctl("net/ipv6/conf/all/forwarding", "1") : v4;
  });
}

}  // namespace

Status Fabric::create(const LabSpec& spec) {
  FW_TRY(ensure_netns(kFabricNetns));
  FW_TRY(ensure_netns(kOutsideNetns));
  FW_TRY(enable_forwarding());
  std::string fabric, outside = "link set eth0 up\n";
  for (unsigned subnet = 0; subnet < spec.subnets; ++subnet) {
    fabric += "link add " + bridge(subnet) + " address " + bridge_mac(subnet) + " type bridge mcast_snooping 0\nlink set " +
              bridge(subnet) + " up\n";
    for (const auto family : families(spec)) {
      const auto prefix = fabric_prefix(subnet, family);
      fabric += "addr add " + fabric_gateway(subnet, family).to_string() + length(prefix) + " dev " + bridge(subnet) + nodad(family) + "\n";
    }
  }
  fabric += "link add out0 type veth peer name eth0 netns fw-outside\nlink set out0 up\n";
  for (const auto family : families(spec)) {
    const auto prefix = outside_prefix(family);
    fabric += "addr add " + prefix.nth(1)->to_string() + length(prefix) + " dev out0" + nodad(family) + "\n";
    outside += "addr add " + prefix.nth(2)->to_string() + length(prefix) + " dev eth0" + nodad(family) + "\n";
    outside += "route add default via " + prefix.nth(1)->to_string() + "\n";
  }
  FW_TRY(ip_batch("fw-fabric", fabric));
  return ip_batch("fw-outside", outside);
}

Status Fabric::add_node(const LabSpec& spec, const NodeSpec& node) {
  const std::string netns = "fw-" + node.name;
  FW_TRY(ensure_netns(Layout::netns(node.name)));
  FW_TRY(ip_batch("fw-fabric", "link add " + port(node) + " type veth peer name eth0 netns " + netns + "\nlink set " + port(node) +
                                   " master " + bridge(node.subnet) + " up\n"));
  std::string commands = "link set eth0 mtu " + std::to_string(spec.mtu) + " up\n";
  for (const auto family : families(spec)) {
    const auto prefix = fabric_prefix(node.subnet, family);
    commands += "addr add " + node_address(node, family).to_string() + length(prefix) + " dev eth0" + nodad(family) + "\n";
    commands += "route add default via " + fabric_gateway(node.subnet, family).to_string() + "\n";
  }
  return ip_batch(netns, commands);
}

Status Fabric::remove_node(const NodeSpec& node) { return sys::remove_netns(Layout::netns(node.name)); }

Status Fabric::set_connected(const NodeSpec& node, bool connected) {
  // A port of no bridge would answer ARP with the fabric's addresses, and what a node then sends would still arrive.
  return ip_batch("fw-fabric",
                  "link set " + port(node) + (connected ? " arp on master " + bridge(node.subnet) : " arp off nomaster") + "\n");
}

}  // namespace fairway::lab
