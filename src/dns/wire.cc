#include "dns/wire.h"

#include <algorithm>
#include <cstring>

namespace fairway::dns {

namespace {

std::uint8_t lower(std::uint8_t c) { return c >= 'A' && c <= 'Z' ? static_cast<std::uint8_t>(c - 'A' + 'a') : c; }

constexpr std::uint32_t kMaxTtl = 24 * 3600;  // whatever an upstream says
constexpr unsigned kMaxRecords = 4096;        // of one message

}  // namespace

std::uint16_t get_u16(Bytes bytes, std::size_t at) { return static_cast<std::uint16_t>(bytes[at] << 8 | bytes[at + 1]); }

void put_u16(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint16_t value) {
  bytes[at] = static_cast<std::uint8_t>(value >> 8);
  bytes[at + 1] = static_cast<std::uint8_t>(value);
}

void put_u32(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint32_t value) {
  put_u16(bytes, at, static_cast<std::uint16_t>(value >> 16));
  put_u16(bytes, at + 2, static_cast<std::uint16_t>(value));
}

std::optional<Name> Name::from_text(std::string_view text) {
  Name out;
  std::size_t at = 0;
  while (!text.empty()) {
    std::size_t n = std::min(text.find('.'), text.size());
    if (n == 0 || n > 63 || at + 1 + n + 1 > out.bytes_.size()) return std::nullopt;
    out.bytes_[at++] = static_cast<std::uint8_t>(n);
    for (char c : text.substr(0, n)) out.bytes_[at++] = lower(static_cast<std::uint8_t>(c));
    text.remove_prefix(std::min(n + 1, text.size()));
  }
  out.bytes_[at] = 0;
  out.size_ = static_cast<std::uint8_t>(at + 1);
  return out;
}

std::vector<std::string_view> Name::labels() const {
  std::vector<std::string_view> out;
  for (std::size_t at = 0; bytes_[at] != 0; at += 1u + bytes_[at]) {
    out.emplace_back(reinterpret_cast<const char*>(&bytes_[at + 1]), bytes_[at]);
  }
  return out;
}

bool Name::operator==(const Name& other) const {
  return size_ == other.size_ && std::memcmp(bytes_.data(), other.bytes_.data(), size_) == 0;
}

bool Reader::u8(std::uint8_t& out) {
  if (left() < 1) return false;
  out = message_[at_++];
  return true;
}
bool Reader::u16(std::uint16_t& out) {
  if (left() < 2) return false;
  out = get_u16(message_, at_);
  at_ += 2;
  return true;
}
bool Reader::u32(std::uint32_t& out) {
  std::uint16_t high = 0, low = 0;
  if (left() < 4 || !u16(high) || !u16(low)) return false;
  out = std::uint32_t{high} << 16 | low;
  return true;
}
bool Reader::skip(std::size_t n) {
  if (left() < n) return false;
  at_ += n;
  return true;
}

// A pointer must lead before the name that it is in, and each further one before the last: so the walk ends.
bool Reader::name(Name& out, Pointers pointers) {
  std::size_t at = at_, floor = at_, end = 0, size = 0;
  for (;;) {
    if (at >= message_.size()) return false;
    std::uint8_t length = message_[at];
    if ((length & 0xc0) == 0xc0) {
      if (pointers == Pointers::kRefused || at + 1 >= message_.size()) return false;
      std::size_t target = static_cast<std::size_t>(length & 0x3f) << 8 | message_[at + 1];
      if (end == 0) end = at + 2;
      if (target >= floor || (starts_ != nullptr && !starts_->test(target))) return false;
      floor = at = target;
      continue;
    }
    if (length > 63 || size + 1 + length > out.bytes_.size() || at + 1 + length > message_.size()) return false;
    if (starts_ != nullptr && at < starts_->size()) starts_->set(at);
    out.bytes_[size++] = length;
    for (std::size_t i = 1; i <= length; ++i) out.bytes_[size++] = lower(message_[at + i]);
    at += 1u + length;
    if (length == 0) break;
    if (size >= out.bytes_.size()) return false;
  }
  out.size_ = static_cast<std::uint8_t>(size);
  at_ = end != 0 ? end : at;
  return true;
}

bool parse_record(Reader& reader, WireRecord& out) {
  if (!reader.name(out.name) || !reader.u16(out.type) || !reader.u16(out.klass)) return false;
  out.ttl_at = reader.at();
  if (!reader.u32(out.ttl) || !reader.u16(out.data_size)) return false;
  out.data_at = reader.at();
  if (out.ttl > 0x7fffffff) out.ttl = 0;  // RFC 2181 8
  return reader.skip(out.data_size);
}

DataNames data_names(std::uint16_t type) {
  switch (type) {
    case 2:   // NS
    case 5:   // CNAME
    case 7:   // MB
    case 8:   // MG
    case 9:   // MR
    case 12:  // PTR
    case 39:  // DNAME
      return {0, 1};
    case 6:   // SOA
    case 14:  // MINFO
    case 17:  // RP
      return {0, 2};
    case 15:  // MX
    case 18:  // AFSDB
    case 21:  // RT
    case 36:  // KX
      return {2, 1};
    case 26:
      return {2, 2};  // PX
    case 33:
      return {6, 1};  // SRV
    default:
      return {};
  }
}

static bool check_data(Bytes message, const WireRecord& record, Reader::LabelStarts& starts) {
  DataNames form = data_names(record.type);
  if (form.names == 0) return true;
  Reader reader(message.first(record.data_at + record.data_size), record.data_at);
  reader.track(&starts);
  if (!reader.skip(form.before)) return false;
  Name ignored;
  for (unsigned i = 0; i < form.names; ++i)
    if (!reader.name(ignored)) return false;
  return true;
}

static QueryVerdict parse_query_additional(Reader& reader, unsigned count, Query& out) {
  bool bad_version = false;
  for (unsigned i = 0; i < count; ++i) {
    WireRecord record;
    if (!parse_record(reader, record)) return QueryVerdict::kFormErr;
    if (record.type != kTypeOpt) continue;
    if (out.edns || record.name.wire().size() != 1) return QueryVerdict::kFormErr;
    out.edns = true;
    out.udp_bytes = std::max<std::uint16_t>(512, record.klass);
    out.dnssec_ok = record.ttl & 0x8000;
    bad_version = (record.ttl >> 16 & 0xff) != 0;
  }
  return bad_version ? QueryVerdict::kBadVers : QueryVerdict::kOk;
}

QueryVerdict parse_query(Bytes message, Query& out) {
  if (message.size() < 12) return QueryVerdict::kDrop;
  std::uint16_t flags = get_u16(message, 2);
  if (flags & 0x8000) return QueryVerdict::kDrop;  // an answer: to answer it would make a loop
  out.id = get_u16(message, 0);
  out.opcode = flags >> 11 & 15;
  out.rd = flags & 0x0100;
  out.ad = flags & 0x0020;
  out.cd = flags & 0x0010;
  if (out.opcode != 0) return QueryVerdict::kNotImp;
  if (message.size() > kMaxQueryBytes) return QueryVerdict::kFormErr;
  std::uint16_t additional = get_u16(message, 10);
  if (get_u16(message, 4) != 1 || get_u16(message, 6) != 0 || get_u16(message, 8) != 0 || additional > 8) return QueryVerdict::kFormErr;
  Reader reader(message, 12);
  if (!reader.name(out.question.name, Reader::Pointers::kRefused)) return QueryVerdict::kFormErr;
  std::copy_n(message.begin() + 12, out.question.name.wire().size(), out.spelling.begin());
  if (!reader.u16(out.question.type) || !reader.u16(out.question.klass)) return QueryVerdict::kFormErr;
  QueryVerdict verdict = parse_query_additional(reader, additional, out);
  if (verdict == QueryVerdict::kOk && reader.left() != 0) return QueryVerdict::kFormErr;
  return verdict;
}

// For the negative TTL: the least of the SOA's TTL and its last field.
static bool soa_minimum(Bytes message, const WireRecord& record, std::uint32_t& out) {
  Reader reader(message.first(record.data_at + record.data_size), record.data_at);
  Name ignored;
  std::uint32_t minimum = 0;
  if (!reader.name(ignored) || !reader.name(ignored) || !reader.skip(16) || !reader.u32(minimum)) return false;
  out = std::min(minimum, record.ttl);
  return true;
}

bool parse_answer(Bytes message, UpstreamAnswer& out) {
  if (message.size() < 12 || message.size() > 65535) return false;
  out.id = get_u16(message, 0);
  std::uint16_t flags = get_u16(message, 2);
  out.response = flags & 0x8000;
  out.opcode = flags >> 11 & 15;
  out.truncated = flags & 0x0200;
  out.authentic = flags & 0x0020;
  out.rcode = flags & 15;
  unsigned counts[3] = {get_u16(message, 6), get_u16(message, 8), get_u16(message, 10)};
  std::uint16_t questions = get_u16(message, 4);
  Reader reader(message, 12);
  Reader::LabelStarts starts;
  reader.track(&starts);
  if (questions > 1 || counts[0] + counts[1] + counts[2] > kMaxRecords) return false;
  if (questions == 1) {
    if (!reader.name(out.question.name, Reader::Pointers::kRefused) || !reader.u16(out.question.type) || !reader.u16(out.question.klass))
      return false;
    out.has_question = true;
  }
  out.body_at = out.body_end = reader.at();
  std::uint32_t least = kMaxTtl;
  bool negative_ttl = false, cut = false;
  for (unsigned section = 0; section < 3; ++section) {
    for (unsigned i = 0; i < counts[section]; ++i) {
      WireRecord record;
      if (!parse_record(reader, record) || !check_data(message, record, starts)) {
        // What was cut off in the middle of a record still says that it was cut off, and nothing else.
        if (!out.truncated) return false;
        out.answers = out.authorities = out.additionals = 0;
        out.body_end = out.body_at;
        out.ttl_offsets.clear();
        out.ttl = 0;
        return true;
      }
      if (record.type == kTypeOpt) {
        if (section != 2 || out.edns) return false;
        out.edns = true;
        out.rcode |= (record.ttl >> 24 & 0xff) << 4;
        cut = true;  // OPT is the hop's own; records behind it could only be kept by rewriting their pointers
        continue;
      }
      if (cut) continue;
      if (section == 1 && record.type == kTypeSoa) {
        std::uint32_t minimum = 0;
        if (!soa_minimum(message, record, minimum)) return false;
        if (out.answers == 0 || out.rcode == static_cast<unsigned>(Rcode::kNxDomain)) least = std::min(least, minimum);
        negative_ttl = true;
      }
      least = std::min(least, record.ttl);
      out.ttl_offsets.push_back(static_cast<std::uint16_t>(record.ttl_at));
      ++(section == 0 ? out.answers : section == 1 ? out.authorities : out.additionals);
      out.body_end = reader.at();
    }
  }
  // RFC 2308 5: a negative answer without a SOA is not to be cached.
  bool negative = out.answers == 0 || out.rcode == static_cast<unsigned>(Rcode::kNxDomain);
  out.ttl = negative && !negative_ttl ? 0 : least;
  return true;
}

std::vector<std::uint8_t> make_query(std::uint16_t id, const Question& question, bool cd, bool ad, bool dnssec_ok, bool edns) {
  std::vector<std::uint8_t> out(12);
  put_u16(out, 0, id);
  put_u16(out, 2, static_cast<std::uint16_t>(0x0100 | (ad ? 0x0020 : 0) | (cd ? 0x0010 : 0)));
  put_u16(out, 4, 1);
  put_u16(out, 10, edns ? 1 : 0);
  Bytes name = question.name.wire();
  out.insert(out.end(), name.begin(), name.end());
  std::size_t at = out.size();
  out.resize(at + 4);
  put_u16(out, at, question.type);
  put_u16(out, at + 2, question.klass);
  if (!edns) return out;
  at = out.size();
  out.resize(at + 11);
  put_u16(out, at + 1, kTypeOpt);
  put_u16(out, at + 3, kUdpBytes);
  put_u16(out, at + 7, dnssec_ok ? 0x8000 : 0);
  return out;
}

}  // namespace fairway::dns
