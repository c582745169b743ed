#include <algorithm>
#include <cstring>

#include "dns/wire.h"

namespace fairway::dns {

namespace {

constexpr std::size_t kOptBytes = 11;
constexpr std::size_t kMaxNames = 256;  // that later ones are compared with
constexpr std::size_t kMaxEdeText = 80;

}  // namespace

AnswerWriter::AnswerWriter(const Query& query, std::size_t limit, bool with_question)
    : query_(query), limit_(limit - (query.edns ? kOptBytes : 0)), full_limit_(limit), has_question_(with_question) {
  out_.reserve(std::min<std::size_t>(limit, 512));
  out_.resize(12);
  if (!with_question) return;
  std::size_t size = query.question.name.wire().size();
  out_.insert(out_.end(), query.spelling.begin(), query.spelling.begin() + static_cast<std::ptrdiff_t>(size));
  for (std::size_t at = 0; query.spelling[at] != 0; at += 1u + query.spelling[at]) names_.push_back(static_cast<std::uint16_t>(12 + at));
  u16(query.question.type);
  u16(query.question.klass);
}

void AnswerWriter::u16(std::uint16_t v) {
  out_.push_back(static_cast<std::uint8_t>(v >> 8));
  out_.push_back(static_cast<std::uint8_t>(v));
}
void AnswerWriter::u32(std::uint32_t v) {
  u16(static_cast<std::uint16_t>(v >> 16));
  u16(static_cast<std::uint16_t>(v));
}

void AnswerWriter::name(const Name& n, bool compress) {
  Bytes wire = n.wire();
  for (std::size_t at = 0; wire[at] != 0; at += 1u + wire[at]) {
    if (compress) {
      for (std::uint16_t offset : names_) {
        Name earlier;
        Reader reader(out_, offset);
        if (!reader.name(earlier)) continue;
        Bytes rest = wire.subspan(at), other = earlier.wire();
        if (!std::equal(rest.begin(), rest.end(), other.begin(), other.end())) continue;
        u16(static_cast<std::uint16_t>(0xc000 | offset));
        return;
      }
    }
    if (out_.size() < 0x4000 && names_.size() < kMaxNames) names_.push_back(static_cast<std::uint16_t>(out_.size()));
    out_.insert(out_.end(), wire.begin() + static_cast<std::ptrdiff_t>(at), wire.begin() + static_cast<std::ptrdiff_t>(at + 1 + wire[at]));
  }
  out_.push_back(0);
}

bool AnswerWriter::commit(Section section, std::size_t start, std::size_t length_at) {
  if (out_.size() > limit_) {
    out_.resize(start);
    std::erase_if(names_, [&](std::uint16_t offset) { return offset >= start; });
    full_ = true;
    if (section != Section::kAdditional) truncated_ = true;
    return false;
  }
  put_u16(out_, length_at, static_cast<std::uint16_t>(out_.size() - length_at - 2));
  ++counts_[static_cast<std::size_t>(section)];
  return true;
}

template <typename WriteData>
void AnswerWriter::write_record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, WriteData write_data) {
  if (full_) {
    if (section != Section::kAdditional) truncated_ = true;
    return;
  }
  std::size_t start = out_.size();
  name(owner, true);
  u16(type);
  u16(kClassIn);
  u32(ttl);
  std::size_t length_at = out_.size();
  u16(0);
  write_data();
  commit(section, start, length_at);
}

void AnswerWriter::record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, Bytes data) {
  write_record(section, owner, type, ttl, [&] { out_.insert(out_.end(), data.begin(), data.end()); });
}

void AnswerWriter::name_record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, Bytes before, const Name& target,
                               Bytes after, bool compress) {
  write_record(section, owner, type, ttl, [&] {
    out_.insert(out_.end(), before.begin(), before.end());
    name(target, compress);
    out_.insert(out_.end(), after.begin(), after.end());
  });
}

std::vector<std::uint8_t> AnswerWriter::finish(const Finish& f) {
  put_u16(out_, 0, query_.id);
  std::uint16_t flags = 0x8000;
  flags |= static_cast<std::uint16_t>(query_.opcode << 11);
  if (f.authoritative) flags |= 0x0400;
  if (truncated_) flags |= 0x0200;
  if (query_.rd) flags |= 0x0100;
  flags |= 0x0080;
  if (f.authentic) flags |= 0x0020;
  if (query_.cd) flags |= 0x0010;
  flags |= static_cast<std::uint16_t>(f.rcode & 15);
  put_u16(out_, 2, flags);
  put_u16(out_, 4, has_question_ ? 1 : 0);
  put_u16(out_, 6, counts_[0]);
  put_u16(out_, 8, counts_[1]);
  put_u16(out_, 10, static_cast<std::uint16_t>(counts_[2] + (query_.edns ? 1 : 0)));
  if (!query_.edns) return std::move(out_);
  out_.push_back(0);
  u16(kTypeOpt);
  u16(kUdpBytes);
  u32(static_cast<std::uint32_t>(f.rcode >> 4) << 24 | (query_.dnssec_ok ? 0x8000u : 0u));
  std::string_view text = f.ede_text.substr(0, kMaxEdeText);
  if (f.ede == Ede::kNone || out_.size() + 2 + 6 + text.size() > full_limit_) {
    u16(0);
    return std::move(out_);
  }
  u16(static_cast<std::uint16_t>(6 + text.size()));
  u16(15);
  u16(static_cast<std::uint16_t>(2 + text.size()));
  u16(static_cast<std::uint16_t>(f.ede));
  out_.insert(out_.end(), text.begin(), text.end());
  return std::move(out_);
}

std::vector<std::uint8_t> make_error(const Query& query, unsigned rcode, bool with_question, std::size_t limit, Ede ede,
                                     std::string_view text) {
  AnswerWriter writer(query, limit, with_question);
  return writer.finish({.rcode = rcode, .ede = ede, .ede_text = text});
}

}  // namespace fairway::dns
