// LocalEndpoint: one interface of a pod of this node, as CNI ADD made it. The CNI server writes it, keeps it in its
// journal, and announces it to the datapath (cni/endpoint_sink.h).
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "model/rows.h"
#include "net/ip.h"

namespace fairway::model {

struct PortMapping {  // runtimeConfig.portMappings
  std::uint16_t host_port = 0;
  std::uint16_t container_port = 0;
  net::Protocol protocol = net::Protocol::kTcp;
  std::optional<net::IpAddr> host_ip;
  bool operator==(const PortMapping&) const = default;
};

struct Bandwidth {  // runtimeConfig.bandwidth: bits a second and bits; 0 = no limit
  std::uint64_t ingress_rate = 0;
  std::uint64_t ingress_burst = 0;
  std::uint64_t egress_rate = 0;
  std::uint64_t egress_burst = 0;
  bool operator==(const Bandwidth&) const = default;
};

struct LocalEndpoint {
  std::string sandbox_id;  // CNI_CONTAINERID
  std::string ifname;      // in the pod: eth0
  std::string netns_path;
  std::uint64_t netns_cookie = 0;
  Name pod;  // from CNI_ARGS; empty where the runtime gave none
  std::string pod_uid;
  std::string host_ifname;  // in the node's namespace: "fw" and a hash of sandbox and ifname
  std::uint32_t host_ifindex = 0;
  std::uint32_t pod_ifindex = 0;  // in the pod's namespace
  net::MacAddr host_mac;
  net::MacAddr pod_mac;
  std::vector<net::IpAddr> ips;  // at most one a family, IPv4 first
  std::uint32_t mtu = 0;
  std::vector<PortMapping> port_mappings;
  Bandwidth bandwidth;
  bool operator==(const LocalEndpoint&) const = default;
};

}  // namespace fairway::model
