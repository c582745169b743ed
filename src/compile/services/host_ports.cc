#include "compile/services/host_ports.h"

#include <algorithm>

namespace fairway::compile::services {
namespace {

std::string name_of(const model::PortMapping& mapping) {
  return "hostPort " + std::to_string(mapping.host_port) + "/" + std::string(net::to_string(mapping.protocol));
}

Status check(const model::PortMapping& mapping, const NodePorts& node) {
  const auto refuse = [&](const std::string& why) { return make_error(Code::kInvalid, name_of(mapping) + ": " + why); };
  if (mapping.protocol == net::Protocol::kSctp) return refuse("SCTP is not supported");
  if (mapping.host_port >= node.masq_min && mapping.host_port <= node.masq_max)
    return refuse("lies in the node's masquerade ports, " + std::to_string(node.masq_min) + "-" + std::to_string(node.masq_max));
  if (mapping.protocol == net::Protocol::kUdp && mapping.host_port == node.overlay_port && node.overlay_port != 0)
    return refuse("is the port of the node's overlay");
  if (!mapping.host_ip || *mapping.host_ip == net::IpAddr::v4(0) || mapping.host_ip->is_unset()) return {};
  if (mapping.host_ip->is_loopback())
    return refuse("hostIP " + mapping.host_ip->to_string() +
                  " is a loopback address: a hostPort is on addresses of the node that others reach");
  if (std::find(node.addresses.begin(), node.addresses.end(), *mapping.host_ip) == node.addresses.end())
    return refuse("hostIP " + mapping.host_ip->to_string() + " is not an address of this node");
  return {};
}

bool wants(const model::PortMapping& mapping, const net::IpAddr& address) {
  if (!mapping.host_ip) return true;
  if (mapping.host_ip->is_unset()) return !address.is_v4();
  if (*mapping.host_ip == net::IpAddr::v4(0)) return address.is_v4();
  return *mapping.host_ip == address;
}

}  // namespace

Result<std::vector<Frontend>> compile_host_ports(const model::LocalEndpoint& pod, const NodePorts& node) {
  std::vector<Frontend> out;
  if (node.addresses.empty()) return out;
  for (const auto& mapping : pod.port_mappings) {
    FW_TRY(check(mapping, node));
    bool any = false;
    for (const net::IpAddr& address : node.addresses) {
      const auto ip = std::find_if(pod.ips.begin(), pod.ips.end(), [&](const auto& a) { return a.family() == address.family(); });
      if (!wants(mapping, address) || ip == pod.ips.end()) continue;
      any = true;
      Frontend frontend;
      frontend.key = {address, mapping.host_port, mapping.protocol, FW_SCOPE_EXTERNAL};
      frontend.flags = FW_FE_HOST_PORT;
      frontend.backends = {{*ip, mapping.container_port, mapping.protocol}};
      const auto twice = std::find_if(out.begin(), out.end(), [&](const Frontend& f) { return f.key == frontend.key; });
      if (twice == out.end()) out.push_back(std::move(frontend));
      else if (!(*twice == frontend)) return make_error(Code::kInvalid, name_of(mapping) + ": the pod asks for it twice");
    }
    if (!any) return make_error(Code::kInvalid, name_of(mapping) + ": pod and node have no address of the same family for it");
  }
  std::sort(out.begin(), out.end(), [](const Frontend& a, const Frontend& b) { return a.key < b.key; });
  return out;
}

std::optional<FrontendKey> first_clash(const std::vector<Frontend>& a, const std::vector<Frontend>& b) {
  for (auto x = a.begin(), y = b.begin(); x != a.end() && y != b.end();) {
    if (x->key == y->key) return x->key;
    x->key < y->key ? ++x : ++y;
  }
  return std::nullopt;
}

}  // namespace fairway::compile::services
