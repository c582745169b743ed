// The sinks whose rows do not depend on each other: `endpoints`, `nodes`, and the kernel's routes to other nodes' pods.
// Each is a reconcile::Target; the reconciler does the rest. Belongs to the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <map>

#include "compile/routing/compile.h"
#include "datapath/addr.h"
#include "datapath/map.h"
#include "hostnet/node_network.h"
#include "reconcile/reconciler.h"

namespace fairway::sinks {

class EndpointTarget final : public reconcile::Target<net::IpAddr, fw_endpoint> {
 public:
  using EndpointMap = datapath::Map<fw_addr, fw_endpoint>;
  explicit EndpointTarget(EndpointMap& map) : map_(map) {}
  // Keeps FW_EP_KEPT, which the datapath and the policy sink set, while the same pod has the address.
  Status update(const net::IpAddr& addr, const fw_endpoint& row) override;
  Status update_batch(std::span<const std::pair<net::IpAddr, fw_endpoint>> rows) override;
  Status remove(const net::IpAddr& addr) override { return map_.remove(datapath::to_abi(addr)); }
  Result<std::vector<std::pair<net::IpAddr, fw_endpoint>>> dump() override;
  bool in_force(const fw_endpoint& there, const fw_endpoint& desired) const override;

 private:
  EndpointMap& map_;
};

class NodeTarget final : public reconcile::Target<std::uint32_t, fw_node> {
 public:
  using NodeMap = datapath::Map<std::uint32_t, fw_node>;
  explicit NodeTarget(NodeMap& map) : map_(map) {}
  Status update(const std::uint32_t& id, const fw_node& row) override { return map_.update(id, row); }
  Status remove(const std::uint32_t& id) override { return map_.remove(id); }
  Result<std::vector<std::pair<std::uint32_t, fw_node>>> dump() override { return map_.dump(); }
  bool in_force(const fw_node& there, const fw_node& desired) const override;

 private:
  NodeMap& map_;
};

// Keyed by the pod range. A dump knows only which ranges have routes: their content counts as not in force, so a prune
// writes each once (idempotent).
class RouteTarget final : public reconcile::Target<net::Prefix, compile::routing::Route> {
 public:
  struct Device {
    hostnet::Uplink uplink;
    std::uint32_t vxlan_ifindex = 0;
    std::uint32_t vni = 1;
  };
  void set_device(Device device) { device_ = std::move(device); }
  Status update(const net::Prefix& pods, const compile::routing::Route& route) override;
  Status remove(const net::Prefix& pods) override { return hostnet::remove_remote_range(pods); }
  Result<std::vector<std::pair<net::Prefix, compile::routing::Route>>> dump() override;
  bool in_force(const compile::routing::Route&, const compile::routing::Route&) const override { return false; }

 private:
  Device device_;
};

}  // namespace fairway::sinks
