// For the tests of this folder: building and reading messages, a zone, an upstream that does as it is told.
#pragma once

#include <algorithm>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "compile/dns/zone.h"
#include "dns/wire.h"

namespace fairway::dns::test {

inline Name name(std::string_view text) { return Name::from_text(text).value(); }

struct QueryOptions {
  std::uint16_t id = 0x1234;
  bool rd = true;
  int edns_bytes = -1;  // -1: no OPT
  bool dnssec_ok = false;
};

inline std::vector<std::uint8_t> query(std::string_view qname, std::uint16_t type, QueryOptions o = {}) {
  std::vector<std::uint8_t> out(12);
  put_u16(out, 0, o.id);
  put_u16(out, 2, o.rd ? 0x0100 : 0);
  put_u16(out, 4, 1);
  // The spelling is kept, so not by way of Name.
  while (!qname.empty()) {
    std::size_t n = std::min(qname.find('.'), qname.size());
    out.push_back(static_cast<std::uint8_t>(n));
    out.insert(out.end(), qname.begin(), qname.begin() + static_cast<std::ptrdiff_t>(n));
    qname.remove_prefix(std::min(n + 1, qname.size()));
  }
  out.push_back(0);
  std::size_t at = out.size();
  out.resize(at + 4);
  put_u16(out, at, type);
  put_u16(out, at + 2, 1);
  if (o.edns_bytes < 0) return out;
  put_u16(out, 10, 1);
  at = out.size();
  out.resize(at + 11);
  put_u16(out, at + 1, kTypeOpt);
  put_u16(out, at + 3, static_cast<std::uint16_t>(o.edns_bytes));
  put_u16(out, at + 7, o.dnssec_ok ? 0x8000 : 0);
  return out;
}

// A query of just so many bytes, by the padding option (RFC 7830).
inline std::vector<std::uint8_t> padded(std::string_view qname, std::size_t size) {
  auto out = query(qname, 1, {.edns_bytes = 1232});
  std::size_t at = out.size();
  out.resize(size);
  put_u16(out, at - 2, static_cast<std::uint16_t>(size - at));
  put_u16(out, at, 12);
  put_u16(out, at + 2, static_cast<std::uint16_t>(size - at - 4));
  return out;
}

struct Parsed {
  bool ok = false;
  UpstreamAnswer answer;
  std::vector<WireRecord> records;  // of all sections, without OPT
  std::vector<std::uint8_t> bytes;
  int ede = -1;
  bool aa = false;

  std::vector<std::uint8_t> data(std::size_t i) const {
    auto from = bytes.begin() + static_cast<std::ptrdiff_t>(records[i].data_at);
    return {from, from + records[i].data_size};
  }
  // Dotted addresses of all A records in the answer section.
  std::vector<std::string> a() const {
    std::vector<std::string> out;
    for (std::size_t i = 0; i < answer.answers; ++i) {
      if (records[i].type != 1) continue;
      auto d = data(i);
      out.push_back(net::IpAddr::from_v4_bytes(std::span<const std::uint8_t, 4>(d.data(), 4)).to_string());
    }
    return out;
  }
};

inline Parsed parse(std::vector<std::uint8_t> message) {
  Parsed out;
  out.bytes = std::move(message);
  out.ok = parse_answer(out.bytes, out.answer);
  if (!out.ok) return out;
  out.aa = out.bytes[2] & 0x04;
  Reader reader(out.bytes, out.answer.body_at);
  WireRecord record;
  while (reader.left() > 0 && parse_record(reader, record)) {
    if (record.type == kTypeOpt) {
      if (record.data_size >= 6 && get_u16(out.bytes, record.data_at) == 15) out.ede = get_u16(out.bytes, record.data_at + 4);
      continue;
    }
    out.records.push_back(record);
  }
  return out;
}

// An upstream's answer to `q` (a whole query message): one A record for each of `addrs`.
inline std::vector<std::uint8_t> reply(Bytes q, std::vector<std::string> addrs, std::uint32_t ttl = 60, unsigned rcode = 0) {
  Query parsed;
  (void)parse_query(q, parsed);
  AnswerWriter writer(parsed, 65535);
  for (const auto& a : addrs)
    writer.record(AnswerWriter::Section::kAnswer, parsed.question.name, 1, ttl, net::IpAddr::parse(a).value().v4_bytes());
  if (addrs.empty()) {
    std::vector<std::uint8_t> after{0};
    for (std::uint32_t v : {1u, 2u, 3u, 4u, ttl})
      for (int s = 24; s >= 0; s -= 8) after.push_back(static_cast<std::uint8_t>(v >> s));
    writer.name_record(AnswerWriter::Section::kAuthority, name("example"), kTypeSoa, ttl, {}, name("ns.example"), after, true);
  }
  return writer.finish({.rcode = rcode});
}

inline std::shared_ptr<const compile::dns::Zone> zone(unsigned headless_endpoints = 3) {
  compile::dns::ZoneConfig config{.nameservers = {net::IpAddr::parse("10.96.0.10").value()},
                                  .reverse = {net::Prefix::parse("10.96.0.0/16").value()}};
  std::vector<model::Service> services(4);
  services[0] = {
      .id = {"default", "web"}, .cluster_ips = {net::IpAddr::parse("10.96.0.5").value()}, .ports = {{"http", net::Protocol::kTcp, 80}}};
  services[1] = {.id = {"default", "db"}, .headless = true};
  services[2] = {.id = {"default", "ext"}, .type = model::ServiceType::kExternalName, .external_name = "www.example.com"};
  services[3] = {.id = {"default", "loop"}, .type = model::ServiceType::kExternalName, .external_name = "loop.default.svc.cluster.local"};
  model::EndpointSlice slice{.id = {"default", "db-1"}, .service = {"default", "db"}, .ports = {{"pg", net::Protocol::kTcp, 5432}}};
  for (unsigned i = 0; i < headless_endpoints; ++i) slice.endpoints.push_back({.addr = net::IpAddr::v4(0x0af40101 + i)});
  return compile::dns::compile_zone(config, services, std::vector{slice}, {});
}

}  // namespace fairway::dns::test
