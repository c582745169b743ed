// A cluster of any size, as text of the API: what the rows that measure the way from event to map are fed with.
// Service i is default/svc-i with one port and the address 10.96.0.0 + 256 + i; its endpoints are pods of four other
// addresses each, on nodes that nobody knows.
#pragma once

#include <string>
#include <vector>

#include "net/ip.h"

namespace fairway::bench {

net::IpAddr service_addr(unsigned i);
net::IpAddr endpoint_addr(unsigned service, unsigned n);
constexpr std::uint16_t kServicePort = 80;

// `endpoints`: how many, or the addresses themselves.
std::string service_json(unsigned i);
std::string slice_json(unsigned service, const std::vector<net::IpAddr>& endpoints, std::uint16_t target_port, unsigned revision);
std::vector<net::IpAddr> usual_endpoints(unsigned service, unsigned count);
// A pod as large as real ones are (10 KB with managedFields, env, volumes and status).
std::string pod_json(unsigned i, std::size_t bytes);
std::string remote_pod_json(unsigned i, const std::string& node, const net::IpAddr& addr, std::size_t bytes);
std::string node_json(const std::string& name, const net::IpAddr& addr, const std::string& pod_cidr);

// Objects as pages of a list: `kind` "ServiceList".
std::string list_json(const std::string& kind, const std::string& api_version, const std::vector<std::string>& items);
std::string event_json(const std::string& type, const std::string& object);  // one line of a watch, with its newline

}  // namespace fairway::bench
