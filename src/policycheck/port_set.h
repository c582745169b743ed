// PortSet: what passes from one end to another: ranges of ports of TCP, UDP and SCTP, and whether what has no ports (ICMP) does.
// A value in one canonical form: equal sets compare equal. Pure.
#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "net/ip.h"

namespace fairway::policycheck {

class PortSet {
 public:
  // A port of a protocol as one number, so that the three spaces lie behind each other.
  using Key = std::uint32_t;
  static constexpr Key kEnd = 3 << 16;
  static Key key_of(net::Protocol protocol, std::uint16_t port);

  static PortSet all();
  static PortSet port(net::Protocol protocol, std::uint16_t port);
  static PortSet range(net::Protocol protocol, std::uint16_t first, std::uint16_t last);
  // Keys begin..end-1 come behind all that were added before.
  void append(Key begin, Key end);
  void set_other(bool passes) { other_ = passes; }

  bool empty() const { return ranges_.empty() && !other_; }
  bool is_all() const { return *this == all(); }
  bool other() const { return other_; }  // protocols without ports
  bool has(net::Protocol protocol, std::uint16_t port) const;
  const std::vector<std::pair<Key, Key>>& ranges() const { return ranges_; }  // half open, sorted, apart

  PortSet operator&(const PortSet& o) const;
  PortSet operator|(const PortSet& o) const;
  PortSet operator-(const PortSet& o) const;
  bool operator==(const PortSet&) const = default;

  // "all", "none", "80,443", "53/udp", "8000-8010", "TCP", "all but 22".
  std::string to_string() const;

 private:
  std::string listed() const;
  template <typename Keep>
  PortSet merged(const PortSet& o, Keep keep) const;

  std::vector<std::pair<Key, Key>> ranges_;
  bool other_ = false;
};

}  // namespace fairway::policycheck
