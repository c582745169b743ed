// Model rows: what Fairway knows of the cluster, independent of the API's spelling.
// Reflectors write them (src/reflect), compilers read them (src/compile). Open data, no behaviour.
#pragma once

#include <compare>
#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <variant>
#include <vector>

#include "net/ip.h"

namespace fairway::model {

using Labels = std::map<std::string, std::string>;

// Namespaced name; the key of most rows.
struct Name {
  std::string ns;
  std::string name;
  std::string to_string() const { return ns.empty() ? name : ns + "/" + name; }
  auto operator<=>(const Name&) const = default;
};

struct Namespace {
  std::string name;
  Labels labels;
  bool terminating = false;
  bool operator==(const Namespace&) const = default;
};

struct Node {
  std::string name;
  Labels labels;
  std::vector<net::IpAddr> addresses;  // InternalIP, at most one a family, primary first
  std::vector<net::Prefix> pod_cidrs;
  std::string zone;
  // What else status.addresses has (ExternalIP, a family's second): to peers of policy the node too, but nothing leads there.
  std::vector<net::IpAddr> other_addresses;
  // Its condition Ready is not True. To tell people of: nothing is compiled from it, as pods of such a node may well be reached.
  struct Unready {
    std::string since;    // as the API writes times
    std::string message;  // printable, short
    bool operator==(const Unready&) const = default;
  };
  std::optional<Unready> unready = {};
  bool operator==(const Node&) const = default;
};

struct NamedPort {
  std::string name;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t port = 0;
  bool operator==(const NamedPort&) const = default;
};

struct Pod {
  Name id;
  std::string uid;
  std::string node;
  bool host_network = false;
  bool terminated = false;  // Succeeded or Failed: its address may belong to another
  std::vector<net::IpAddr> ips;
  Labels labels;
  std::vector<NamedPort> ports;
  bool operator==(const Pod&) const = default;
};

struct ServicePort {
  std::string name;
  net::Protocol protocol = net::Protocol::kTcp;
  std::uint16_t port = 0;
  std::uint16_t node_port = 0;
  bool operator==(const ServicePort&) const = default;
};

enum class ServiceType { kClusterIp, kNodePort, kLoadBalancer, kExternalName };

struct Service {
  Name id;
  std::string uid;
  ServiceType type = ServiceType::kClusterIp;
  bool headless = false;
  std::vector<net::IpAddr> cluster_ips;
  std::vector<ServicePort> ports;
  std::string external_name;
  std::optional<std::uint32_t> affinity_seconds;  // sessionAffinity ClientIP
  bool internal_local = false;                    // internalTrafficPolicy: Local
  bool external_local = false;                    // externalTrafficPolicy: Local
  bool publish_not_ready = false;
  Labels labels;
  bool operator==(const Service&) const = default;
};

struct Endpoint {
  net::IpAddr addr;
  bool ready = true;
  bool serving = true;
  bool terminating = false;
  std::string hostname;
  std::string node;
  std::string zone;
  Name target;  // the pod, or empty
  bool operator==(const Endpoint&) const = default;
};

struct EndpointSlice {
  Name id;
  Name service;  // from the label kubernetes.io/service-name
  net::Family family = net::Family::kV4;
  std::vector<NamedPort> ports;
  std::vector<Endpoint> endpoints;
  bool operator==(const EndpointSlice&) const = default;
};

}  // namespace fairway::model
