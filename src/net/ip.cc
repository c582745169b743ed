#include "net/ip.h"

#include <arpa/inet.h>

#include <charconv>
#include <cstring>

#include "base/check.h"

namespace fairway::net {
namespace {

constexpr std::array<std::uint8_t, 12> kV4Mapped = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Result<unsigned> parse_number(std::string_view text, unsigned max, std::string_view what) {
  unsigned value = 0;
  auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), value);
  if (ec != std::errc{} || end != text.data() + text.size() || text.empty() || value > max || (text.size() > 1 && text[0] == '0'))
    return make_error(Code::kInvalid,
                      std::string(what) + " \"" + std::string(text) + "\" is not a number from 0 to " + std::to_string(max));
  return value;
}

}  // namespace

IpAddr IpAddr::v4(std::uint32_t host_order) {
  IpAddr out;
  std::memcpy(out.bytes_.data(), kV4Mapped.data(), 12);
  const std::uint32_t wire = htonl(host_order);
  std::memcpy(out.bytes_.data() + 12, &wire, 4);
  return out;
}

IpAddr IpAddr::from_bytes(std::span<const std::uint8_t, 16> bytes) {
  IpAddr out;
  std::memcpy(out.bytes_.data(), bytes.data(), 16);
  return out;
}

IpAddr IpAddr::from_v4_bytes(std::span<const std::uint8_t, 4> bytes) {
  std::uint32_t wire;
  std::memcpy(&wire, bytes.data(), 4);
  return v4(ntohl(wire));
}

Result<IpAddr> IpAddr::parse(std::string_view text) {
  const std::string copy(text.substr(0, 64));
  in_addr four{};
  if (copy.size() == text.size() && inet_pton(AF_INET, copy.c_str(), &four) == 1) return v4(ntohl(four.s_addr));
  IpAddr out;
  if (copy.size() == text.size() && inet_pton(AF_INET6, copy.c_str(), out.bytes_.data()) == 1) return out;
  return make_error(Code::kInvalid, "\"" + copy + "\" is not an IP address");
}

bool IpAddr::is_v4() const { return std::memcmp(bytes_.data(), kV4Mapped.data(), 12) == 0; }

bool IpAddr::is_loopback() const {
  if (is_v4()) return bytes_[12] == 127;
  IpAddr one;
  one.bytes_[15] = 1;
  return *this == one;
}

bool IpAddr::is_link_local() const {
  return is_v4() ? bytes_[12] == 169 && bytes_[13] == 254 : bytes_[0] == 0xfe && (bytes_[1] & 0xc0) == 0x80;
}

bool IpAddr::is_multicast() const { return is_v4() ? (bytes_[12] & 0xf0) == 0xe0 : bytes_[0] == 0xff; }

std::uint32_t IpAddr::v4_host_order() const {
  FW_CHECK(is_v4());
  std::uint32_t wire;
  std::memcpy(&wire, bytes_.data() + 12, 4);
  return ntohl(wire);
}

std::array<std::uint8_t, 4> IpAddr::v4_bytes() const {
  FW_CHECK(is_v4());
  return {bytes_[12], bytes_[13], bytes_[14], bytes_[15]};
}

std::string IpAddr::to_string() const {
  char text[INET6_ADDRSTRLEN];
  if (is_v4()) return inet_ntop(AF_INET, bytes_.data() + 12, text, sizeof text);
  return inet_ntop(AF_INET6, bytes_.data(), text, sizeof text);
}

Prefix::Prefix(IpAddr addr, unsigned length) : length_(length) {
  const bool v4 = addr.is_v4();
  FW_CHECK(length <= (v4 ? 32U : 128U));
  auto bytes = addr.bytes();
  const unsigned keep = length + (v4 ? 96 : 0);
  for (unsigned i = 0; i < 16; ++i) {
    if (i * 8 >= keep) bytes[i] = 0;
    else if (i * 8 + 8 > keep) bytes[i] &= static_cast<std::uint8_t>(0xff << (i * 8 + 8 - keep));
  }
  addr_ = IpAddr::from_bytes(bytes);
}

namespace {

Result<std::pair<IpAddr, unsigned>> parse_cidr(std::string_view text) {
  const auto slash = text.find('/');
  if (slash == std::string_view::npos) return make_error(Code::kInvalid, "\"" + std::string(text.substr(0, 64)) + "\" is not a CIDR");
  FW_ASSIGN(const IpAddr addr, IpAddr::parse(text.substr(0, slash)));
  FW_ASSIGN(const unsigned length, parse_number(text.substr(slash + 1).substr(0, 64), addr.bits(), "prefix length"));
  return std::pair(addr, length);
}

}  // namespace

Result<Prefix> Prefix::parse(std::string_view text) {
  FW_ASSIGN(const auto cidr, parse_cidr(text));
  Prefix out(cidr.first, cidr.second);
  if (out.addr_ != cidr.first)
    return make_error(Code::kInvalid, "\"" + std::string(text) + "\" has host bits set; did you mean " + out.to_string() + "?");
  return out;
}

Result<Prefix> Prefix::parse_masking(std::string_view text) {
  FW_ASSIGN(const auto cidr, parse_cidr(text));
  // Its length would count within 128 bits there, and within 32 here.
  if (cidr.first.is_v4() && text.find(':') != std::string_view::npos)
    return make_error(Code::kInvalid, "\"" + std::string(text) + "\" is an IPv4-mapped IPv6 address; write it as IPv4");
  return Prefix(cidr.first, cidr.second);
}

bool Prefix::contains(const IpAddr& addr) const { return addr.family() == family() && Prefix(addr, length_).addr_ == addr_; }

bool Prefix::overlaps(const Prefix& other) const { return contains(other.addr_) || other.contains(addr_); }

std::uint64_t Prefix::size() const {
  const unsigned host_bits = addr_.bits() - length_;
  return host_bits >= 63 ? std::uint64_t{1} << 63 : std::uint64_t{1} << host_bits;
}

std::optional<IpAddr> Prefix::nth(std::uint64_t n) const {
  if (n >= size()) return std::nullopt;
  auto bytes = addr_.bytes();
  for (int i = 15; i >= 0 && n > 0; --i) {
    n += bytes[static_cast<std::size_t>(i)];
    bytes[static_cast<std::size_t>(i)] = static_cast<std::uint8_t>(n);
    n >>= 8;
  }
  return IpAddr::from_bytes(bytes);
}

std::string Prefix::to_string() const { return addr_.to_string() + "/" + std::to_string(length_); }

Result<MacAddr> MacAddr::parse(std::string_view text) {
  MacAddr out;
  bool good = text.size() == 17;
  for (unsigned i = 0; good && i < 6; ++i) {
    const char* begin = text.data() + i * 3;
    auto [end, ec] = std::from_chars(begin, begin + 2, out.bytes[i], 16);
    good = ec == std::errc{} && end == begin + 2 && (i == 5 || text[i * 3 + 2] == ':');
  }
  if (!good) return make_error(Code::kInvalid, "\"" + std::string(text.substr(0, 64)) + "\" is not a MAC address");
  return out;
}

std::string MacAddr::to_string() const {
  char text[18];
  std::snprintf(text, sizeof text, "%02x:%02x:%02x:%02x:%02x:%02x", bytes[0], bytes[1], bytes[2], bytes[3], bytes[4], bytes[5]);
  return text;
}

std::string_view to_string(Protocol protocol) {
  switch (protocol) {
    case Protocol::kTcp:
      return "TCP";
    case Protocol::kUdp:
      return "UDP";
    case Protocol::kSctp:
      return "SCTP";
  }
  return "?";
}

std::optional<Protocol> parse_protocol(std::string_view text) {
  if (text == "TCP") return Protocol::kTcp;
  if (text == "UDP") return Protocol::kUdp;
  if (text == "SCTP") return Protocol::kSctp;
  return std::nullopt;
}

Result<SocketAddr> SocketAddr::parse(std::string_view text) {
  const auto colon = text.rfind(':');
  if (colon == std::string_view::npos) return make_error(Code::kInvalid, "\"" + std::string(text.substr(0, 64)) + "\" has no port");
  auto host = text.substr(0, colon);
  if (host.size() >= 2 && host.front() == '[' && host.back() == ']') host = host.substr(1, host.size() - 2);
  SocketAddr out;
  FW_ASSIGN(out.addr, IpAddr::parse(host));
  FW_ASSIGN(const unsigned port, parse_number(text.substr(colon + 1), 65535, "port"));
  out.port = static_cast<std::uint16_t>(port);
  return out;
}

std::string SocketAddr::to_string() const {
  return (addr.is_v4() ? addr.to_string() : "[" + addr.to_string() + "]") + ":" + std::to_string(port);
}

}  // namespace fairway::net

std::size_t std::hash<fairway::net::IpAddr>::operator()(const fairway::net::IpAddr& addr) const noexcept {
  std::uint64_t words[2];
  std::memcpy(words, addr.bytes().data(), 16);
  std::uint64_t x = words[0] * 0x9e3779b97f4a7c15ULL ^ words[1];
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  return x;
}
