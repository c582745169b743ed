// compile_host_ports: a pod's hostPorts (runtimeConfig.portMappings) -> frontends on this node's own addresses. Pure.
//
// Place: LocalPods -> [compile] -> Assignment -> sinks: the same rows as a Service's, with the pod as the one backend. A
// hostPort never leaves the node's own addresses (CVE-2025-67499): what is not one of them is refused, not widened.
// hostIP: none: every address of the node whose family the pod has; 0.0.0.0 or ::, those of that family; an address of
// the node: that one. Loopback is refused: no packet to it can come back translated, and 127.0.0.1 is the node's own.
#pragma once

#include <cstdint>
#include <vector>

#include "base/result.h"
#include "compile/services/compile.h"
#include "model/local_endpoint.h"

namespace fairway::compile::services {

struct NodePorts {
  std::vector<net::IpAddr> addresses;        // the node's own; empty: not known yet
  std::uint16_t masq_min = 0, masq_max = 0;  // ports of masqueraded flows, both inclusive
  std::uint16_t overlay_port = 0;            // UDP; 0: no overlay
  bool operator==(const NodePorts&) const = default;
};

// Sorted by key. The error names the hostPort and why it cannot be honoured.
Result<std::vector<Frontend>> compile_host_ports(const model::LocalEndpoint& pod, const NodePorts& node);

// The first key that both have; nothing: they get along. Both sorted.
std::optional<FrontendKey> first_clash(const std::vector<Frontend>& a, const std::vector<Frontend>& b);

}  // namespace fairway::compile::services
