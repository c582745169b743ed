#include "dns/response.h"

#include <algorithm>

namespace fairway::dns {

namespace {

constexpr std::uint32_t kStaleTtlSeconds = 30;

std::uint32_t age_seconds(const Response& response, Time now) {
  auto age = std::chrono::duration_cast<std::chrono::seconds>(now - response.stored).count();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(age, 0, UINT32_MAX));
}

std::uint32_t present_ttl(const Response& response, std::uint32_t ttl, const RenderOptions& options) {
  if (options.stale) return kStaleTtlSeconds;
  std::uint32_t age = age_seconds(response, options.now);
  return ttl > age ? ttl - age : 0;
}

}  // namespace

std::shared_ptr<const Response> keep_response(Bytes message, const UpstreamAnswer& parsed, Time now) {
  auto out = std::make_shared<Response>();
  out->message.assign(message.begin(), message.begin() + static_cast<std::ptrdiff_t>(parsed.body_end));
  out->ttl_offsets = parsed.ttl_offsets;
  out->rcode = parsed.rcode;
  out->authentic = parsed.authentic;
  out->answers = parsed.answers;
  out->authorities = parsed.authorities;
  out->additionals = parsed.additionals;
  out->body_at = parsed.body_at;
  out->ttl_seconds = parsed.ttl;
  out->stored = now;
  return out;
}

std::vector<std::uint8_t> render_response(const Query& query, const Response& response, const RenderOptions& options) {
  AnswerWriter::Finish finish{.rcode = response.rcode, .authentic = response.authentic && (query.ad || query.dnssec_ok)};
  if (options.stale) finish.ede = response.rcode == static_cast<unsigned>(Rcode::kNxDomain) ? Ede::kStaleNx : Ede::kStale;
  AnswerWriter writer(query, options.limit_bytes);
  if (response.message.size() + (query.edns ? 17 : 0) > options.limit_bytes) {
    writer.set_truncated();
    return writer.finish(finish);
  }
  // The question is as long as the one kept, whatever its spelling, so all pointers hold.
  std::vector<std::uint8_t> head = writer.finish(finish);
  auto at = [](std::vector<std::uint8_t>& v, std::size_t n) { return v.begin() + static_cast<std::ptrdiff_t>(n); };
  std::vector<std::uint8_t> out = response.message;
  for (std::uint16_t offset : response.ttl_offsets) {
    std::uint32_t ttl = std::uint32_t{get_u16(out, offset)} << 16 | get_u16(out, offset + 2u);
    put_u32(out, offset, present_ttl(response, ttl, options));
  }
  std::copy(head.begin(), at(head, response.body_at), out.begin());
  put_u16(out, 6, response.answers);
  put_u16(out, 8, response.authorities);
  put_u16(out, 10, static_cast<std::uint16_t>(response.additionals + (query.edns ? 1 : 0)));
  out.insert(out.end(), at(head, response.body_at), head.end());
  return out;
}

static bool append_record(AnswerWriter& writer, AnswerWriter::Section section, Bytes message, const WireRecord& record, std::uint32_t ttl) {
  Bytes data = message.subspan(record.data_at, record.data_size);
  DataNames form = data_names(record.type);
  if (form.names == 0) {
    writer.record(section, record.name, record.type, ttl, data);
    return true;
  }
  Reader reader(message.first(record.data_at + record.data_size), record.data_at);
  if (!reader.skip(form.before)) return false;
  Name first, second;
  if (!reader.name(first)) return false;
  std::vector<std::uint8_t> after;
  if (form.names == 2) {
    if (!reader.name(second)) return false;
    after.assign(second.wire().begin(), second.wire().end());
  }
  after.insert(after.end(), message.begin() + static_cast<std::ptrdiff_t>(reader.at()),
               message.begin() + static_cast<std::ptrdiff_t>(record.data_at + record.data_size));
  writer.name_record(section, record.name, record.type, ttl, data.first(form.before), first, after, false);
  return true;
}

void append_response(AnswerWriter& writer, const Response& response, const RenderOptions& options) {
  Reader reader(response.message, response.body_at);
  for (unsigned i = 0; i < response.answers + response.authorities; ++i) {
    WireRecord record;
    if (!parse_record(reader, record)) return;
    auto section = i < response.answers ? AnswerWriter::Section::kAnswer : AnswerWriter::Section::kAuthority;
    // A record that is no such thing inside is left out; the rest still serves.
    (void)append_record(writer, section, response.message, record, present_ttl(response, record.ttl, options));
  }
}

}  // namespace fairway::dns
