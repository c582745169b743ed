#include "datapath/policy_lookup.h"

#include "datapath/addr.h"

namespace fairway::datapath {
namespace {

template <typename K, typename V>
Result<std::optional<V>> find(const Map<K, V>& map, const K& key) {
  auto row = map.lookup(key);
  if (row.ok()) return std::optional<V>(*row);
  if (row.error().code == Code::kNotFound) return std::optional<V>();
  return std::move(row).error();
}

Result<std::uint32_t> peer_class(PolicyTables& tables, unsigned bank, const net::IpAddr& addr) {
  FW_ASSIGN(const auto exact, find(tables.pol_peers(), to_abi(addr)));
  if (exact && exact->v[bank] != FW_PEER_ANY) return std::uint32_t{exact->v[bank]};
  // The kernel answers for the longest prefix at once; a table in memory for one prefix alone.
  for (unsigned length = addr.bits();; --length) {
    FW_ASSIGN(const auto row, find(tables.pol_cidrs(), cidr_key(net::Prefix(addr, length))));
    if (row) return std::uint32_t{row->v[bank] == FW_PEER_ANY ? FW_PEER_NONE : row->v[bank]};
    if (length == 0) return std::uint32_t{FW_PEER_NONE};
  }
}

Result<TableVerdict> look_up(PolicyTables& tables, unsigned bank, std::uint32_t ifindex, fw_policy_direction direction,
                             const net::IpAddr& peer, std::uint8_t protocol, std::uint16_t port) {
  TableVerdict out;
  FW_ASSIGN(const auto both, find(tables.pol_subjects(), ifindex));
  if (!both) return out;
  const fw_subject_version& subject = both->v[bank];
  if (subject.id == 0 || subject.fallback[direction] == FW_SUBJECT_OPEN) return out;
  out.looked = true;
  out.subject = subject.id;
  FW_ASSIGN(out.peer, peer_class(tables, bank, peer));
  const auto with_ports = tables.port_class(bank, static_cast<net::Protocol>(protocol), port);
  if (with_ports.ok()) out.port_class = *with_ports;
  else if (with_ports.error().code != Code::kInvalid) return with_ports.error();  // kInvalid: a protocol without ports
  const std::pair<std::uint32_t, std::uint16_t> keys[] = {
      {out.peer, out.port_class}, {out.peer, FW_PORT_ANY}, {FW_PEER_ANY, out.port_class}};
  for (const auto& [peer_key, port_key] : keys) {
    FW_ASSIGN(const auto row, find(tables.pol_verdicts(), fw_verdict_key{subject.id, peer_key, port_key, static_cast<__u8>(direction), 0}));
    if (!row || row->verdict[bank] == FW_VERDICT_NONE) continue;
    out.allowed = row->verdict[bank] == FW_VERDICT_ALLOW;
    out.rule = row->rule[bank];
    return out;
  }
  out.by_default = true;
  out.allowed = subject.fallback[direction] == FW_SUBJECT_ALLOW;
  out.rule = subject.rule[direction];
  return out;
}

}  // namespace

Result<TableVerdict> look_up_verdict(PolicyTables& tables, std::uint32_t ifindex, fw_policy_direction direction, const net::IpAddr& peer,
                                     std::uint8_t protocol, std::uint16_t port) {
  if (tables.policy_generation() == 0) return TableVerdict{};
  return look_up(tables, tables.policy_generation() & 1, ifindex, direction, peer, protocol, port);
}

}  // namespace fairway::datapath
