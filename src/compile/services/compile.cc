#include "compile/services/compile.h"

#include <algorithm>
#include <map>

namespace fairway::compile::services {
namespace {

struct Standing {  // the best that any slice says of an endpoint
  bool ready = false;
  bool serving_terminating = false;
};

std::uint32_t flags_of(const model::Service& service, const Config& config) {
  std::uint32_t flags = FW_FE_CLUSTER_IP;
  if (service.affinity_seconds) flags |= FW_FE_AFFINITY;
  if (service.internal_local) flags |= FW_FE_LOCAL_INTERNAL;
  // The node's own resolver answers on this address, so its packets must reach the node's stack.
  if (service.id == config.dns_service) flags |= FW_FE_NO_SOCKET_LB | FW_FE_NODE_LOCAL;
  return flags;
}

Frontend compile_frontend(const model::Service& service, const model::ServicePort& port, const net::IpAddr& addr,
                          std::span<const model::EndpointSlice> slices, const Config& config) {
  Frontend out;
  out.key = {addr, port.port, port.protocol, FW_SCOPE_EXTERNAL};
  out.flags = flags_of(service, config);
  out.affinity_seconds = service.affinity_seconds.value_or(0);
  std::map<BackendKey, Standing> all;
  for (const auto& slice : slices) {
    if (slice.family != addr.family()) continue;
    for (const auto& slice_port : slice.ports) {
      if (slice_port.name != port.name || slice_port.protocol != port.protocol) continue;
      for (const auto& e : slice.endpoints) {
        if (service.internal_local && e.node != config.node) continue;
        if (!e.ready && !e.serving && port.protocol != net::Protocol::kTcp) continue;
        Standing& standing = all[{e.addr, slice_port.port, port.protocol}];
        standing.ready |= e.ready;
        standing.serving_terminating |= e.serving && e.terminating;
      }
    }
  }
  const bool any_ready = std::any_of(all.begin(), all.end(), [](const auto& e) { return e.second.ready; });
  for (const auto& [key, standing] : all) {
    const bool in_use = any_ready ? standing.ready : standing.serving_terminating;
    (in_use ? out.backends : out.draining).push_back(key);
  }
  return out;
}

}  // namespace

std::string FrontendKey::to_string() const { return net::SocketAddr{addr, port}.to_string() + "/" + std::string(net::to_string(protocol)); }

Compiled compile_service(const model::Service& service, std::span<const model::EndpointSlice> slices, const Config& config) {
  Compiled out;
  if (service.headless || service.type == model::ServiceType::kExternalName) return out;
  if (service.type == model::ServiceType::kNodePort || service.type == model::ServiceType::kLoadBalancer)
    out.problems.push_back({"spec.type", "served by its ClusterIP alone: node ports and load balancers' addresses lead nowhere yet"});
  for (std::size_t i = 0; i < service.cluster_ips.size(); ++i) {
    const net::IpAddr& addr = service.cluster_ips[i];
    const bool ours = config.service_ranges.empty() || std::any_of(config.service_ranges.begin(), config.service_ranges.end(),
                                                                   [&](const auto& r) { return r.contains(addr); });
    if (!ours) {
      out.problems.push_back(
          {"spec.clusterIPs[" + std::to_string(i) + "]", addr.to_string() + " lies outside of the service ranges: refused"});
      continue;
    }
    for (const auto& port : service.ports) out.frontends.push_back(compile_frontend(service, port, addr, slices, config));
  }
  std::sort(out.frontends.begin(), out.frontends.end(), [](const auto& a, const auto& b) { return a.key < b.key; });
  // The API refuses one port twice; the first wins here, whoever wrote the second.
  for (std::size_t i = 1; i < out.frontends.size(); ++i)
    if (out.frontends[i].key == out.frontends[i - 1].key)
      out.problems.push_back({"spec.ports", out.frontends[i].key.to_string() + " occurs twice: the first is in force"});
  out.frontends.erase(std::unique(out.frontends.begin(), out.frontends.end(), [](const auto& a, const auto& b) { return a.key == b.key; }),
                      out.frontends.end());
  return out;
}

}  // namespace fairway::compile::services
