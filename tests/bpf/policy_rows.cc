#include "policy_rows.h"

namespace fairway::test {
namespace {

template <typename M, typename Change>
void change(M& map, const typename M::Key& key, const Change& how) {
  auto row = map.lookup(key).value_or(typename M::Value{});
  how(row);
  must(map.update(key, row));
}

template <typename M, typename Copy>
void change_all(M& map, const Copy& how) {
  auto rows = map.dump();
  if (!rows.ok()) throw std::runtime_error(rows.error().message);
  for (auto& [key, row] : *rows) {
    how(row);
    must(map.update(key, row));
  }
}

}  // namespace

void PolicyRows::subject(std::uint32_t ifindex, std::uint32_t id, fw_subject_default ingress, fw_subject_default egress,
                         std::uint32_t rule) {
  change(dp_.pol_subjects(), ifindex, [&](fw_subject& row) {
    row.v[bank_].id = id;
    row.v[bank_].fallback[FW_POL_INGRESS] = static_cast<__u8>(ingress);
    row.v[bank_].fallback[FW_POL_EGRESS] = static_cast<__u8>(egress);
    row.v[bank_].rule[FW_POL_INGRESS] = row.v[bank_].rule[FW_POL_EGRESS] = rule;
  });
  must(dp_.set_tracked(ifindex, true));
}

void PolicyRows::peer(const net::IpAddr& addr, std::uint32_t peer_class) {
  change(dp_.pol_peers(), datapath::to_abi(addr), [&](fw_peer_class& row) { row.v[bank_] = peer_class; });
}

void PolicyRows::cidr(const std::string& prefix, std::uint32_t peer_class) {
  const fw_cidr_key key = datapath::cidr_key(*net::Prefix::parse(prefix));
  // A lookup finds the longest prefix, which may be another's row: the whole is read.
  fw_peer_class row{};
  const auto rows = dp_.pol_cidrs().dump();
  if (!rows.ok()) throw std::runtime_error(rows.error().message);
  for (const auto& [there, value] : *rows)
    if (datapath::prefix_of(there) == datapath::prefix_of(key)) row = value;
  row.v[bank_] = peer_class;
  must(dp_.pol_cidrs().update(key, row));
}

void PolicyRows::ports(net::Protocol protocol, std::uint16_t first, std::uint16_t last, std::uint16_t port_class) {
  must(dp_.set_port_classes(bank_, protocol, first, last, port_class));
}

void PolicyRows::verdict(std::uint32_t subject, fw_policy_direction direction, std::uint32_t peer, std::uint16_t port, fw_verdict verdict,
                         std::uint32_t rule) {
  fw_verdict_key key{};
  key.subject = subject;
  key.peer = peer;
  key.port = port;
  key.direction = static_cast<__u8>(direction);
  change(dp_.pol_verdicts(), key, [&](fw_verdict_row& row) {
    row.verdict[bank_] = static_cast<__u8>(verdict);
    row.rule[bank_] = rule;
  });
}

void PolicyRows::copy_bank(unsigned from) {
  const unsigned to = from ^ 1u;
  change_all(dp_.pol_subjects(), [&](fw_subject& row) { row.v[to] = row.v[from]; });
  change_all(dp_.pol_peers(), [&](fw_peer_class& row) { row.v[to] = row.v[from]; });
  change_all(dp_.pol_cidrs(), [&](fw_peer_class& row) { row.v[to] = row.v[from]; });
  change_all(dp_.pol_ports(), [&](fw_port_chunk& row) { std::copy(std::begin(row.v[from]), std::end(row.v[from]), row.v[to]); });
  change_all(dp_.pol_verdicts(), [&](fw_verdict_row& row) {
    row.verdict[to] = row.verdict[from];
    row.rule[to] = row.rule[from];
  });
}

}  // namespace fairway::test
