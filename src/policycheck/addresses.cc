#include <algorithm>

#include "policycheck/check.h"

namespace fairway::policycheck {
namespace {

bool is_one(const net::Prefix& network) { return network.length() == (network.family() == net::Family::kV4 ? 32U : 128U); }

// What to ask for instead of a Service: the pods behind it, on the ports that they listen on.
std::string pods_behind(const Service& service) {
  if (service.selector.empty()) return "it selects no pods: name what its endpoints are";
  std::string labels, ports;
  for (const auto& [key, value] : service.selector) labels += (labels.empty() ? "" : ",") + key + "=" + value;
  for (const ServicePort& port : service.ports) {
    const std::string number = port.target != 0 ? std::to_string(port.target) : "the port that they name \"" + port.target_name + "\"";
    ports +=
        (ports.empty() ? "" : ", ") + number + " (" + std::to_string(port.port) + "/" + std::string(net::to_string(port.protocol)) + ")";
  }
  return "ask for " + service.id.ns + "/{" + labels + "} on the pods' port: " + ports;
}

constexpr const char* kInstead =
    "a network or address here means one outside the cluster; name NAMESPACE/NAME or {label=value} for pods, nodes, or outside";

}  // namespace

void Check::index_addresses() {
  const auto add = [&](const net::IpAddr& addr, const End& end) {
    auto& ends = by_address_[addr];
    if (ends.empty() || ends.back() != &end) ends.push_back(&end);
  };
  for (const End& end : ends_) {
    if (end.kind == End::Kind::kNodes)
      for (const auto& node : inventory_.state.nodes)
        for (const auto& addr : node.addresses) add(addr, end);
    if (end.kind != End::Kind::kWorkload) continue;
    for (const std::size_t pod : workload(end).pods)
      if (const model::Pod& row = inventory_.state.pods[pod]; counts(row))
        for (const auto& addr : row.ips)
          if (!inventory_.invented.contains(addr)) add(addr, end);
  }
  for (const Service& service : inventory_.services)
    for (const auto& addr : service.addresses) services_.emplace(addr, &service);
}

Result<std::vector<const End*>> Check::ends_at(const net::Prefix& network) const {
  const std::string name = is_one(network) ? network.addr().to_string() : network.to_string();
  const auto owned = by_address_.lower_bound(network.addr());
  const bool has_owned = owned != by_address_.end() && network.contains(owned->first);
  if (has_owned && is_one(network)) return owned->second;
  const auto service = services_.lower_bound(network.addr());
  if (service != services_.end() && network.contains(service->first))
    return make_error(Code::kInvalid, name + (is_one(network) ? " is" : " has the address of") + " Service " +
                                          service->second->id.to_string() + ": policies look at its pods, not at it; " +
                                          pods_behind(*service->second));
  if (has_owned)
    return make_error(Code::kInvalid, name + " has " + owned->first.to_string() + " of " + owned->second.front()->name + ": " + kInstead);
  for (const auto* ranges : {&inventory_.pod_ranges, &inventory_.service_ranges})
    for (const auto& range : *ranges) {
      if (!range.overlaps(network)) continue;
      const char* whose = ranges == &inventory_.pod_ranges ? "pods" : "Services";
      return make_error(Code::kInvalid, name + (is_one(network) ? " is no known one, in the range of " : " overlaps the range of ") +
                                            whose + " (" + range.to_string() + "): " + kInstead);
    }
  std::vector<const End*> out;
  const auto ids = parties_.outside_within(network);
  for (const End& end : ends_)
    if (end.kind == End::Kind::kOutside && std::binary_search(ids.begin(), ids.end(), end.parties.front())) out.push_back(&end);
  return out;
}

}  // namespace fairway::policycheck
