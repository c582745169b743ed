#include "agent/node_setup.h"

#include <algorithm>
#include <fstream>
#include <sstream>

namespace fairway::agent {
namespace {

void note(std::vector<model::Problem>& problems, const char* field, const Status& status) {
  if (!status.ok()) problems.push_back({field, status.error().message});
}

net::Family underlay_family(const hostnet::Uplink& uplink) {
  const bool v4 = std::any_of(uplink.addresses.begin(), uplink.addresses.end(), [](const auto& a) { return a.is_v4(); });
  return v4 ? net::Family::kV4 : net::Family::kV6;
}

}  // namespace

std::string find_cgroup2() {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream words(line);
    std::string device, folder, type;
    words >> device >> folder >> type;
    if (type == "cgroup2") return folder;
  }
  return {};
}

std::vector<model::Problem> NodeSetup::run_early() {
  std::vector<model::Problem> problems;
  for (const auto& ip : options_.dns_ips) {
    const auto added = hostnet::ensure_local_address(ip);
    if (!added.ok()) problems.push_back({"--dns-ip", added.error().message});
  }
  const std::string cgroup = options_.cgroup.empty() ? find_cgroup2() : options_.cgroup;
  if (cgroup.empty()) problems.push_back({"--cgroup", "no cgroup2 is mounted: Services are translated per packet only"});
  else note(problems, "--cgroup", datapath_.attach_cgroup(cgroup));
  local_.name = options_.node_name;
  local_.mode = options_.datapath;
  local_.vni = options_.vni;
  local_.cluster_ranges = options_.cluster_ranges;
  local_.service_ranges = options_.service_ranges;
  return problems;
}

std::vector<model::Problem> NodeSetup::run(const model::Node& node) {
  std::vector<model::Problem> problems;
  if (node.addresses.empty()) {
    problems.push_back({"status.addresses", "this node has no InternalIP yet"});
    return problems;
  }
  auto uplink = hostnet::prepare_node(node.addresses);
  if (!uplink.ok()) {
    problems.push_back({"status.addresses", uplink.error().message});
    return problems;
  }
  uplink_ = std::move(*uplink);
  local_.addresses = uplink_.addresses;
  local_.subnets = uplink_.subnets;
  local_.uplink_ifindex = uplink_.ifindex;
  local_.uplink_mtu = uplink_.mtu;
  if (options_.datapath != compile::routing::Mode::kNative) overlay(problems);
  service_veth(problems);
  // The config row comes before the programs that read it see their first packet.
  note(problems, "config", write_config(services_synced_));
  note(problems, "uplink", datapath_.attach_uplink(uplink_.ifindex));
  if (local_.vxlan_ifindex != 0) note(problems, "overlay", datapath_.attach_overlay(local_.vxlan_ifindex));
  if (local_.host_service_ifindex != 0) note(problems, "service veth", datapath_.attach_host_service(local_.host_service_ifindex));
  if (!node.pod_cidrs.empty()) note(problems, "spec.podCIDRs", hostnet::ensure_blackhole(node.pod_cidrs));
  return problems;
}

void NodeSetup::overlay(std::vector<model::Problem>& problems) {
  const net::Family family = underlay_family(uplink_);
  const auto own = std::find_if(uplink_.addresses.begin(), uplink_.addresses.end(), [&](const auto& a) { return a.family() == family; });
  if (own == uplink_.addresses.end()) return;
  const auto device = hostnet::ensure_vxlan(*own, hostnet::pod_mtu(uplink_, true, family));
  if (device.ok()) local_.vxlan_ifindex = device->ifindex;
  else problems.push_back({"overlay", device.error().message});
}

void NodeSetup::service_veth(std::vector<model::Problem>& problems) {
  const auto veth = hostnet::ensure_host_service_veth({options_.service_ranges, uplink_.addresses, uplink_.mtu});
  if (veth.ok()) local_.host_service_ifindex = veth->host.ifindex;
  else problems.push_back({"service veth", veth.error().message});
}

Status NodeSetup::write_config(bool services_synced) {
  services_synced_ = services_synced;
  if (!ready()) return {};
  return datapath_.set_config(compile::routing::compile_config(local_, services_synced));
}

std::uint32_t NodeSetup::pod_mtu(bool any_overlay) const {
  const bool overlay = options_.datapath == compile::routing::Mode::kVxlan || any_overlay;
  return hostnet::pod_mtu(uplink_, overlay, underlay_family(uplink_));
}

}  // namespace fairway::agent
