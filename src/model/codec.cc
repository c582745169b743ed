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
  void prefix(const net::Prefix& value) { addr(value.addr()), number(value.length()); }
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
  net::Prefix prefix() {
    const auto address = addr();
    const auto length = number();
    if (length <= (address.is_v4() ? 32U : 128U)) return {address, static_cast<unsigned>(length)};
    fail();
    return {};
  }
  // A number that is at most `last`; the values of an enum.
  template <typename Enum>
  Enum choice(Enum last) {
    const auto n = number();
    if (n > static_cast<std::uint64_t>(last)) fail();
    return good_ ? static_cast<Enum>(n) : Enum{};
  }
  bool flag() { return choice(1) != 0; }
  std::uint16_t port() {
    const auto n = number();
    if (n > 65535) fail();
    return static_cast<std::uint16_t>(n);
  }
  // `one` reads an item, of a byte at least.
  template <typename One>
  auto list(One one) {
    std::vector<decltype(one())> out;
    for (std::size_t n = count(); n > 0 && good_; --n) out.push_back(one());
    return out;
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
  for (const auto& p : row.pod_cidrs) w.prefix(p);
  w.labels(row.labels);
  write_addrs(w, row.other_addresses);
  w.number(row.unready ? 1 : 0);
  if (row.unready) w.text(row.unready->since), w.text(row.unready->message);
}

std::optional<Node> NodeCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Node row;
  row.name = key;
  row.zone = r.text();
  row.addresses = r.addrs();
  row.pod_cidrs = r.list([&] { return r.prefix(); });
  row.labels = r.labels();
  row.other_addresses = r.addrs();
  if (r.number() != 0) {
    row.unready.emplace();
    row.unready->since = r.text();
    row.unready->message = r.text();
  }
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

namespace {

void write(Writer& w, const LabelSelector& selector) {
  w.number(selector.requirements.size());
  for (const auto& r : selector.requirements) {
    w.number(static_cast<unsigned>(r.op));
    w.text(r.key);
    w.number(r.values.size());
    for (const auto& value : r.values) w.text(value);
  }
}
LabelSelector read_selector(Reader& r) {
  LabelSelector out;
  out.requirements = r.list([&] {
    LabelRequirement one;
    one.op = r.choice(LabelRequirement::Op::kDoesNotExist);
    one.key = r.text();
    one.values = r.list([&] { return r.text(); });
    return one;
  });
  return out;
}

void write(Writer& w, const PodSelector& selector) {
  w.number(selector.namespaces.has_value());
  if (selector.namespaces) write(w, *selector.namespaces);
  write(w, selector.pods);
}
PodSelector read_pods(Reader& r) {
  PodSelector out;
  if (r.flag()) out.namespaces = read_selector(r);
  out.pods = read_selector(r);
  return out;
}

void write(Writer& w, const PolicyPeer& peer) {
  w.number(static_cast<unsigned>(peer.kind));
  switch (peer.kind) {
    case PolicyPeer::Kind::kPods:
      return write(w, peer.pods);
    case PolicyPeer::Kind::kNodes:
      return write(w, peer.nodes);
    case PolicyPeer::Kind::kNetwork:
      w.prefix(peer.network);
      w.number(peer.except.size());
      for (const auto& hole : peer.except) w.prefix(hole);
  }
}
PolicyPeer read_peer(Reader& r) {
  PolicyPeer out;
  out.kind = r.choice(PolicyPeer::Kind::kNodes);
  switch (out.kind) {
    case PolicyPeer::Kind::kPods:
      out.pods = read_pods(r);
      break;
    case PolicyPeer::Kind::kNodes:
      out.nodes = read_selector(r);
      break;
    case PolicyPeer::Kind::kNetwork:
      out.network = r.prefix();
      out.except = r.list([&] { return r.prefix(); });
  }
  return out;
}

void write(Writer& w, const PolicyPort& port) {
  w.number(port.protocol.has_value());
  if (port.protocol) w.number(static_cast<unsigned>(*port.protocol));
  w.text(port.name);
  if (port.name.empty()) w.number(port.first), w.number(port.last);
}
PolicyPort read_port(Reader& r) {
  PolicyPort out;
  if (r.flag()) out.protocol = r.protocol();
  out.name = r.text();
  if (out.name.empty()) out.first = r.port(), out.last = r.port();
  return out;
}

void write(Writer& w, const std::vector<PolicyRule>& rules) {
  w.number(rules.size());
  for (const auto& rule : rules) {
    w.number(static_cast<unsigned>(rule.action));
    w.text(rule.name);
    w.number((rule.all_peers ? 1U : 0U) | (rule.all_ports ? 2U : 0U));
    w.number(rule.peers.size());
    for (const auto& peer : rule.peers) write(w, peer);
    w.number(rule.ports.size());
    for (const auto& port : rule.ports) write(w, port);
  }
}
std::vector<PolicyRule> read_rules(Reader& r) {
  return r.list([&] {
    PolicyRule rule;
    rule.action = r.choice(PolicyAction::kPass);
    rule.name = r.text();
    const unsigned flags = r.choice(3U);
    rule.all_peers = (flags & 1) != 0;
    rule.all_ports = (flags & 2) != 0;
    rule.peers = r.list([&] { return read_peer(r); });
    rule.ports = r.list([&] { return read_port(r); });
    return rule;
  });
}

}  // namespace

void PolicyCodec::encode(const Row& row, std::string& out) {
  Writer w(out);
  w.number(static_cast<unsigned>(row.tier));
  w.number(static_cast<std::uint64_t>(row.priority));
  w.text(row.uid);
  w.number(static_cast<std::uint64_t>(row.generation));
  write(w, row.subject);
  w.number((row.isolates_ingress ? 1U : 0U) | (row.isolates_egress ? 2U : 0U));
  write(w, row.ingress);
  write(w, row.egress);
}

std::optional<Policy> PolicyCodec::decode(std::string_view key, std::string_view bytes) {
  Reader r(bytes);
  Policy row;
  row.id = name_of(key);
  row.tier = r.choice(PolicyTier::kBaseline);
  row.priority = static_cast<std::int32_t>(r.number());
  row.uid = r.text();
  row.generation = static_cast<std::int64_t>(r.number());
  row.subject = read_pods(r);
  const unsigned flags = r.choice(3U);
  row.isolates_ingress = (flags & 1) != 0;
  row.isolates_egress = (flags & 2) != 0;
  row.ingress = read_rules(r);
  row.egress = read_rules(r);
  // A key's form tells the kind.
  if (row.id.ns.empty() == (row.tier == PolicyTier::kNetworkPolicy)) return std::nullopt;
  return r.done() ? std::optional(std::move(row)) : std::nullopt;
}

}  // namespace fairway::model
