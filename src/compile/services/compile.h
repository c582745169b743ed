// compile_service: a Service and its slices -> the frontends that the datapath must have. Pure, and free of ids:
// assign.h gives those.
//
// Place: Cluster -> [compile] -> Assignment -> sinks. A frontend is one (cluster address, port, protocol); endpoints
// come from the slices of the address's family, by port name, so that a named target port may differ per slice.
// Which endpoints (KEP-1669, and kube-proxy): the ready ones; where none is ready, those that still serve while they
// terminate. Others keep their flows but get no new one (`draining`): what serves while terminating, and over TCP
// whatever is still listed.
#pragma once

#include <compare>
#include <cstdint>
#include <span>
#include <string>
#include <vector>

#include "abi/services.h"
#include "model/problems.h"
#include "model/rows.h"
#include "net/ip.h"

namespace fairway::compile::services {

struct Config {
  std::string node;  // this node's name, for internalTrafficPolicy: Local
  model::Name dns_service{"kube-system", "kube-dns"};
  std::vector<net::Prefix> service_ranges;  // cluster addresses outside are refused; empty: unknown, all are taken
};

struct BackendKey {
  net::IpAddr addr;
  std::uint16_t port = 0;
  net::Protocol protocol = net::Protocol::kTcp;
  auto operator<=>(const BackendKey&) const = default;
};

struct FrontendKey {
  net::IpAddr addr;
  std::uint16_t port = 0;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint8_t scope = FW_SCOPE_EXTERNAL;
  auto operator<=>(const FrontendKey&) const = default;
  std::string to_string() const;  // "10.96.0.1:443/TCP"
};

struct Frontend {
  FrontendKey key;
  std::uint32_t flags = 0;  // enum fw_frontend_flags
  std::uint32_t affinity_seconds = 0;
  std::vector<BackendKey> backends;  // sorted, each once: get new flows
  std::vector<BackendKey> draining;  // likewise, disjoint: keep their flows
  bool operator==(const Frontend&) const = default;
};

struct Compiled {
  std::vector<Frontend> frontends;  // sorted by key
  std::vector<model::Problem> problems;
};

Compiled compile_service(const model::Service& service, std::span<const model::EndpointSlice> slices, const Config& config);

}  // namespace fairway::compile::services
