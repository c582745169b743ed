#include "datapath/policy_tables.h"

#include <arpa/inet.h>

#include <algorithm>
#include <cstring>
#include <string>
#include <vector>

#include "datapath/addr.h"

namespace fairway::datapath {
namespace {

Result<std::uint32_t> first_chunk(net::Protocol protocol) {
  switch (protocol) {
    case net::Protocol::kTcp:
      return std::uint32_t{FW_PORT_TCP * FW_PORT_CHUNKS};
    case net::Protocol::kUdp:
      return std::uint32_t{FW_PORT_UDP * FW_PORT_CHUNKS};
    case net::Protocol::kSctp:
      return std::uint32_t{FW_PORT_SCTP * FW_PORT_CHUNKS};
  }
  return make_error(Code::kInvalid, "protocol " + std::to_string(static_cast<int>(protocol)) + " has no ports");
}

Result<fw_port_chunk> read_chunk(const Map<std::uint32_t, fw_port_chunk>& map, std::uint32_t index) {
  auto row = map.lookup(index);
  if (!row.ok() && row.error().code == Code::kNotFound) return fw_port_chunk{};
  return row;
}

bool is_zero(const fw_port_chunk& chunk) {
  return std::all_of(std::begin(chunk.v), std::end(chunk.v), [](const auto& bank) {
    return std::all_of(std::begin(bank), std::end(bank), [](__u16 port_class) { return port_class == FW_PORT_NONE; });
  });
}

// As the programs' fw_track_hash().
std::uint32_t track_check(const fw_track_key& key) {
  std::uint64_t w[5];
  std::memcpy(w, &key, sizeof(w));
  std::uint64_t h = 0x9e3779b97f4a7c15ULL;
  for (std::size_t i = 0; i < 5; ++i) {
    h = (h ^ w[i]) * (i % 2 == 0 ? 0xff51afd7ed558ccdULL : 0xc4ceb9fe1a85ec53ULL);
    h ^= h >> 32;
  }
  return static_cast<std::uint32_t>(h);
}

}  // namespace

Status PolicyTables::set_port_classes(unsigned bank, net::Protocol protocol, std::uint16_t first, std::uint16_t last,
                                      std::uint16_t port_class) {
  FW_ASSIGN(const std::uint32_t base, first_chunk(protocol));
  if (bank > 1 || first > last)
    return make_error(Code::kInvalid,
                      "ports " + std::to_string(first) + "-" + std::to_string(last) + " of bank " + std::to_string(bank) + " are no range");
  std::vector<std::uint32_t> written, gone;
  std::vector<fw_port_chunk> chunks;
  for (std::uint32_t start = first / FW_PORT_CHUNK * FW_PORT_CHUNK; start <= last; start += FW_PORT_CHUNK) {
    const std::uint32_t index = base + start / FW_PORT_CHUNK;
    FW_ASSIGN(fw_port_chunk chunk, read_chunk(pol_ports(), index));
    const std::uint32_t from = std::max<std::uint32_t>(start, first) - start;
    const std::uint32_t to = std::min<std::uint32_t>(start + FW_PORT_CHUNK - 1, last) - start;
    std::fill(chunk.v[bank] + from, chunk.v[bank] + to + 1, port_class);
    if (is_zero(chunk)) {
      gone.push_back(index);
    } else {
      written.push_back(index);
      chunks.push_back(chunk);
    }
  }
  if (!written.empty()) FW_TRY(pol_ports().update_batch(written, chunks));
  return gone.empty() ? Status{} : pol_ports().remove_batch(gone);
}

Result<std::uint16_t> PolicyTables::port_class(unsigned bank, net::Protocol protocol, std::uint16_t port) {
  FW_ASSIGN(const std::uint32_t base, first_chunk(protocol));
  FW_ASSIGN(const fw_port_chunk chunk, read_chunk(pol_ports(), base + port / FW_PORT_CHUNK));
  return std::uint16_t{chunk.v[bank & 1][port % FW_PORT_CHUNK]};
}

fw_cidr_key cidr_key(const net::Prefix& prefix) {
  fw_cidr_key key{};
  key.prefixlen = FW_CIDR_FAMILY_BITS + abi_length(prefix);
  key.family = prefix.family() == net::Family::kV4 ? 4 : 6;
  key.addr = to_abi(prefix.addr());
  return key;
}

net::Prefix prefix_of(const fw_cidr_key& key) {
  const unsigned own = key.prefixlen - FW_CIDR_FAMILY_BITS - (key.family == 4 ? 96 : 0);
  return net::Prefix(from_abi(key.addr), own);
}

TrackKey track_key(const net::SocketAddr& from, const net::SocketAddr& to, std::uint8_t protocol) {
  const fw_addr a = to_abi(from.addr), b = to_abi(to.addr);
  const std::uint16_t ap = htons(from.port), bp = htons(to.port);
  int order = std::memcmp(&a, &b, sizeof(a));
  if (order == 0) order = std::memcmp(&ap, &bp, sizeof(ap));
  TrackKey out;
  out.low_began = order <= 0 ? FW_TRACK_LOW_BEGAN : 0;
  out.key.low = order <= 0 ? a : b;
  out.key.high = order <= 0 ? b : a;
  out.key.low_port_be = order <= 0 ? ap : bp;
  out.key.high_port_be = order <= 0 ? bp : ap;
  out.key.protocol = protocol;
  return out;
}

fw_track seeded_row(const TrackKey& of, std::uint32_t now_s) {
  fw_track row{};
  row.check = track_check(of.key);
  row.last_seen_s = now_s;
  row.flags = of.low_began | FW_TRACK_REPLIED | FW_TRACK_ESTABLISHED | FW_TRACK_SEEDED;
  return row;
}

}  // namespace fairway::datapath
