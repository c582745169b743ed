// compile/routing: nodes and pods -> rows of `nodes` and `endpoints`, routes to other nodes' pod ranges, the config row.
// Pure, one key at a time: an address's row needs only who has that address; a node's needs that node and this one.
//
// Place: Cluster -> [compile] -> sinks. This node's own pods are not made here: their rows come with CNI ADD
// (cni/endpoint_sink.h), which knows their interfaces; the API learns of them later.
#pragma once

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "abi/endpoints.h"
#include "model/problems.h"
#include "model/rows.h"
#include "net/ip.h"

namespace fairway::compile::routing {

enum class Mode { kAuto, kNative, kVxlan };
std::optional<Mode> parse_mode(std::string_view text);  // "auto", "native", "vxlan"

// This node, as the agent found it.
struct Local {
  std::string name;
  Mode mode = Mode::kAuto;
  std::vector<net::IpAddr> addresses;  // at most one a family
  std::vector<net::Prefix> subnets;    // on-link at the uplink
  std::uint32_t uplink_ifindex = 0;
  std::uint32_t uplink_mtu = 1500;
  std::uint32_t vxlan_ifindex = 0;  // 0: no overlay device
  std::uint32_t vni = 1;
  std::uint32_t host_service_ifindex = 0;
  std::vector<net::Prefix> cluster_ranges;  // at most one a family
  std::vector<net::Prefix> service_ranges;
  bool masquerade = true;
  bool operator==(const Local&) const = default;
};

// Numbers of the other nodes: given once, never to another node while the agent lives; fed back at restart from the
// pinned map, by underlay address.
class NodeIds {
 public:
  void adopt(std::uint32_t id, const fw_node& row);
  std::uint32_t get(const model::Node& node);  // > 0
  std::optional<std::uint32_t> find(std::string_view name) const;
  void forget(std::string_view name);

 private:
  std::map<std::string, std::uint32_t, std::less<>> by_name_;
  std::map<net::IpAddr, std::uint32_t> adopted_;  // by underlay address, until claimed
  std::uint32_t next_ = 1;
};

struct Route {
  net::Prefix pods;
  net::IpAddr underlay;
  bool overlay = false;
  std::uint32_t mtu = 0;
  auto operator<=>(const Route&) const = default;
};

struct CompiledNode {
  fw_node row{};
  std::vector<Route> routes;
  std::vector<model::Problem> problems;
};

// Another node. Native where it is on-link at the uplink; else over VXLAN, whose underlay is IPv4 where both have it.
CompiledNode compile_node(const model::Node& node, const Local& local);

// Who has an address, as Cluster knows it.
struct Owner {
  std::optional<std::string> node;  // it is a node's own address
  std::vector<model::Pod> pods;     // else: live pods with it, sorted by key
};
// Nothing: no row from the API (nobody has it, or a pod of this node, or its node is not known yet).
std::optional<fw_endpoint> compile_endpoint(const Owner& owner, const Local& local, const NodeIds& ids);

// A number that differs for each pod that has had an address.
std::uint32_t generation_of(std::string_view pod_uid);

fw_config compile_config(const Local& local, bool services_synced);

}  // namespace fairway::compile::routing
