#include "agent/local_pods.h"

#include <cstring>
#include <set>

namespace fairway::agent {
namespace {

fw_endpoint endpoint_row(const model::LocalEndpoint& e) {
  fw_endpoint row{};
  row.ifindex = e.host_ifindex;
  row.flags = FW_EP_LOCAL;
  // The sandbox stands in where the runtime gave no uid: either differs for each pod that has had an address.
  row.generation = compile::routing::generation_of(e.sandbox_id);
  std::memcpy(row.mac, e.pod_mac.bytes.data(), sizeof(row.mac));
  return row;
}

fw_local_if local_if_row(const model::LocalEndpoint& e) {
  fw_local_if row{};
  for (const auto& ip : e.ips) (ip.is_v4() ? row.v4 : row.v6) = datapath::to_abi(ip);
  std::memcpy(row.mac, e.pod_mac.bytes.data(), sizeof(row.mac));
  std::memcpy(row.host_mac, e.host_mac.bytes.data(), sizeof(row.host_mac));
  return row;
}

}  // namespace

Status LocalPods::add(const model::LocalEndpoint& e) {
  FW_TRY(datapath_.put_local_if(e.host_ifindex, local_if_row(e)));
  FW_TRY(datapath_.attach_pod(e.host_ifindex));
  for (const auto& ip : e.ips) {
    flow_.claim_address(ip);
    FW_TRY(endpoints_.update(ip, endpoint_row(e)));
  }
  by_ifindex_[e.host_ifindex] = e;
  return {};
}

Status LocalPods::remove(const model::LocalEndpoint& e) {
  for (const auto& ip : e.ips) {
    // The address may be another pod's by now.
    const auto row = datapath_.endpoints().lookup(datapath::to_abi(ip));
    const bool ours = row.ok() && (row->flags & FW_EP_LOCAL) != 0 && row->ifindex == e.host_ifindex;
    if (!ours && row.ok()) continue;
    FW_TRY(endpoints_.remove(ip));
    flow_.release_address(ip);
  }
  if (e.host_ifindex != 0) {
    FW_TRY(datapath_.detach_pod(e.host_ifindex));
    FW_TRY(datapath_.local_ifs().remove(e.host_ifindex));
  }
  by_ifindex_.erase(e.host_ifindex);
  return {};
}

Status LocalPods::check(const model::LocalEndpoint& e) {
  const auto there = datapath_.local_ifs().lookup(e.host_ifindex);
  fw_local_if expected = local_if_row(e);
  if (!there.ok()) return Error(there.error()).with_context("local_ifs row of " + e.host_ifname);
  expected.flags = there->flags;
  if (std::memcmp(&*there, &expected, sizeof(expected)) != 0)
    return make_error(Code::kConflict, "local_ifs row of " + e.host_ifname + " is not this pod's");
  for (const auto& ip : e.ips) {
    const auto row = datapath_.endpoints().lookup(datapath::to_abi(ip));
    if (!row.ok()) return Error(row.error()).with_context("endpoints row of " + ip.to_string());
    if (!endpoints_.in_force(*row, endpoint_row(e)))
      return make_error(Code::kConflict, "endpoints row of " + ip.to_string() + " is not this pod's");
  }
  return {};
}

Status LocalPods::prune() {
  FW_ASSIGN(const auto ifs, datapath_.local_ifs().dump());
  FW_ASSIGN(const auto endpoints, datapath_.endpoints().dump());
  for (const auto& [addr, row] : endpoints)
    if ((row.flags & FW_EP_LOCAL) != 0 && !by_ifindex_.contains(row.ifindex)) FW_TRY(datapath_.endpoints().remove(addr));
  for (const auto& [ifindex, row] : ifs) {
    if (by_ifindex_.contains(ifindex)) continue;
    FW_TRY(datapath_.detach_pod(ifindex));
    FW_TRY(datapath_.local_ifs().remove(ifindex));
  }
  return {};
}

}  // namespace fairway::agent
