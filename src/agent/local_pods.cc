#include "agent/local_pods.h"

#include <cstring>
#include <set>

namespace fairway::agent {
namespace {

fw_endpoint endpoint_row(const model::LocalEndpoint& e) {
  fw_endpoint row{};
  row.ifindex = e.host_ifindex;
  row.flags = FW_EP_LOCAL;
  if (e.bandwidth.ingress_rate != 0) row.flags |= FW_EP_SHAPED;
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
  if (!e.port_mappings.empty()) row.flags |= FW_IF_HOST_PORT;
  return row;
}

std::string name_of(const model::LocalEndpoint& e) { return e.pod.name.empty() ? "sandbox " + e.sandbox_id : "pod " + e.pod.to_string(); }

}  // namespace

Status LocalPods::add(const model::LocalEndpoint& e) {
  FW_TRY(datapath_.put_local_if(e.host_ifindex, local_if_row(e)));
  FW_TRY(datapath_.attach_pod(e.host_ifindex));
  for (const auto& ip : e.ips) {
    flow_.claim_address(ip);
    FW_TRY(endpoints_.update(ip, endpoint_row(e)));
  }
  flow_.policy().add_local(e);
  auto ports = host_ports_of(e);
  by_ifindex_[e.host_ifindex] = {e, ports.ok() ? std::move(*ports) : std::vector<compile::services::Frontend>{}};
  FW_TRY(spread_host_ports());
  return ports.ok() ? Status{} : Status(std::move(ports).error());
}

// The error says which hostPort and why; one that another pod has may come free (kUnavailable).
Result<std::vector<compile::services::Frontend>> LocalPods::host_ports_of(const model::LocalEndpoint& e) const {
  FW_ASSIGN(auto ports, compile::services::compile_host_ports(e, node_ports_));
  for (const auto& [ifindex, other] : by_ifindex_) {
    if (ifindex == e.host_ifindex) continue;
    if (const auto clash = compile::services::first_clash(ports, other.host_ports))
      return make_error(Code::kUnavailable, "hostPort " + clash->to_string() + " belongs to " + name_of(other.endpoint));
  }
  return ports;
}

// All hostPorts of the node are one unit of rows, and few.
Status LocalPods::spread_host_ports() {
  std::vector<compile::services::Frontend> all;
  for (const auto& [ifindex, pod] : by_ifindex_) all.insert(all.end(), pod.host_ports.begin(), pod.host_ports.end());
  const bool any = !all.empty();
  if (!any && pruned_) FW_TRY(datapath_.set_node_frontends(false));
  FW_TRY(flow_.set_host_ports(std::move(all), std::chrono::steady_clock::now()));
  return any ? datapath_.set_node_frontends(true) : Status{};
}

std::vector<model::Problem> LocalPods::set_node_ports(const compile::services::NodePorts& node) {
  std::vector<model::Problem> problems;
  if (node == node_ports_) return problems;
  node_ports_ = node;
  for (auto& [ifindex, pod] : by_ifindex_) pod.host_ports.clear();
  for (auto& [ifindex, pod] : by_ifindex_) {
    auto ports = host_ports_of(pod.endpoint);
    if (ports.ok()) pod.host_ports = std::move(*ports);
    else problems.push_back({"hostPort", name_of(pod.endpoint) + ": " + ports.error().message});
  }
  if (const Status spread = spread_host_ports(); !spread.ok()) problems.push_back({"hostPort", spread.error().message});
  return problems;
}

std::string LocalPods::host_port_owner(const compile::services::FrontendKey& key) const {
  for (const auto& [ifindex, pod] : by_ifindex_)
    for (const auto& port : pod.host_ports)
      if (port.key == key) return pod.endpoint.pod.to_string();
  return {};
}

void LocalPods::admit(const model::LocalEndpoint& e, std::function<void(Status)> done) {
  joining_.insert(e.host_ifindex);
  flow_.policy().admit(e, std::chrono::steady_clock::now(), [this, ifindex = e.host_ifindex, done = std::move(done)](Status status) {
    joining_.erase(ifindex);
    done(std::move(status));
  });
}

const model::LocalEndpoint* LocalPods::find_running(std::uint32_t ifindex) const {
  const auto it = by_ifindex_.find(ifindex);
  return it == by_ifindex_.end() || joining_.contains(ifindex) ? nullptr : &it->second.endpoint;
}

std::string LocalPods::pod_of(std::uint32_t ifindex) const {
  const auto it = by_ifindex_.find(ifindex);
  return it == by_ifindex_.end() ? "" : it->second.endpoint.pod.to_string();
}

Status LocalPods::remove(const model::LocalEndpoint& e) {
  if (const auto pod = by_ifindex_.find(e.host_ifindex); pod != by_ifindex_.end() && !pod->second.host_ports.empty()) {
    pod->second.host_ports.clear();
    FW_TRY(spread_host_ports());
  }
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
  joining_.erase(e.host_ifindex);
  flow_.policy().remove_local(e);
  return {};
}

Status LocalPods::check(const model::LocalEndpoint& e) {
  const auto there = datapath_.local_ifs().lookup(e.host_ifindex);
  fw_local_if expected = local_if_row(e);
  if (!there.ok()) return Error(there.error()).with_context("local_ifs row of " + e.host_ifname);
  expected.flags |= there->flags;  // others set flags too
  if (std::memcmp(&*there, &expected, sizeof(expected)) != 0)
    return make_error(Code::kConflict, "local_ifs row of " + e.host_ifname + " is not this pod's");
  for (const auto& ip : e.ips) {
    const auto row = datapath_.endpoints().lookup(datapath::to_abi(ip));
    if (!row.ok()) return Error(row.error()).with_context("endpoints row of " + ip.to_string());
    if (!endpoints_.in_force(*row, endpoint_row(e)))
      return make_error(Code::kConflict, "endpoints row of " + ip.to_string() + " is not this pod's");
  }
  const auto pod = by_ifindex_.find(e.host_ifindex);
  return pod == by_ifindex_.end() ? Status{} : check_host_ports(pod->second);
}

Status LocalPods::check_host_ports(const Pod& pod) {
  for (const auto& port : pod.host_ports) {
    const std::string who = "hostPort " + port.key.to_string();
    const auto row = datapath_.frontends().lookup(compile::services::to_abi(port.key));
    if (!row.ok()) return Error(row.error()).with_context(who);
    FW_ASSIGN(const std::uint32_t id, datapath_.svc_slots().lookup(row->slot_base));
    const auto backend = datapath_.backends().lookup(id);
    if (!backend.ok()) return Error(backend.error()).with_context(who);
    if (row->flags != port.flags || row->count != 1 || datapath::from_abi(backend->addr) != port.backends.front().addr)
      return make_error(Code::kConflict, who + " does not lead to this pod");
  }
  return {};
}

Status LocalPods::prune() {
  pruned_ = true;
  FW_TRY(spread_host_ports());
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
