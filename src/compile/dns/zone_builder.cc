#include <algorithm>
#include <deque>
#include <map>
#include <set>
#include <utility>

#include "base/check.h"
#include "compile/dns/zone_row.h"
#include "compile/dns/zone_state.h"

namespace fairway::compile::dns {

namespace {

bool publishable(const net::IpAddr& addr) {
  return !addr.is_unset() && !addr.is_loopback() && !addr.is_link_local() && !addr.is_multicast();
}

// "." and case aside, what may be the target of a CNAME: labels of 1 to 63 bytes, 253 in all.
std::string normal_name(std::string_view text) {
  std::string out(text);
  for (char& c : out)
    if (c >= 'A' && c <= 'Z') c = static_cast<char>(c - 'A' + 'a');
  if (!out.empty() && out.back() == '.') out.pop_back();
  if (out.empty() || out.size() > 253) return "";
  std::size_t label = 0;
  for (char c : out) {
    if (c == '\0' || (c == '.' && label == 0)) return "";
    label = c == '.' ? 0 : label + 1;
    if (label > 63) return "";
  }
  return label == 0 ? "" : out;
}

std::vector<std::string> split_labels(std::string_view name) {
  std::vector<std::string> out;
  while (!name.empty()) {
    std::size_t dot = name.find('.');
    out.emplace_back(name.substr(0, dot));
    name = dot == std::string_view::npos ? "" : name.substr(dot + 1);
  }
  return out;
}

std::vector<PortRow> named(std::span<const model::NamedPort> ports) {
  std::vector<PortRow> out;
  for (const auto& p : ports)
    if (!p.name.empty() && p.name.size() < 63) out.push_back({p.name, p.protocol, p.port});
  std::sort(out.begin(), out.end());
  out.erase(std::unique(out.begin(), out.end()), out.end());
  return out;
}

bool published(const model::Service& service, const model::Endpoint& e) {
  return (e.ready || service.publish_not_ready) && publishable(e.addr);
}

// `texts` holds what the row's views point to and has no text of its own elsewhere.
ServiceRow headless_row(const model::Service& service, std::span<const model::EndpointSlice> slices, std::deque<std::string>& texts) {
  ServiceRow row{.kind = ServiceRow::Kind::kHeadless};
  std::set<std::vector<PortRow>> sets;
  for (const auto& slice : slices) {
    auto gives = [&](const model::Endpoint& e) { return published(service, e); };
    if (std::any_of(slice.endpoints.begin(), slice.endpoints.end(), gives)) sets.insert(named(slice.ports));
  }
  row.port_sets.assign(sets.begin(), sets.end());
  for (const auto& slice : slices) {
    auto set = std::lower_bound(row.port_sets.begin(), row.port_sets.end(), named(slice.ports)) - row.port_sets.begin();
    for (const auto& e : slice.endpoints) {
      if (!published(service, e)) continue;
      bool usable = !e.hostname.empty() && e.hostname.size() <= 63;
      std::string_view hostname = usable ? std::string_view(e.hostname) : texts.emplace_back(dashed(e.addr));
      row.endpoints.push_back({e.addr, hostname, static_cast<std::uint16_t>(set)});
    }
  }
  std::sort(row.endpoints.begin(), row.endpoints.end());
  row.endpoints.erase(std::unique(row.endpoints.begin(), row.endpoints.end()), row.endpoints.end());
  return row;
}

ServiceRow cluster_ip_row(const model::Service& service) {
  ServiceRow row{.kind = ServiceRow::Kind::kClusterIp};
  for (const auto& a : service.cluster_ips)
    if (publishable(a) && row.addrs.size() < 255) row.addrs.push_back(a);
  std::sort(row.addrs.begin(), row.addrs.end());
  std::vector<PortRow> ports;
  for (const auto& p : service.ports) {
    if (!p.name.empty() && p.name.size() < 63) ports.push_back({p.name, p.protocol, p.port});
  }
  std::sort(ports.begin(), ports.end());
  row.port_sets.push_back(std::move(ports));
  return row;
}

// PTR records that a Service gives: address -> names relative to "svc.<domain>".
std::set<std::pair<net::IpAddr, std::string>> reverse_of(const model::Name& id, const ServiceRow& row) {
  std::set<std::pair<net::IpAddr, std::string>> out;
  std::string name = id.name + "." + id.ns;
  for (const auto& a : row.addrs) out.emplace(a, name);
  for (const auto& e : row.endpoints) out.emplace(e.addr, std::string(e.hostname) + "." + name);
  return out;
}

}  // namespace

struct ZoneBuilder::Impl {
  Zone::State state;
  std::shared_ptr<const Zone> last;
  bool dirty = true;

  void write(const std::string& key, const std::string& value) { dirty |= state.rows.set(key, value); }
  void drop(const std::string& key) { dirty |= state.rows.erase(key); }

  // Empty bytes: no row.
  void replace_service(const model::Name& id, const std::string& bytes) {
    std::string key = service_key(id.ns, id.name);
    std::string before(state.rows.find(key).value_or(""));
    if (before == bytes) return;
    auto old_reverse = before.empty() ? decltype(reverse_of(id, {})){} : reverse_of(id, decode_service(before));
    auto new_reverse = bytes.empty() ? decltype(reverse_of(id, {})){} : reverse_of(id, decode_service(bytes));
    if (bytes.empty()) drop(key);
    else write(key, bytes);
    for (const auto& [addr, owner] : old_reverse)
      if (!new_reverse.contains({addr, owner})) remove_owner(addr, owner);
    for (const auto& [addr, owner] : new_reverse)
      if (!old_reverse.contains({addr, owner})) add_owner(addr, owner);
    if (before.empty() != bytes.empty()) {
      int by = bytes.empty() ? -1 : 1;
      state.counts.services += static_cast<std::size_t>(by);
      count_in_namespace(id.ns, by, 0);
    }
  }

  void count_in_namespace(const std::string& ns, int services, int pods) {
    std::string key = namespace_key(ns);
    auto found = state.rows.find(key);
    NamespaceRow row = found ? decode_namespace(*found) : NamespaceRow{};
    row.services += static_cast<std::uint32_t>(services);
    row.pods += static_cast<std::uint32_t>(pods);
    if (row.services == 0 && row.pods == 0) drop(key);
    else write(key, encode(row));
  }

  std::vector<std::string> owners(const net::IpAddr& addr) const {
    std::vector<std::string> out;
    if (auto found = state.rows.find(reverse_key(addr)))
      for (auto o : decode_owners(*found)) out.emplace_back(o);
    return out;
  }
  void add_owner(const net::IpAddr& addr, const std::string& owner) {
    auto all = owners(addr);
    if (all.empty()) ++state.counts.addresses;
    all.insert(std::lower_bound(all.begin(), all.end(), owner), owner);
    write(reverse_key(addr), encode_owners(all));
  }
  void remove_owner(const net::IpAddr& addr, const std::string& owner) {
    auto all = owners(addr);
    std::erase(all, owner);
    if (!all.empty()) return write(reverse_key(addr), encode_owners(all));
    drop(reverse_key(addr));
    --state.counts.addresses;
  }

  void replace_pod(const model::Name& id, const std::vector<net::IpAddr>& addrs) {
    std::string key = pod_key(id.ns, id.name);
    std::vector<net::IpAddr> before;
    if (auto found = state.rows.find(key)) before = decode_addrs(*found);
    if (before == addrs) return;
    for (const auto& a : before) count_pod(a, id.ns, -1);
    for (const auto& a : addrs) count_pod(a, id.ns, +1);
    if (addrs.empty()) drop(key);
    else write(key, encode_addrs(addrs));
  }

  // Pods on the node's own network share an address.
  void count_pod(const net::IpAddr& addr, const std::string& ns, int by) {
    std::string key = pod_addr_key(addr, ns);
    auto found = state.rows.find(key);
    std::uint32_t count = (found ? decode_u32(*found) : 0) + static_cast<std::uint32_t>(by);
    if (count == 0) drop(key);
    else write(key, encode_u32(count));
    if ((count == 0) != !found) {
      int pods = count == 0 ? -1 : 1;
      state.counts.pods += static_cast<std::size_t>(pods);
      count_in_namespace(ns, 0, pods);
    }
  }
};

ZoneBuilder::ZoneBuilder(ZoneConfig config) : impl_(std::make_unique<Impl>()) {
  config.domain = normal_name(config.domain);
  FW_CHECK(!config.domain.empty());
  impl_->state.domain_labels = split_labels(config.domain);
  impl_->state.config = std::make_shared<const ZoneConfig>(std::move(config));
}
ZoneBuilder::~ZoneBuilder() = default;
ZoneBuilder::ZoneBuilder(ZoneBuilder&&) noexcept = default;
ZoneBuilder& ZoneBuilder::operator=(ZoneBuilder&&) noexcept = default;

void ZoneBuilder::set_service(const model::Service& service, std::span<const model::EndpointSlice> slices) {
  std::deque<std::string> texts;
  ServiceRow row;
  if (service.type == model::ServiceType::kExternalName) {
    row.kind = ServiceRow::Kind::kExternal;
    row.external = texts.emplace_back(normal_name(service.external_name));
    if (row.external.empty()) return impl_->replace_service(service.id, "");
  } else if (service.headless) {
    row = headless_row(service, slices, texts);
    // No ready endpoint: the specification wants NXDOMAIN.
    if (row.endpoints.empty()) return impl_->replace_service(service.id, "");
  } else {
    row = cluster_ip_row(service);
    if (row.addrs.empty()) return impl_->replace_service(service.id, "");
  }
  impl_->replace_service(service.id, encode(row));
}

void ZoneBuilder::remove_service(const model::Name& id) { impl_->replace_service(id, ""); }

void ZoneBuilder::set_pod(const model::Pod& pod) {
  std::vector<net::IpAddr> addrs;
  if (!pod.terminated)
    for (const auto& a : pod.ips)
      if (publishable(a)) addrs.push_back(a);
  std::sort(addrs.begin(), addrs.end());
  addrs.erase(std::unique(addrs.begin(), addrs.end()), addrs.end());
  impl_->replace_pod(pod.id, addrs);
}

void ZoneBuilder::remove_pod(const model::Name& id) { impl_->replace_pod(id, {}); }

void ZoneBuilder::set_complete(bool complete) {
  impl_->dirty |= impl_->state.complete != complete;
  impl_->state.complete = complete;
}

std::shared_ptr<const Zone> ZoneBuilder::snapshot() {
  if (!impl_->dirty) return impl_->last;
  ++impl_->state.serial;
  impl_->last.reset(new Zone(std::make_unique<const Zone::State>(impl_->state)));
  impl_->dirty = false;
  return impl_->last;
}

std::shared_ptr<const Zone> compile_zone(ZoneConfig config, std::span<const model::Service> services,
                                         std::span<const model::EndpointSlice> slices, std::span<const model::Pod> pods) {
  std::map<model::Name, std::vector<model::EndpointSlice>> by_service;
  for (const auto& slice : slices) by_service[slice.service].push_back(slice);
  ZoneBuilder builder(std::move(config));
  for (const auto& service : services) builder.set_service(service, by_service[service.id]);
  for (const auto& pod : pods) builder.set_pod(pod);
  builder.set_complete(true);
  return builder.snapshot();
}

Status check(const ZoneConfig& config) {
  if (normal_name(config.domain).empty()) {
    return make_error(Code::kInvalid, "cluster domain \"" + config.domain + "\": not a domain name");
  }
  return {};
}

}  // namespace fairway::compile::dns
