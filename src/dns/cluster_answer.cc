#include "dns/cluster_answer.h"

#include <algorithm>
#include <array>

namespace fairway::dns {

namespace {

namespace zn = compile::dns;
using Section = AnswerWriter::Section;
constexpr unsigned kMaxChain = 8;
constexpr std::uint32_t kSoaRefresh = 7200, kSoaRetry = 1800, kSoaExpire = 86400;

void append_u32(std::vector<std::uint8_t>& out, std::uint32_t v) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(static_cast<std::uint8_t>(v >> shift));
}

void write_soa(AnswerWriter& writer, Section section, const Name& owner, const std::string& domain, std::uint32_t ttl,
               std::uint32_t serial) {
  Name primary = Name::from_text("ns.dns." + domain).value_or(Name());
  Name mailbox = Name::from_text("hostmaster." + domain).value_or(Name());
  std::vector<std::uint8_t> after(mailbox.wire().begin(), mailbox.wire().end());
  for (std::uint32_t v : {serial, kSoaRefresh, kSoaRetry, kSoaExpire, ttl}) append_u32(after, v);
  writer.name_record(section, owner, kTypeSoa, ttl, {}, primary, after, true);
}

void write(AnswerWriter& writer, Section section, const Name& query_name, const zn::Record& r, const zn::ZoneConfig& config,
           std::uint32_t serial) {
  Name owner = query_name;
  if (!r.owner.empty()) {
    auto parsed = Name::from_text(r.owner);
    if (!parsed) return;
    owner = *parsed;
  }
  auto type = static_cast<std::uint16_t>(r.type);
  switch (r.type) {
    case zn::RecordType::kA:
      return writer.record(section, owner, type, config.ttl_seconds, r.addr.v4_bytes());
    case zn::RecordType::kAaaa:
      return writer.record(section, owner, type, config.ttl_seconds, r.addr.bytes());
    case zn::RecordType::kSoa:
      return write_soa(writer, section, owner, config.domain, config.ttl_seconds, serial);
    case zn::RecordType::kTxt: {
      std::vector<std::uint8_t> data{static_cast<std::uint8_t>(r.target.size())};
      data.insert(data.end(), r.target.begin(), r.target.end());
      return writer.record(section, owner, type, config.ttl_seconds, data);
    }
    default:
      break;
  }
  auto target = Name::from_text(r.target);
  if (!target) return;
  std::vector<std::uint8_t> before;
  bool srv = r.type == zn::RecordType::kSrv;  // its target is never compressed (RFC 2782)
  if (srv)
    for (std::uint16_t v : {r.priority, r.weight, r.port}) {
      before.push_back(static_cast<std::uint8_t>(v >> 8));
      before.push_back(static_cast<std::uint8_t>(v));
    }
  writer.name_record(section, owner, type, config.ttl_seconds, before, *target, {}, !srv);
}

void write_chain(AnswerWriter& writer, const std::vector<std::pair<Name, Name>>& chain, std::uint32_t ttl) {
  for (const auto& [owner, target] : chain) writer.name_record(Section::kAnswer, owner, kTypeCname, ttl, {}, target, {}, true);
}

// Names that are never asked of others. RFC 6761 6.3, 6.4; RFC 8482 for ANY.
std::optional<std::vector<std::uint8_t>> special(const Query& query, std::size_t limit) {
  auto labels = query.question.name.labels();
  std::string_view top = labels.empty() ? "" : labels.back();
  AnswerWriter writer(query, limit);
  if (top == "localhost") {
    std::array<std::uint8_t, 16> loopback{};
    loopback[15] = 1;
    constexpr std::array<std::uint8_t, 4> kLoopback4{127, 0, 0, 1};
    if (query.question.type == 1) writer.record(Section::kAnswer, query.question.name, 1, 3600, kLoopback4);
    if (query.question.type == 28) writer.record(Section::kAnswer, query.question.name, 28, 3600, loopback);
    return writer.finish({});
  }
  if (top == "invalid") return writer.finish({.rcode = static_cast<unsigned>(Rcode::kNxDomain)});
  if (query.question.type == kTypeAnyQuery) {
    constexpr std::array<std::uint8_t, 9> kHinfo{7, 'R', 'F', 'C', '8', '4', '8', '2', 0};
    writer.record(Section::kAnswer, query.question.name, kTypeHinfo, 3600, kHinfo);
    return writer.finish({});
  }
  return std::nullopt;
}

std::vector<std::uint8_t> not_ready(const Query& query, std::size_t limit) {
  return make_error(query, static_cast<unsigned>(Rcode::kServFail), true, limit, Ede::kNotReady,
                    "the cluster's names have not been read yet");
}

}  // namespace

OwnAnswer answer_own(const zn::Zone& zone, const Query& query, std::size_t limit, std::uint32_t turn) {
  const zn::ZoneConfig& config = zone.config();
  OwnAnswer out;
  Name name = query.question.name;
  zn::Answer answer;
  for (unsigned step = 0;; ++step) {
    answer = zone.lookup(name.labels(), query.question.type);
    if (answer.kind != zn::Answer::Kind::kCname || query.question.type == kTypeCname || query.question.type == kTypeAnyQuery) break;
    auto target = Name::from_text(answer.records[0].target);
    if (!target || step == kMaxChain) {
      out.message = make_error(query, static_cast<unsigned>(Rcode::kServFail), true, limit, Ede::kNone);
      return out;
    }
    out.chain.emplace_back(name, *target);
    name = *target;
  }
  if (answer.kind == zn::Answer::Kind::kOutside) {
    out.outside = name;
    if (out.chain.empty()) out.message = special(query, limit);
    return out;
  }
  if (answer.kind == zn::Answer::Kind::kIncomplete) {
    out.kind = AnswerClass::kIncomplete;
    out.message = not_ready(query, limit);
    return out;
  }
  AnswerWriter writer(query, limit);
  write_chain(writer, out.chain, config.ttl_seconds);
  std::uint32_t serial = zone.serial();
  bool addresses = query.question.type == 1 || query.question.type == 28;
  if (addresses && answer.records.size() > 1) {
    auto by = static_cast<std::ptrdiff_t>(turn % answer.records.size());
    std::rotate(answer.records.begin(), answer.records.begin() + by, answer.records.end());
  }
  for (const auto& r : answer.records) write(writer, Section::kAnswer, name, r, config, serial);
  if (answer.records.empty()) {
    if (auto apex = Name::from_text(answer.apex)) write_soa(writer, Section::kAuthority, *apex, config.domain, config.ttl_seconds, serial);
  }
  for (const auto& r : answer.additional) write(writer, Section::kAdditional, name, r, config, serial);
  bool denied = answer.kind == zn::Answer::Kind::kNxDomain;
  out.kind = denied ? AnswerClass::kNxDomain : AnswerClass::kRecords;
  out.message = writer.finish({.rcode = static_cast<unsigned>(denied ? Rcode::kNxDomain : Rcode::kNoError), .authoritative = true});
  return out;
}

std::vector<std::uint8_t> finish_chain(const OwnAnswer& own, std::uint32_t ttl_seconds, const Query& query, const Response* response,
                                       const RenderOptions& options) {
  AnswerWriter writer(query, options.limit_bytes);
  if (response == nullptr) {
    // Without the end of the chain a stub resolver would take it for "no address": say that it failed.
    return writer.finish({.rcode = static_cast<unsigned>(Rcode::kServFail),
                          .ede = Ede::kNetworkError,
                          .ede_text = "the target of the ExternalName did not resolve"});
  }
  write_chain(writer, own.chain, ttl_seconds);
  append_response(writer, *response, options);
  AnswerWriter::Finish finish{.rcode = response->rcode};
  if (options.stale) finish.ede = Ede::kStale;
  return writer.finish(finish);
}

}  // namespace fairway::dns
