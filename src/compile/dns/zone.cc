#include "compile/dns/zone.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <tuple>

#include "compile/dns/zone_row.h"
#include "compile/dns/zone_state.h"

namespace fairway::compile::dns {

namespace {

using Labels = std::span<const std::string_view>;
using Kind = Answer::Kind;

constexpr std::uint16_t number(RecordType type) { return static_cast<std::uint16_t>(type); }
bool wanted(std::uint16_t asked, RecordType type) { return asked == number(type) || asked == kTypeAny; }

template <typename Suffix>
bool ends_with(Labels labels, const Suffix& suffix) {
  if (labels.size() < suffix.size()) return false;
  return std::equal(suffix.begin(), suffix.end(), labels.end() - static_cast<std::ptrdiff_t>(suffix.size()));
}

Record address_record(const net::IpAddr& addr, std::string owner = "") {
  return {.type = addr.is_v4() ? RecordType::kA : RecordType::kAaaa, .owner = std::move(owner), .addr = addr};
}

void add_address(Answer& out, std::uint16_t type, const net::IpAddr& addr) {
  Record record = address_record(addr);
  if (!wanted(type, record.type)) return;
  if (std::find(out.records.begin(), out.records.end(), record) == out.records.end()) out.records.push_back(std::move(record));
}

// What was collected, as an answer; ANY keeps the type of the first record only.
void settle(Answer& out, std::uint16_t type) {
  if (type == kTypeAny && !out.records.empty()) {
    RecordType first = out.records.front().type;
    std::erase_if(out.records, [&](const Record& r) { return r.type != first; });
  }
  out.kind = out.records.empty() ? Kind::kNoData : Kind::kRecords;
}

// The address a PTR name stands for; how many labels were given where it is not a whole one.
struct Reverse {
  bool valid = true;
  bool whole = false;
  net::Family family = net::Family::kV4;
  std::array<std::uint8_t, 16> bytes{};  // the known leading part; the rest zero
  unsigned known_bits = 0;

  net::IpAddr addr() const {
    if (family == net::Family::kV4) return net::IpAddr::from_v4_bytes(std::span<const std::uint8_t, 4>(bytes.data(), 4));
    return net::IpAddr::from_bytes(bytes);
  }
};

std::optional<unsigned> parse_label(std::string_view label, int base, unsigned max) {
  unsigned value = 0;
  auto [end, error] = std::from_chars(label.data(), label.data() + label.size(), value, base);
  if (error != std::errc{} || end != label.data() + label.size() || value > max) return std::nullopt;
  bool plain = base == 16 ? label.size() == 1 : label.size() == 1 || label[0] != '0';
  return plain ? std::optional(value) : std::nullopt;
}

// `labels` as asked, with "in-addr"/"ip6" and "arpa" at the end.
Reverse parse_reverse(Labels labels, net::Family family) {
  Reverse out{.family = family};
  bool v4 = family == net::Family::kV4;
  unsigned bits = v4 ? 8 : 4, total = v4 ? 32 : 128;
  for (std::size_t i = labels.size() - 2; i > 0; --i) {
    auto value = parse_label(labels[i - 1], v4 ? 10 : 16, v4 ? 255 : 15);
    if (!value || out.known_bits == total) return {.valid = false, .family = family, .bytes = out.bytes, .known_bits = out.known_bits};
    unsigned shift = v4 || out.known_bits % 8 != 0 ? 0 : 4;
    out.bytes[out.known_bits / 8] |= static_cast<std::uint8_t>(*value << shift);
    out.known_bits += bits;
  }
  out.whole = out.known_bits == total;
  return out;
}

// The smallest PTR zone on a label boundary that holds `prefix`: "96.10.in-addr.arpa".
std::string reverse_apex(const net::Prefix& prefix) {
  std::string out;
  bool v4 = prefix.family() == net::Family::kV4;
  auto v4_bytes = v4 ? prefix.addr().v4_bytes() : std::array<std::uint8_t, 4>{};
  unsigned labels = prefix.length() / (v4 ? 8 : 4);
  for (unsigned i = labels; i > 0; --i) {
    unsigned at = i - 1;
    if (v4) out += std::to_string(v4_bytes[at]);
    else out += "0123456789abcdef"[(prefix.addr().bytes()[at / 2] >> (at % 2 == 0 ? 4 : 0)) & 15];
    out += '.';
  }
  return out + (v4 ? "in-addr.arpa" : "ip6.arpa");
}

class Lookup {
 public:
  Lookup(const Zone::State& state, Labels labels, std::uint16_t type) : state_(state), labels_(labels), type_(type) {}

  Answer run() {
    Answer out;
    if (ends_with(labels_, state_.domain_labels)) {
      out.apex = state_.config->domain;
      cluster(out, labels_.first(labels_.size() - state_.domain_labels.size()));
    } else if (auto family = reverse_family()) {
      reverse(out, parse_reverse(labels_, *family));
    }
    bool negative = out.kind == Kind::kNxDomain || out.kind == Kind::kNoData;
    if (negative && !state_.complete && !certain_) out.kind = Kind::kIncomplete;
    return out;
  }

  std::optional<net::Family> reverse_family() const {
    if (labels_.size() < 2 || labels_.back() != "arpa") return std::nullopt;
    if (labels_[labels_.size() - 2] == "in-addr") return net::Family::kV4;
    if (labels_[labels_.size() - 2] == "ip6") return net::Family::kV6;
    return std::nullopt;
  }

  // The range of ours that holds the reverse name, or nullptr.
  const net::Prefix* reverse_range(const Reverse& name) const {
    for (const auto& p : state_.config->reverse) {
      if (p.family() == name.family && name.known_bits >= p.length() && p.contains(name.addr())) return &p;
    }
    return nullptr;
  }

 private:
  // `rest`: the labels before the domain, leaf first.
  void cluster(Answer& out, Labels rest) {
    out.kind = Kind::kNxDomain;
    if (rest.empty()) return apex(out);
    std::string_view top = rest.back();
    if (top == "svc" || top == "pod") {
      if (rest.size() == 1) return fixed(out, Kind::kNoData);
      if (rest.size() == 2) return name_space(out, rest[0], top == "svc");
      if (top == "svc") return service(out, rest.first(rest.size() - 3), rest[rest.size() - 3], rest[rest.size() - 2]);
      if (rest.size() == 3) pod(out, rest[0], rest[1]);
      return;
    }
    fixed(out, Kind::kNxDomain);
    if (top == "dns-version" && rest.size() == 1) {
      if (wanted(type_, RecordType::kTxt)) out.records.push_back({.type = RecordType::kTxt, .target = std::string(kSchemaVersion)});
      settle(out, type_);
    } else if (top == "dns" && rest.size() == 1) {
      out.kind = Kind::kNoData;
    } else if (top == "dns" && rest.size() == 2 && rest[0] == "ns" && !state_.config->nameservers.empty()) {
      for (const auto& a : state_.config->nameservers) add_address(out, type_, a);
      settle(out, type_);
    }
  }

  // An answer that does not depend on what has synced.
  void fixed(Answer& out, Kind kind) {
    out.kind = kind;
    certain_ = true;
  }

  void apex(Answer& out) {
    certain_ = true;
    std::string ns = "ns.dns." + state_.config->domain;
    if (wanted(type_, RecordType::kSoa)) out.records.push_back({.type = RecordType::kSoa, .target = ns});
    if (wanted(type_, RecordType::kNs)) {
      out.records.push_back({.type = RecordType::kNs, .target = ns});
      for (const auto& a : state_.config->nameservers) out.additional.push_back(address_record(a, ns));
    }
    settle(out, type_);
  }

  void name_space(Answer& out, std::string_view ns, bool services) {
    auto found = state_.rows.find(namespace_key(ns));
    if (!found) return;
    NamespaceRow row = decode_namespace(*found);
    if ((services ? row.services : row.pods) > 0) fixed(out, Kind::kNoData);
  }

  void pod(Answer& out, std::string_view label, std::string_view ns) {
    bool v4 = std::count(label.begin(), label.end(), '-') == 3 && label.find("--") == std::string_view::npos;
    std::string text(label);
    std::replace(text.begin(), text.end(), '-', v4 ? '.' : ':');
    auto addr = net::IpAddr::parse(text);
    if (!addr.ok() || dashed(*addr) != label || !state_.rows.find(pod_addr_key(*addr, ns))) return;
    certain_ = true;
    add_address(out, type_, *addr);
    settle(out, type_);
  }

  // `below`: labels under the Service's own name.
  void service(Answer& out, Labels below, std::string_view name, std::string_view ns) {
    auto found = state_.rows.find(service_key(ns, name));
    if (!found) return;
    ServiceRow row = decode_service(*found);
    certain_ = row.kind != ServiceRow::Kind::kHeadless;  // more slices of a headless one may still come
    std::string relative = std::string(name) + "." + std::string(ns) + ".svc." + state_.config->domain;
    if (row.kind == ServiceRow::Kind::kExternal) {
      if (!below.empty()) return;
      out.kind = Kind::kCname;
      out.records.push_back({.type = RecordType::kCname, .target = std::string(row.external)});
    } else if (below.empty()) {
      for (const auto& a : row.addrs) add_address(out, type_, a);
      add_endpoints(out, row, "");
      settle(out, type_);
    } else if (below.size() == 1) {
      below_service(out, row, below[0]);
    } else if (below.size() == 2) {
      srv(out, row, below[0], below[1], relative);
    }
  }

  // Sorted by address, so equal ones follow each other.
  void add_endpoints(Answer& out, const ServiceRow& row, std::string_view hostname) {
    const net::IpAddr* last = nullptr;
    for (const auto& e : row.endpoints) {
      if ((!hostname.empty() && e.hostname != hostname) || (last != nullptr && *last == e.addr)) continue;
      last = &e.addr;
      Record record = address_record(e.addr);
      if (wanted(type_, record.type)) out.records.push_back(std::move(record));
    }
  }

  void below_service(Answer& out, const ServiceRow& row, std::string_view label) {
    for (const auto& set : row.port_sets) {
      for (const auto& p : set)
        if (protocol_label(p.protocol) == label) {
          out.kind = Kind::kNoData;
          return;
        }
    }
    bool exists = std::any_of(row.endpoints.begin(), row.endpoints.end(), [&](const auto& e) { return e.hostname == label; });
    if (!exists || label.empty()) return;
    add_endpoints(out, row, label);
    settle(out, type_);
  }

  void srv(Answer& out, const ServiceRow& row, std::string_view port_label, std::string_view protocol, const std::string& name) {
    if (port_label.size() < 2 || port_label[0] != '_') return;
    auto matches = [&](const PortRow& p) { return p.name == port_label.substr(1) && protocol_label(p.protocol) == protocol; };
    bool exists = false;
    std::vector<const PortRow*> port_of(row.port_sets.size());
    for (std::size_t i = 0; i < row.port_sets.size(); ++i) {
      auto found = std::find_if(row.port_sets[i].begin(), row.port_sets[i].end(), matches);
      if (found != row.port_sets[i].end()) {
        port_of[i] = &*found;
        exists = true;
      }
    }
    if (!exists) return;
    if (wanted(type_, RecordType::kSrv)) {
      auto add = [&](std::string target, std::uint16_t port) {
        Record r{.type = RecordType::kSrv, .target = std::move(target), .priority = 0, .weight = 100, .port = port};
        if (out.records.empty() || out.records.back() != r) out.records.push_back(std::move(r));
      };
      if (row.kind == ServiceRow::Kind::kClusterIp) {
        add(name, port_of[0]->port);
        for (const auto& a : row.addrs) out.additional.push_back(address_record(a, name));
      }
      for (const auto& e : row.endpoints) {
        if (port_of[e.port_set] == nullptr) continue;
        std::string target = std::string(e.hostname) + "." + name;
        add(target, port_of[e.port_set]->port);
        out.additional.push_back(address_record(e.addr, target));
      }
      // One host with an address of each family gives one SRV record, not two.
      auto key = [](const Record& r) { return std::tie(r.target, r.port); };
      std::sort(out.records.begin(), out.records.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
      out.records.erase(std::unique(out.records.begin(), out.records.end()), out.records.end());
    }
    settle(out, type_);
  }

  void reverse(Answer& out, const Reverse& name) {
    const net::Prefix* range = reverse_range(name);
    auto owners = name.valid && name.whole ? state_.rows.find(reverse_key(name.addr())) : std::nullopt;
    if (range == nullptr && !owners) return;  // kOutside
    out.apex = range != nullptr ? reverse_apex(*range) : (name.family == net::Family::kV4 ? "in-addr.arpa" : "ip6.arpa");
    if (owners) {
      certain_ = true;
      if (wanted(type_, RecordType::kPtr)) {
        for (auto o : decode_owners(*owners)) {
          out.records.push_back({.type = RecordType::kPtr, .target = std::string(o) + ".svc." + state_.config->domain});
        }
      }
      return settle(out, type_);
    }
    // Whether an address lies below a shorter name is not indexed; saying so harms nobody, denying it would (RFC 8020).
    out.kind = name.valid && !name.whole ? Kind::kNoData : Kind::kNxDomain;
  }

  const Zone::State& state_;
  Labels labels_;
  std::uint16_t type_;
  bool certain_ = false;
};

std::string reverse_name(const net::IpAddr& addr) { return reverse_apex(net::Prefix(addr)); }

void dump_service(std::vector<Record>& out, std::string_view key, const ServiceRow& row, const std::string& domain) {
  std::size_t zero = key.find('\0');
  std::string name = std::string(key.substr(zero + 1)) + "." + std::string(key.substr(1, zero - 1)) + ".svc." + domain;
  if (row.kind == ServiceRow::Kind::kExternal) {
    out.push_back({.type = RecordType::kCname, .owner = name, .target = std::string(row.external)});
  }
  for (const auto& a : row.addrs) out.push_back(address_record(a, name));
  auto add_ports = [&](const std::vector<PortRow>& ports, const std::string& target) {
    for (const auto& p : ports) {
      std::string owner = "_" + std::string(p.name) + "." + std::string(protocol_label(p.protocol)) + "." + name;
      out.push_back({.type = RecordType::kSrv, .owner = std::move(owner), .target = target, .weight = 100, .port = p.port});
    }
  };
  if (row.kind == ServiceRow::Kind::kClusterIp) add_ports(row.port_sets[0], name);
  for (const auto& e : row.endpoints) {
    std::string host = std::string(e.hostname) + "." + name;
    out.push_back(address_record(e.addr, name));
    out.push_back(address_record(e.addr, host));
    add_ports(row.port_sets[e.port_set], host);
  }
}

}  // namespace

Zone::Zone(std::unique_ptr<const State> state) : state_(std::move(state)) {}
Zone::~Zone() = default;

Answer Zone::lookup(Labels labels, std::uint16_t type) const { return Lookup(*state_, labels, type).run(); }

bool Zone::complete() const { return state_->complete; }
const ZoneConfig& Zone::config() const { return *state_->config; }
std::uint32_t Zone::serial() const { return state_->serial; }
ZoneCounts Zone::counts() const { return state_->counts; }

std::vector<Record> Zone::dump() const {
  const std::string& domain = state_->config->domain;
  std::vector<Record> out;
  state_->rows.for_each([&](std::string_view key, std::string_view value) {
    if (key[0] == 'S') {
      dump_service(out, key, decode_service(value), domain);
    } else if (key[0] == 'R') {
      net::IpAddr addr = decode_addrs(key.substr(1)).front();
      for (auto o : decode_owners(value)) {
        out.push_back({.type = RecordType::kPtr, .owner = reverse_name(addr), .target = std::string(o) + ".svc." + domain});
      }
    } else if (key[0] == 'P') {
      net::IpAddr addr = decode_addrs(key.substr(1, 16)).front();
      out.push_back(address_record(addr, dashed(addr) + "." + std::string(key.substr(17)) + ".pod." + domain));
    }
  });
  auto key = [](const Record& r) { return std::tie(r.owner, r.type, r.addr, r.target, r.port); };
  std::sort(out.begin(), out.end(), [&](const auto& a, const auto& b) { return key(a) < key(b); });
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

}  // namespace fairway::compile::dns
