// ServiceAllocator: gives Services their cluster IPs and node ports (pkg/registry/core/service in upstream).
//
// What is in use is derived from the Services in the store, at start and with each event, so it cannot go stale:
// there is no second record to repair. Static addresses are best asked for in the lower band of a range (KEP-3070);
// random ones come from above it while there is room.
#pragma once

#include <map>
#include <random>
#include <string>
#include <unordered_map>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/store.h"
#include "net/ip.h"

namespace fairway::apiserver {

class ServiceAllocator {
 public:
  struct Ports {
    std::uint16_t first = 30000, last = 32767;
  };
  ServiceAllocator(Store& store, std::vector<net::Prefix> ranges, Ports ports);

  // Completes ipFamilies, ipFamilyPolicy, clusterIP, clusterIPs, nodePort and healthCheckNodePort. `before` null: a new one.
  // Nothing is reserved until the object is stored.
  ApiStatus allocate(Object& service, const Object* before);

 private:
  using PortKey = std::pair<std::string, std::uint16_t>;  // protocol, port

  void on_event(const StoreEvent& event);
  void account(const StoredObject& service, int change);
  void choose_families(Object& spec, const Object* before, FieldErrors& errors) const;
  void choose_addresses(Object& spec, const std::string& owner, FieldErrors& errors);
  void choose_node_ports(Object& spec, const Object* before, const std::string& owner, FieldErrors& errors);
  const net::Prefix* range_of(std::string_view family) const;
  std::optional<net::IpAddr> free_address(const net::Prefix& range);
  std::optional<std::uint16_t> free_port(const std::string& protocol, const std::map<PortKey, bool>& taken);
  bool free_for(const net::IpAddr& address, const std::string& owner) const;

  std::vector<net::Prefix> ranges_;
  Ports ports_;
  std::unordered_map<net::IpAddr, std::vector<std::string>> addresses_;  // -> "ns/name"
  std::map<PortKey, std::vector<std::string>> node_ports_;
  std::minstd_rand random_{std::random_device{}()};
};

}  // namespace fairway::apiserver
