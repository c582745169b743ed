// Addresses, prefixes and MACs: values, text, and the 16-byte form that the BPF maps use.
//
// IpAddr is always 16 bytes, an IPv4 address v4-mapped (::ffff:a.b.c.d, RFC 4291 2.5.5.2),
// so that both families share one code path (design section 4).
#pragma once

#include <array>
#include <compare>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fairway::net {

enum class Family : std::uint8_t { kV4 = 4, kV6 = 6 };

class IpAddr {
 public:
  constexpr IpAddr() = default;  // ::, "no address"
  static IpAddr v4(std::uint32_t host_order);
  static IpAddr from_bytes(std::span<const std::uint8_t, 16> bytes);
  static IpAddr from_v4_bytes(std::span<const std::uint8_t, 4> bytes);
  // Strict textual form, no zone, no port, no leading zeros in IPv4 (CVE-2021-29923 class).
  static Result<IpAddr> parse(std::string_view text);

  bool is_v4() const;
  Family family() const { return is_v4() ? Family::kV4 : Family::kV6; }
  unsigned bits() const { return is_v4() ? 32 : 128; }  // the length of a prefix that holds this address alone
  bool is_unset() const { return *this == IpAddr{}; }
  bool is_loopback() const;
  bool is_link_local() const;
  bool is_multicast() const;
  std::uint32_t v4_host_order() const;  // CHECKs is_v4()
  const std::array<std::uint8_t, 16>& bytes() const { return bytes_; }
  std::array<std::uint8_t, 4> v4_bytes() const;  // CHECKs is_v4()
  std::string to_string() const;                 // RFC 5952
  auto operator<=>(const IpAddr&) const = default;

 private:
  std::array<std::uint8_t, 16> bytes_{};
};

// A CIDR. `length` counts within the family: 0..32 or 0..128.
class Prefix {
 public:
  Prefix() = default;
  explicit Prefix(IpAddr addr) : Prefix(addr, addr.bits()) {}
  Prefix(IpAddr addr, unsigned length);                // masks the host bits
  static Result<Prefix> parse(std::string_view text);  // "10.0.0.0/8"; refuses set host bits
  // As the API reads a NetworkPolicy's ipBlock: host bits may be set and do not count. Refuses v4-mapped addresses.
  static Result<Prefix> parse_masking(std::string_view text);
  IpAddr addr() const { return addr_; }
  unsigned length() const { return length_; }
  Family family() const { return addr_.family(); }
  bool contains(const IpAddr& addr) const;
  bool overlaps(const Prefix& other) const;
  // The n-th address of the prefix (0 = the network address), or nothing past its end.
  std::optional<IpAddr> nth(std::uint64_t n) const;
  std::uint64_t size() const;  // saturates at 2^63
  std::string to_string() const;
  auto operator<=>(const Prefix&) const = default;

 private:
  IpAddr addr_;
  unsigned length_ = 0;
};

struct MacAddr {
  std::array<std::uint8_t, 6> bytes{};
  static Result<MacAddr> parse(std::string_view text);
  std::string to_string() const;
  auto operator<=>(const MacAddr&) const = default;
};

enum class Protocol : std::uint8_t { kTcp = 6, kUdp = 17, kSctp = 132 };  // IANA numbers
std::string_view to_string(Protocol protocol);                            // "TCP": the API's spelling
std::optional<Protocol> parse_protocol(std::string_view text);

// "10.0.0.1:80" or "[fd00::1]:80"
struct SocketAddr {
  IpAddr addr;
  std::uint16_t port = 0;  // host order
  static Result<SocketAddr> parse(std::string_view text);
  std::string to_string() const;
  auto operator<=>(const SocketAddr&) const = default;
};

}  // namespace fairway::net

template <>
struct std::hash<fairway::net::IpAddr> {
  std::size_t operator()(const fairway::net::IpAddr& addr) const noexcept;
};
