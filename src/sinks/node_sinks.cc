#include "sinks/node_sinks.h"

#include <algorithm>
#include <cstring>

namespace fairway::sinks {

Status EndpointTarget::update(const net::IpAddr& addr, const fw_endpoint& row) {
  const fw_addr key = datapath::to_abi(addr);
  fw_endpoint merged = row;
  if (const auto old = map_.lookup(key); old.ok() && old->generation == row.generation) merged.flags |= old->flags & FW_EP_KEPT;
  return map_.update(key, merged);
}

Status EndpointTarget::update_batch(std::span<const std::pair<net::IpAddr, fw_endpoint>> rows) {
  std::vector<fw_addr> keys;
  std::vector<fw_endpoint> values;
  for (const auto& [addr, row] : rows) {
    // The datapath sets flags on local pods' rows alone, and those go one by one.
    if ((row.flags & FW_EP_LOCAL) != 0) {
      FW_TRY(update(addr, row));
      continue;
    }
    keys.push_back(datapath::to_abi(addr));
    values.push_back(row);
  }
  return keys.empty() ? Status{} : map_.update_batch(keys, values);
}

Result<std::vector<std::pair<net::IpAddr, fw_endpoint>>> EndpointTarget::dump() {
  FW_ASSIGN(const auto rows, map_.dump());
  std::vector<std::pair<net::IpAddr, fw_endpoint>> out;
  out.reserve(rows.size());
  for (const auto& [addr, row] : rows) out.emplace_back(datapath::from_abi(addr), row);
  return out;
}

bool EndpointTarget::in_force(const fw_endpoint& there, const fw_endpoint& desired) const {
  fw_endpoint plain = there;
  plain.flags &= ~static_cast<__u32>(FW_EP_KEPT);
  return std::memcmp(&plain, &desired, sizeof(plain)) == 0;
}

bool NodeTarget::in_force(const fw_node& there, const fw_node& desired) const { return std::memcmp(&there, &desired, sizeof(there)) == 0; }

Status RouteTarget::update(const net::Prefix& pods, const compile::routing::Route& route) {
  hostnet::RemoteRange range;
  range.pods = pods;
  range.underlay = route.underlay;
  range.overlay = route.overlay;
  range.mtu = route.mtu;
  range.vni = device_.vni;
  const auto& own = device_.uplink.addresses;
  const auto source = std::find_if(own.begin(), own.end(), [&](const auto& a) { return a.family() == pods.family(); });
  if (source != own.end()) range.prefer_source = *source;
  return hostnet::apply_remote_range(range, device_.uplink, device_.vxlan_ifindex);
}

Result<std::vector<std::pair<net::Prefix, compile::routing::Route>>> RouteTarget::dump() {
  FW_ASSIGN(const auto ranges, hostnet::dump_remote_ranges());
  std::vector<std::pair<net::Prefix, compile::routing::Route>> out;
  for (const auto& pods : ranges) out.emplace_back(pods, compile::routing::Route{pods, {}, false, 0});
  return out;
}

}  // namespace fairway::sinks
