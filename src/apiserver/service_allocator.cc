#include "apiserver/service_allocator.h"

#include <fmt/format.h>

#include <algorithm>

#include "apiserver/schema_check.h"

namespace fairway::apiserver {
namespace {

std::string_view family_name(const net::IpAddr& address) { return address.is_v4() ? "IPv4" : "IPv6"; }

bool is_headless(const Object& spec) { return text_at(spec, "clusterIP") == "None"; }

bool has_cluster_ip(const Object& spec) { return text_at(spec, "type") != "ExternalName"; }

bool has_node_ports(const Object& spec) {
  const std::string_view type = text_at(spec, "type");
  return type == "NodePort" || (type == "LoadBalancer" && bool_at(spec, "allocateLoadBalancerNodePorts", true));
}

bool has_health_port(const Object& spec) {
  return text_at(spec, "type") == "LoadBalancer" && text_at(spec, "externalTrafficPolicy") == "Local";
}

ApiError failed(const Object& service, FieldErrors errors) {
  return invalid("", "Service", text_at(service, "metadata.name"), std::move(errors));
}

std::uint64_t static_band(const net::Prefix& range) { return std::min<std::uint64_t>(std::max<std::uint64_t>(16, range.size() / 16), 256); }

}  // namespace

ServiceAllocator::ServiceAllocator(Store& store, std::vector<net::Prefix> ranges, Ports ports) : ranges_(std::move(ranges)), ports_(ports) {
  for (const auto& [key, service] : store.objects("/services")) account(*service, +1);
  store.listen([this](const EventPtr& event) {
    if (event->collection == "/services") on_event(*event);
  });
}

void ServiceAllocator::on_event(const StoreEvent& event) {
  if (event.before) account(*event.before, -1);
  if (event.change != Change::kDeleted) account(*event.object, +1);
}

void ServiceAllocator::account(const StoredObject& service, int change) {
  const std::string owner = service.ns + "/" + service.name;
  auto count = [&](auto& map, const auto& key) {
    if (change > 0) {
      map[key].push_back(owner);
      return;
    }
    auto at = map.find(key);
    if (at == map.end()) return;
    auto found = std::find(at->second.begin(), at->second.end(), owner);
    if (found != at->second.end()) at->second.erase(found);
    if (at->second.empty()) map.erase(at);
  };
  const Object& spec = *object_at(service.value, "spec");
  for (const Json& ip : array_at(spec, "clusterIPs")) {
    auto address = net::IpAddr::parse(view(ip.get_string()));
    if (address.ok()) count(addresses_, *address);
  }
  for (const Json& port : array_at(spec, "ports")) {
    if (const auto number = int_at(port, "nodePort"); number != 0) count(node_ports_, PortKey(text_at(port, "protocol"), number));
  }
  if (const auto number = int_at(spec, "healthCheckNodePort"); number != 0) count(node_ports_, PortKey("TCP", number));
}

const net::Prefix* ServiceAllocator::range_of(std::string_view family) const {
  for (const net::Prefix& range : ranges_) {
    if (family_name(range.addr()) == family) return &range;
  }
  return nullptr;
}

bool ServiceAllocator::free_for(const net::IpAddr& address, const std::string& owner) const {
  auto at = addresses_.find(address);
  return at == addresses_.end() || std::all_of(at->second.begin(), at->second.end(), [&](const std::string& one) { return one == owner; });
}

// Random above the static band; the whole range, in order, once random luck has run out.
std::optional<net::IpAddr> ServiceAllocator::free_address(const net::Prefix& range) {
  const bool v4 = range.family() == net::Family::kV4;
  // Not the network's address; in IPv4 not the broadcast address either. More than 2^20 addresses are not looked at.
  const std::uint64_t count = std::min<std::uint64_t>(range.size() - (v4 ? 1 : 0), 1 << 20);
  const std::uint64_t band = static_band(range);
  for (int tries = 0; tries < 32 && count > band + 1; ++tries) {
    const auto address = range.nth(band + 1 + random_() % (count - band - 1));
    if (address && !addresses_.contains(*address)) return address;
  }
  for (const auto& [first, last] : {std::pair{band + 1, count}, std::pair<std::uint64_t, std::uint64_t>{1, std::min(band + 1, count)}}) {
    for (std::uint64_t i = first; i < last; ++i) {
      const auto address = range.nth(i);
      if (address && !addresses_.contains(*address)) return address;
    }
  }
  return std::nullopt;
}

void ServiceAllocator::choose_families(Object& spec, const Object* before, FieldErrors& errors) const {
  if (!has_cluster_ip(spec)) {
    for (const char* key : {"ipFamilies", "ipFamilyPolicy", "clusterIP", "clusterIPs"}) erase_key(spec, key);
    return;
  }
  Array families = array_at(spec, "ipFamilies");
  const Array& requested = array_at(spec, "clusterIPs");
  if (families.empty() && !requested.empty() && requested[0] != "None") {
    for (const Json& ip : requested) {
      if (auto address = net::IpAddr::parse(view(ip.get_string())); address.ok())
        families.emplace_back(boost::json::string(family_name(*address)));
    }
  }
  const bool selectorless_headless = is_headless(spec) && object_at(spec, "selector") == nullptr;
  std::string policy(text_at(spec, "ipFamilyPolicy"));
  if (policy.empty()) policy = families.size() > 1 || (selectorless_headless && families.empty()) ? "RequireDualStack" : "SingleStack";
  for (std::size_t i = 0; i < families.size(); ++i) {
    const std::string_view family = view(families[i].get_string());
    if (range_of(family) == nullptr && !selectorless_headless)
      errors.invalid(item("spec.ipFamilies", i), families[i], "not configured on this cluster");
    for (std::size_t k = 0; k < i; ++k) {
      if (families[k] == families[i]) errors.duplicate(item("spec.ipFamilies", i), families[i]);
    }
  }
  const std::size_t available = ranges_.size();
  if (policy == "RequireDualStack" && available < 2 && !selectorless_headless)
    errors.invalid("spec.ipFamilyPolicy", Json(boost::json::string(policy)), "this cluster is not configured for dual-stack services");
  if (policy == "SingleStack" && families.size() > 1) {
    if (before != nullptr) families.resize(1);
    else
      errors.invalid("spec.ipFamilyPolicy", Json("SingleStack"),
                     "must be 'RequireDualStack' or 'PreferDualStack' when multiple IP families are specified");
  }
  auto add = [&](std::string_view family) {
    const Json value = boost::json::string(family);
    if (std::find(families.begin(), families.end(), value) == families.end()) families.push_back(value);
  };
  const bool dual = policy != "SingleStack" && (available > 1 || selectorless_headless);
  if (families.empty() && !ranges_.empty()) add(family_name(ranges_[0].addr()));
  if (dual && families.size() < 2) {
    for (const net::Prefix& range : ranges_) add(family_name(range.addr()));
    if (selectorless_headless) {
      add("IPv4");
      add("IPv6");
    }
  }
  spec["ipFamilies"] = std::move(families);
  spec["ipFamilyPolicy"] = boost::json::string(policy);
}

void ServiceAllocator::choose_addresses(Object& spec, const std::string& owner, FieldErrors& errors) {
  if (!has_cluster_ip(spec)) return;
  if (is_headless(spec)) {
    spec["clusterIPs"] = Array{"None"};
    return;
  }
  Array addresses = array_at(spec, "clusterIPs");
  const Array& families = array_at(spec, "ipFamilies");
  if (addresses.size() > families.size()) addresses.resize(families.size());
  for (std::size_t i = 0; i < families.size(); ++i) {
    const net::Prefix* range = range_of(view(families[i].get_string()));
    if (range == nullptr) continue;  // told by choose_families
    if (i >= addresses.size()) {
      const auto address = free_address(*range);
      if (!address)
        return errors.invalid_strings("spec.clusterIPs", addresses,
                                      fmt::format("failed to allocate an address from range {}: range is full", range->to_string()));
      addresses.emplace_back(boost::json::string(address->to_string()));
      continue;
    }
    auto address = net::IpAddr::parse(view(addresses[i].get_string()));
    if (!address.ok()) continue;  // told by validation
    if (family_name(*address) != view(families[i].get_string())) {
      errors.invalid(item("spec.clusterIPs", i), addresses[i],
                     fmt::format("expected an {} value as indicated by `ipFamilies[{}]`", view(families[i].get_string()), i));
    } else if (!range->contains(*address) || *address == range->addr()) {
      errors.invalid_strings(
          "spec.clusterIPs", addresses,
          fmt::format("failed to allocate IP {}: the provided IP ({}) is not in the valid range. The range of valid IPs is {}",
                      address->to_string(), address->to_string(), range->to_string()));
    } else if (!free_for(*address, owner)) {
      errors.invalid_strings("spec.clusterIPs", addresses,
                             fmt::format("failed to allocate IP {}: provided IP is already allocated", address->to_string()));
    }
  }
  if (!addresses.empty()) spec["clusterIP"] = addresses[0];
  spec["clusterIPs"] = std::move(addresses);
}

std::optional<std::uint16_t> ServiceAllocator::free_port(const std::string& protocol, const std::map<PortKey, bool>& taken) {
  const unsigned count = ports_.last - ports_.first + 1U;
  const unsigned start = random_() % count;
  for (unsigned i = 0; i < count; ++i) {
    const auto port = static_cast<std::uint16_t>(ports_.first + (start + i) % count);
    if (!node_ports_.contains({protocol, port}) && !taken.contains({protocol, port})) return port;
  }
  return std::nullopt;
}

void ServiceAllocator::choose_node_ports(Object& spec, const Object* before, const std::string& owner, FieldErrors& errors) {
  std::map<PortKey, bool> taken;
  auto check = [&](const std::string& path, const std::string& protocol, std::uint16_t port) {
    auto used = node_ports_.find({protocol, port});
    const bool foreign = used != node_ports_.end() &&
                         std::any_of(used->second.begin(), used->second.end(), [&](const std::string& one) { return one != owner; });
    const bool own = before != nullptr && used != node_ports_.end() && !foreign;
    if ((port < ports_.first || port > ports_.last) && !own) {
      errors.invalid(path, port,
                     fmt::format("provided port is not in the valid range. The range of valid ports is {}-{}", ports_.first, ports_.last));
    } else if (foreign || !taken.emplace(PortKey(protocol, port), true).second) {
      errors.invalid(path, port, "provided port is already allocated");
    }
  };
  Json* ports = spec.if_contains("ports");
  const bool wanted = has_node_ports(spec);
  if (ports != nullptr && ports->is_array()) {
    Array& list = ports->get_array();
    for (std::size_t i = 0; i < list.size(); ++i) {
      if (const auto port = int_at(list[i], "nodePort"); port != 0 && wanted)
        check(item("spec.ports", i) + ".nodePort", std::string(text_at(list[i], "protocol")), static_cast<std::uint16_t>(port));
    }
    for (Json& one : list) {
      if (!wanted || int_at(one, "nodePort") != 0) continue;
      // One number for the same port over TCP and UDP (DNS), where it is free.
      const std::string protocol(text_at(one, "protocol"));
      std::optional<std::uint16_t> port;
      for (const Json& other : list) {
        const auto number = static_cast<std::uint16_t>(int_at(other, "nodePort"));
        if (number != 0 && int_at(other, "port") == int_at(one, "port") && !node_ports_.contains({protocol, number}) &&
            !taken.contains({protocol, number}))
          port = number;
      }
      if (!port) port = free_port(protocol, taken);
      if (!port) return errors.invalid("spec.ports", Json(nullptr), "failed to allocate a nodePort: range is full");
      taken.emplace(PortKey(protocol, *port), true);
      one.get_object()["nodePort"] = std::int64_t{*port};
    }
  }
  if (!has_health_port(spec)) return erase_key(spec, "healthCheckNodePort");
  if (const auto port = int_at(spec, "healthCheckNodePort"); port != 0)
    return check("spec.healthCheckNodePort", "TCP", static_cast<std::uint16_t>(port));
  if (const auto port = free_port("TCP", taken)) spec["healthCheckNodePort"] = std::int64_t{*port};
  else errors.invalid("spec.healthCheckNodePort", 0, "failed to allocate a port: range is full");
}

ApiStatus ServiceAllocator::allocate(Object& service, const Object* before) {
  Object& spec = ensure_object(service, "spec");
  const std::string owner = fmt::format("{}/{}", text_at(service, "metadata.namespace"), text_at(service, "metadata.name"));
  FieldErrors errors;
  choose_families(spec, before, errors);
  if (errors.empty()) choose_addresses(spec, owner, errors);
  if (errors.empty()) choose_node_ports(spec, before, owner, errors);
  if (!errors.empty()) return failed(service, std::move(errors));
  return Done{};
}

}  // namespace fairway::apiserver
