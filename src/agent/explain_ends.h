// Who is meant by a word of `fairway explain`.
#pragma once

#include <boost/json/array.hpp>
#include <optional>
#include <string>
#include <vector>

#include "agent/explain.h"

namespace fairway::agent {

struct End {
  enum class Kind { kAddress, kPod, kNode, kService };
  Kind kind = Kind::kAddress;
  std::string name;  // "default/web", "node-1"; empty: an address that nobody has
  std::string node;  // that it is on; empty: none
  std::vector<net::IpAddr> ips;
  std::optional<model::Service> service;
  std::optional<model::Pod> pod;
  std::string by_name;             // the DNS name, in full, that led here
  std::vector<net::IpAddr> named;  // every address that it has, this end's first
};

Result<End> find_end(const View& view, const std::string& word, const Question& question);

// The receiver's port by number or name. kInvalid with the ports that there are.
struct Port {
  std::uint16_t number = 0;
  std::uint8_t protocol = 6;
};
Result<Port> find_port(const End& to, const Question& question);

// Of the family that both have, IPv4 first unless IPv6 is asked for.
Result<std::pair<net::IpAddr, net::IpAddr>> common_family(const End& from, const End& to, bool v6);

}  // namespace fairway::agent
