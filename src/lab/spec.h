// LabSpec: what a lab consists of. Written to lab.json by `lab up` and by the supervisor when nodes come and go;
// every process of the lab reads it. Addresses follow from the spec alone.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "net/ip.h"

namespace fairway::lab {

struct NodeSpec {
  std::string name;
  unsigned index = 0;   // from 1; decides its addresses; never re-used while the lab lives
  unsigned subnet = 0;  // which fabric bridge it is on
  bool operator==(const NodeSpec&) const = default;
};

struct LabSpec {
  std::vector<NodeSpec> nodes;
  unsigned next_index = 1;
  unsigned subnets = 1;           // fabric subnets; nodes are spread over them (VXLAN between subnets)
  std::string datapath = "auto";  // auto | native | vxlan
  std::string family = "dual";    // ipv4 | ipv6 | dual
  std::uint16_t api_port = 0;     // on 127.0.0.1
  std::vector<std::string> dns_upstreams;
  unsigned mtu = 1500;
  unsigned most_rows = 0;  // where the agents' tables stop growing; 0: where an agent stops by itself

  bool v4() const { return family != "ipv6"; }
  bool v6() const { return family != "ipv4"; }
  NodeSpec& add_node(const std::string& name);  // name empty: node-N
  const NodeSpec* find(const std::string& name) const;
};

Result<LabSpec> read_spec(const std::string& path);
Status write_spec(const LabSpec& spec, const std::string& path);

// Addresses (docs/architecture.md).
net::Prefix fabric_prefix(unsigned subnet, net::Family family);
net::IpAddr fabric_gateway(unsigned subnet, net::Family family);
net::IpAddr node_address(const NodeSpec& node, net::Family family);
net::Prefix outside_prefix(net::Family family);
net::Prefix pod_range(net::Family family);  // of the whole cluster
net::Prefix service_range(net::Family family);
net::IpAddr dns_address(net::Family family);
std::vector<net::Family> families(const LabSpec& spec);                                        // primary first
std::string join_families(const LabSpec& spec, const std::string& v4, const std::string& v6);  // "a,b" of those in use
inline constexpr std::uint16_t kFabricApiPort = 6443;

}  // namespace fairway::lab
