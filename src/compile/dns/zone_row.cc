#include "compile/dns/zone_row.h"

#include <algorithm>
#include <array>
#include <cstring>

#include "base/check.h"

namespace fairway::compile::dns {

namespace {

class Writer {
 public:
  template <typename Int>
  void number(Int value) {
    out_.append(reinterpret_cast<const char*>(&value), sizeof value);
  }
  void addr(const net::IpAddr& a) { out_.append(reinterpret_cast<const char*>(a.bytes().data()), 16); }
  void text(std::string_view s) {
    FW_CHECK(s.size() <= 255);
    number(static_cast<std::uint8_t>(s.size()));
    out_.append(s);
  }
  std::string take() { return std::move(out_); }

 private:
  std::string out_;
};

// Reads what Writer wrote; a row is never input from outside, so running over its end is our own mistake.
class Reader {
 public:
  explicit Reader(std::string_view bytes) : rest_(bytes) {}
  template <typename Int>
  Int number() {
    Int value;
    std::memcpy(&value, take(sizeof value).data(), sizeof value);
    return value;
  }
  net::IpAddr addr() {
    std::array<std::uint8_t, 16> bytes;
    std::memcpy(bytes.data(), take(16).data(), 16);
    return net::IpAddr::from_bytes(bytes);
  }
  std::string_view text() { return take(number<std::uint8_t>()); }
  bool done() const { return rest_.empty(); }

 private:
  std::string_view take(std::size_t n) {
    FW_CHECK(n <= rest_.size());
    std::string_view out = rest_.substr(0, n);
    rest_.remove_prefix(n);
    return out;
  }
  std::string_view rest_;
};

}  // namespace

std::string encode(const ServiceRow& row) {
  Writer w;
  w.number(static_cast<std::uint8_t>(row.kind));
  if (row.kind == ServiceRow::Kind::kExternal) {
    w.text(row.external);
    return w.take();
  }
  w.number(static_cast<std::uint8_t>(row.addrs.size()));
  for (const auto& a : row.addrs) w.addr(a);
  w.number(static_cast<std::uint16_t>(row.port_sets.size()));
  for (const auto& set : row.port_sets) {
    w.number(static_cast<std::uint16_t>(set.size()));
    for (const auto& p : set) {
      w.text(p.name);
      w.number(static_cast<std::uint8_t>(p.protocol));
      w.number(p.port);
    }
  }
  if (row.kind != ServiceRow::Kind::kHeadless) return w.take();
  w.number(static_cast<std::uint32_t>(row.endpoints.size()));
  for (const auto& e : row.endpoints) {
    w.addr(e.addr);
    w.text(e.hostname);
    w.number(e.port_set);
  }
  return w.take();
}

ServiceRow decode_service(std::string_view bytes) {
  Reader r(bytes);
  ServiceRow row;
  row.kind = static_cast<ServiceRow::Kind>(r.number<std::uint8_t>());
  if (row.kind == ServiceRow::Kind::kExternal) {
    row.external = r.text();
    return row;
  }
  row.addrs.resize(r.number<std::uint8_t>());
  for (auto& a : row.addrs) a = r.addr();
  row.port_sets.resize(r.number<std::uint16_t>());
  for (auto& set : row.port_sets) {
    set.resize(r.number<std::uint16_t>());
    for (auto& p : set) {
      p.name = r.text();
      p.protocol = static_cast<net::Protocol>(r.number<std::uint8_t>());
      p.port = r.number<std::uint16_t>();
    }
  }
  if (row.kind != ServiceRow::Kind::kHeadless) return row;
  row.endpoints.resize(r.number<std::uint32_t>());
  for (auto& e : row.endpoints) {
    e.addr = r.addr();
    e.hostname = r.text();
    e.port_set = r.number<std::uint16_t>();
  }
  return row;
}

std::string encode(const NamespaceRow& row) {
  Writer w;
  w.number(row.services);
  w.number(row.pods);
  return w.take();
}

NamespaceRow decode_namespace(std::string_view bytes) {
  Reader r(bytes);
  NamespaceRow row;
  row.services = r.number<std::uint32_t>();
  row.pods = r.number<std::uint32_t>();
  return row;
}

std::string encode_addrs(const std::vector<net::IpAddr>& addrs) {
  Writer w;
  for (const auto& a : addrs) w.addr(a);
  return w.take();
}

std::vector<net::IpAddr> decode_addrs(std::string_view bytes) {
  std::vector<net::IpAddr> out;
  for (Reader r(bytes); !r.done();) out.push_back(r.addr());
  return out;
}

std::string encode_u32(std::uint32_t value) {
  Writer w;
  w.number(value);
  return w.take();
}

std::uint32_t decode_u32(std::string_view bytes) { return Reader(bytes).number<std::uint32_t>(); }

std::string encode_owners(const std::vector<std::string>& owners) {
  Writer w;
  for (const auto& o : owners) w.text(o);
  return w.take();
}

std::vector<std::string_view> decode_owners(std::string_view bytes) {
  std::vector<std::string_view> out;
  for (Reader r(bytes); !r.done();) out.push_back(r.text());
  return out;
}

static std::string joined(char kind, std::string_view a, std::string_view b) {
  std::string key;
  key.reserve(a.size() + b.size() + 2);
  key += kind;
  key += a;
  key += '\0';
  key += b;
  return key;
}

std::string service_key(std::string_view ns, std::string_view name) { return joined('S', ns, name); }
std::string pod_key(std::string_view ns, std::string_view name) { return joined('Q', ns, name); }

std::string namespace_key(std::string_view ns) {
  std::string key = "N";
  key += ns;
  return key;
}

std::string reverse_key(const net::IpAddr& addr) {
  std::string key = "R";
  key.append(reinterpret_cast<const char*>(addr.bytes().data()), 16);
  return key;
}

std::string pod_addr_key(const net::IpAddr& addr, std::string_view ns) {
  std::string key = "P";
  key.append(reinterpret_cast<const char*>(addr.bytes().data()), 16);
  key += ns;
  return key;
}

std::string dashed(const net::IpAddr& addr) {
  std::string text = addr.to_string();
  std::replace_if(
      text.begin(), text.end(), [](char c) { return c == '.' || c == ':'; }, '-');
  return text;
}

std::string_view protocol_label(net::Protocol protocol) {
  switch (protocol) {
    case net::Protocol::kTcp:
      return "_tcp";
    case net::Protocol::kUdp:
      return "_udp";
    case net::Protocol::kSctp:
      return "_sctp";
  }
  return "";
}

}  // namespace fairway::compile::dns
