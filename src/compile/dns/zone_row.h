// The rows of a zone's map, as packed bytes: what the builder writes and the lookup reads.
//
//   'S' namespace 0 service -> ServiceRow       'N' namespace           -> NamespaceRow
//   'R' address             -> owners           'P' address namespace   -> number of pods that have it
//   'Q' namespace 0 pod     -> its addresses (so that a removal knows them)
// Kubernetes names hold no zero byte, so a label from a query, which may, cannot imitate another key.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "model/rows.h"
#include "net/ip.h"

namespace fairway::compile::dns {

struct PortRow {
  std::string_view name;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t port = 0;
  auto operator<=>(const PortRow&) const = default;
};

struct EndpointRow {
  net::IpAddr addr;
  std::string_view hostname;   // never empty: the endpoint's own, or its address with dashes
  std::uint16_t port_set = 0;  // index in ServiceRow::port_sets
  auto operator<=>(const EndpointRow&) const = default;
};

// Views point into the encoded row, or into whatever it is built from.
struct ServiceRow {
  enum class Kind : std::uint8_t { kClusterIp = 1, kHeadless, kExternal };
  Kind kind = Kind::kClusterIp;
  std::vector<net::IpAddr> addrs;               // kClusterIp
  std::string_view external;                    // kExternal
  std::vector<std::vector<PortRow>> port_sets;  // named ports; kClusterIp: exactly one set
  std::vector<EndpointRow> endpoints;           // kHeadless; sorted
};

std::string encode(const ServiceRow& row);
ServiceRow decode_service(std::string_view bytes);

struct NamespaceRow {
  std::uint32_t services = 0;
  std::uint32_t pods = 0;  // 'P' rows
};
std::string encode(const NamespaceRow& row);
NamespaceRow decode_namespace(std::string_view bytes);

std::string encode_addrs(const std::vector<net::IpAddr>& addrs);
std::vector<net::IpAddr> decode_addrs(std::string_view bytes);
std::string encode_u32(std::uint32_t value);
std::uint32_t decode_u32(std::string_view bytes);

// Owners of an address: names relative to "svc.<domain>", sorted.
std::string encode_owners(const std::vector<std::string>& owners);
std::vector<std::string_view> decode_owners(std::string_view bytes);

std::string service_key(std::string_view ns, std::string_view name);
std::string namespace_key(std::string_view ns);
std::string reverse_key(const net::IpAddr& addr);
std::string pod_addr_key(const net::IpAddr& addr, std::string_view ns);
std::string pod_key(std::string_view ns, std::string_view name);

// "10-0-0-1", "fd00--1"
std::string dashed(const net::IpAddr& addr);
std::string_view protocol_label(net::Protocol protocol);  // "_tcp"

}  // namespace fairway::compile::dns
