#include "model/codec.h"

namespace fairway::model {
namespace {

class Writer {
 public:
  explicit Writer(std::string& out) : out_(out) {}
  void number(std::uint64_t value) {  // LEB128
    while (value >= 0x80) {
      out_.push_back(static_cast<char>(value | 0x80));
      value >>= 7;
    }
    out_.push_back(static_cast<char>(value));
  }
  void text(std::string_view value) {
    number(value.size());
    out_.append(value);
  }
  void addr(const net::IpAddr& value) {
    if (value.is_v4()) {
      out_.push_back(4);
      out_.append(reinterpret_cast<const char*>(value.v4_bytes().data()), 4);
    } else {
      out_.push_back(16);
      out_.append(reinterpret_cast<const char*>(value.bytes().data()), 16);
    }
  }
  void labels(const Labels& value) {
    number(value.size());
    for (const auto& [k, v] : value) text(k), text(v);
  }
  void ports(const std::vector<NamedPort>& value) {
    number(value.size());
    for (const auto& port : value) text(port.name), number(static_cast<unsigned>(port.protocol)), number(port.port);
  }

 private:
  std::string& out_;
};

// After the first fault every read answers empty, and good() says so at the end.
class Reader {
 public:
  explicit Reader(std::string_view in) : in_(in) {}
  std::uint64_t number() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64; shift += 7) {
      if (in_.empty()) return fail();
      const auto byte = static_cast<unsigned char>(in_.front());
      in_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    return fail();
  }
  // A count of items of which each takes a byte at least.
  std::size_t count() {
    const auto n = number();
    return n <= in_.size() ? static_cast<std::size_t>(n) : fail();
  }
  std::string text() {
    const std::size_t n = count();
    std::string out(in_.substr(0, n));
    in_.remove_prefix(n);
    return out;
  }
  net::IpAddr addr() {
    const auto n = number();
    if ((n != 4 && n != 16) || in_.size() < n) {
      fail();
      return {};
    }
    const auto* data = reinterpret_cast<const std::uint8_t*>(in_.data());
    in_.remove_prefix(n);
    return n == 4 ? net::IpAddr::from_v4_bytes(std::span<const std::uint8_t, 4>(data, 4))
                  : net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(data, 16));
  }
  net::Protocol protocol() {
    const auto n = number();
    if (n != 6 && n != 17 && n != 132) fail();
    return static_cast<net::Protocol>(n);
  }
  Labels labels() {
    Labels out;
    for (std::size_t n = count(); n > 0 && good_; --n) {
      std::string key = text();
      out.emplace_hint(out.end(), std::move(key), text());
    }
    return out;
  }
  std::vector<NamedPort> ports() {
    std::vector<NamedPort> out;
    for (std::size_t n = count(); n > 0 && good_; --n) {
      std::string name = text();
      const auto proto = protocol();
      out.push_back({std::move(name), proto, static_cast<std::uint16_t>(number())});
    }
    return out;
  }
  std::vector<net::IpAddr> addrs() {
    std::vector<net::IpAddr> out;
    for (std::size_t n = count(); n > 0 && good_; --n) out.push_back(addr());
    return out;
  }
  bool done() const { return good_ && in_.empty(); }
  bool good() const { return good_; }
  std::uint64_t fail() {
    good_ = false;
    in_ = {};
    return 0;
  }

 private:
  std::string_view in_;
  bool good_ = true;
};

void write_addrs(Writer& w, const std::vector<net::IpAddr>& addrs) {
  w.number(addrs.size());
  for (const auto& a : addrs) w.addr(a);
}

}  // namespace

std::string key_of(const Name& name) { return name.to_string(); }

Name name_of(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return {"", std::string(key)};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

void NamespaceCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.number(row.terminating);
  w.labels(row.labels);
}

std::optional<Namespace> NamespaceCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Namespace row;
  row.name = key;
  row.terminating = r.number() != 0;
  row.labels = r.labels();
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

void NodeCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.text(row.zone);
  write_addrs(w, row.addresses);
  w.number(row.pod_cidrs.size());
  for (const auto& p : row.pod_cidrs) w.addr(p.addr()), w.number(p.length());
  w.labels(row.labels);
}

std::optional<Node> NodeCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Node row;
  row.name = key;
  row.zone = r.text();
  row.addresses = r.addrs();
  for (std::size_t n = r.count(); n > 0 && r.good(); --n) {
    const auto addr = r.addr();
    const auto length = r.number();
    if (length > (addr.is_v4() ? 32U : 128U)) return std::nullopt;
    row.pod_cidrs.emplace_back(addr, static_cast<unsigned>(length));
  }
  row.labels = r.labels();
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

void PodCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.number((row.host_network ? 1U : 0U) | (row.terminated ? 2U : 0U));
  w.text(row.uid);
  w.text(row.node);
  write_addrs(w, row.ips);
  w.labels(row.labels);
  w.ports(row.ports);
}

std::optional<Pod> PodCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Pod row;
  row.id = name_of(key);
  const auto flags = r.number();
  row.host_network = (flags & 1) != 0;
  row.terminated = (flags & 2) != 0;
  row.uid = r.text();
  row.node = r.text();
  row.ips = r.addrs();
  row.labels = r.labels();
  row.ports = r.ports();
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

void ServiceCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.number((row.headless ? 1U : 0U) | (row.internal_local ? 2U : 0U) | (row.external_local ? 4U : 0U) | (row.publish_not_ready ? 8U : 0U) |
           (row.affinity_seconds ? 16U : 0U));
  w.number(static_cast<unsigned>(row.type));
  w.text(row.uid);
  write_addrs(w, row.cluster_ips);
  w.number(row.ports.size());
  for (const auto& p : row.ports) w.text(p.name), w.number(static_cast<unsigned>(p.protocol)), w.number(p.port), w.number(p.node_port);
  w.text(row.external_name);
  if (row.affinity_seconds) w.number(*row.affinity_seconds);
  w.labels(row.labels);
}

std::optional<Service> ServiceCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Service row;
  row.id = name_of(key);
  const auto flags = r.number();
  row.headless = (flags & 1) != 0;
  row.internal_local = (flags & 2) != 0;
  row.external_local = (flags & 4) != 0;
  row.publish_not_ready = (flags & 8) != 0;
  const auto type = r.number();
  if (type > static_cast<unsigned>(ServiceType::kExternalName)) return std::nullopt;
  row.type = static_cast<ServiceType>(type);
  row.uid = r.text();
  row.cluster_ips = r.addrs();
  for (std::size_t n = r.count(); n > 0 && r.good(); --n) {
    ServicePort p;
    p.name = r.text();
    p.protocol = r.protocol();
    p.port = static_cast<std::uint16_t>(r.number());
    p.node_port = static_cast<std::uint16_t>(r.number());
    row.ports.push_back(std::move(p));
  }
  row.external_name = r.text();
  if ((flags & 16) != 0) row.affinity_seconds = static_cast<std::uint32_t>(r.number());
  row.labels = r.labels();
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

void EndpointSliceCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.text(row.service.name);  // of the slice's own namespace, always
  w.number(row.family == net::Family::kV4 ? 4 : 6);
  w.ports(row.ports);
  w.number(row.endpoints.size());
  for (const auto& e : row.endpoints) {
    const bool same_ns = e.target.ns == row.id.ns;
    w.number((e.ready ? 1U : 0U) | (e.serving ? 2U : 0U) | (e.terminating ? 4U : 0U) | (same_ns ? 8U : 0U));
    w.addr(e.addr);
    w.text(e.hostname);
    w.text(e.node);
    w.text(e.zone);
    if (!same_ns) w.text(e.target.ns);
    w.text(e.target.name);
  }
}

std::optional<EndpointSlice> EndpointSliceCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  EndpointSlice row;
  row.id = name_of(key);
  row.service = {row.id.ns, r.text()};
  const auto family = r.number();
  if (family != 4 && family != 6) return std::nullopt;
  row.family = family == 4 ? net::Family::kV4 : net::Family::kV6;
  row.ports = r.ports();
  const std::size_t n = r.count();
  row.endpoints.reserve(std::min<std::size_t>(n, 1000));
  for (std::size_t i = 0; i < n && r.good(); ++i) {
    Endpoint e;
    const auto flags = r.number();
    e.ready = (flags & 1) != 0;
    e.serving = (flags & 2) != 0;
    e.terminating = (flags & 4) != 0;
    e.addr = r.addr();
    e.hostname = r.text();
    e.node = r.text();
    e.zone = r.text();
    e.target.ns = (flags & 8) != 0 ? row.id.ns : r.text();
    e.target.name = r.text();
    row.endpoints.push_back(std::move(e));
  }
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

}  // namespace fairway::model
