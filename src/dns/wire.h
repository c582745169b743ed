// DNS wire format: queries in, answers out, and the checking of what upstreams send.
//
// Place: between the sockets and everything else of this folder; all bytes from outside pass here first.
// Sources: RFC 1035, 2308, 2782, 3597, 6840, 6891, 7766, 8482, 8914, 9619.
// Invariants: no parse reads past its input, follows a pointer forwards, or takes more than linear time.
#pragma once

#include <array>
#include <bitset>
#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace fairway::dns {

using Bytes = std::span<const std::uint8_t>;

enum class Rcode : std::uint8_t { kNoError = 0, kFormErr = 1, kServFail = 2, kNxDomain = 3, kNotImp = 4, kRefused = 5 };
constexpr unsigned kRcodeBadVers = 16;  // extended: 4 bits in the header, 8 in the OPT record

// RFC 8914
enum class Ede : std::uint16_t {
  kNone = 0xffff,
  kStale = 3,
  kNotReady = 14,
  kProhibited = 18,
  kStaleNx = 19,
  kNotAuthoritative = 20,
  kNoReachable = 22,
  kNetworkError = 23
};

constexpr std::uint16_t kTypeSoa = 6, kTypeCname = 5, kTypeHinfo = 13, kTypeOpt = 41, kTypeAxfr = 252, kTypeAnyQuery = 255;
constexpr std::uint16_t kClassIn = 1;
constexpr std::size_t kMaxQueryBytes = 4096;  // limit before parsing, on every transport: FORMERR beyond
constexpr std::uint16_t kUdpBytes = 1232;     // what we offer to take by UDP: as much as passes everywhere in one piece

// A name in wire form, lower-case, uncompressed, with the root's zero.
class Name {
 public:
  Name() : size_(1) {}
  // From "a.b.c" (no escapes). Nothing where it is no name.
  static std::optional<Name> from_text(std::string_view text);
  Bytes wire() const { return {bytes_.data(), size_}; }
  // Leaf first, without the root; they point into this object.
  std::vector<std::string_view> labels() const;
  bool operator==(const Name& other) const;

 private:
  friend class Reader;
  std::array<std::uint8_t, 255> bytes_{};
  std::uint8_t size_;
};

// Cursor over a message.
class Reader {
 public:
  explicit Reader(Bytes message, std::size_t at = 0) : message_(message), at_(at) {}
  bool u8(std::uint8_t& out);
  bool u16(std::uint16_t& out);
  bool u32(std::uint32_t& out);
  bool skip(std::size_t n);
  enum class Pointers { kAllowed, kRefused };
  bool name(Name& out, Pointers pointers = Pointers::kAllowed);
  // Where labels of names begin that were read so far. Given one, a pointer may lead to these places alone: else a
  // message could make names of its header or TTLs, which we rewrite.
  using LabelStarts = std::bitset<0x4000>;
  void track(LabelStarts* starts) { starts_ = starts; }
  std::size_t at() const { return at_; }
  std::size_t left() const { return message_.size() - at_; }

 private:
  Bytes message_;
  std::size_t at_;
  LabelStarts* starts_ = nullptr;
};

struct Question {
  Name name;
  std::uint16_t type = 0;
  std::uint16_t klass = kClassIn;
  bool operator==(const Question&) const = default;
};

struct Query {
  std::uint16_t id = 0;
  std::uint8_t opcode = 0;
  bool rd = false, ad = false, cd = false;
  Question question;
  std::array<std::uint8_t, 255> spelling{};  // the name as it was asked, upper case kept; as long as question.name
  bool edns = false;
  bool dnssec_ok = false;
  std::uint16_t udp_bytes = 512;  // the largest UDP answer that the client takes
};

enum class QueryVerdict { kOk, kDrop, kFormErr, kNotImp, kBadVers };
// kDrop: not a query at all, no answer is due. For FORMERR and NOTIMP `out` holds what was understood.
QueryVerdict parse_query(Bytes message, Query& out);

struct WireRecord {
  Name name;
  std::uint16_t type = 0, klass = 0;
  std::uint32_t ttl = 0;
  std::size_t ttl_at = 0;  // offset of the TTL in the message
  std::size_t data_at = 0;
  std::uint16_t data_size = 0;
};
bool parse_record(Reader& reader, WireRecord& out);

// Names in the data of a type that may be compressed: the bytes before the first, and how many follow. Data of other
// types is opaque (RFC 3597 4).
struct DataNames {
  std::size_t before = 0;
  unsigned names = 0;
};
DataNames data_names(std::uint16_t type);

// What an upstream sent, after all of it was walked.
struct UpstreamAnswer {
  std::uint16_t id = 0;
  bool response = false, truncated = false, authentic = false;
  std::uint8_t opcode = 0;
  unsigned rcode = 0;         // extended
  bool has_question = false;  // exactly one, uncompressed, right after the header
  Question question;
  bool edns = false;
  std::uint16_t answers = 0, authorities = 0, additionals = 0;  // without OPT and what follows it
  std::size_t body_at = 0;                                      // first record
  std::size_t body_end = 0;                                     // end of the records counted above
  std::uint32_t ttl = 0;  // seconds that the whole may be cached: the least TTL, or the negative TTL (RFC 2308)
  std::vector<std::uint16_t> ttl_offsets;
};
// False: malformed, and nothing of it is to be used.
bool parse_answer(Bytes message, UpstreamAnswer& out);

std::uint16_t get_u16(Bytes bytes, std::size_t at);
void put_u16(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint16_t value);
void put_u32(std::vector<std::uint8_t>& bytes, std::size_t at, std::uint32_t value);

// Builds one answer to one query, never longer than `limit`. A record that no longer fits is left out whole,
// and TC is set if it belonged to the answer or authority section.
class AnswerWriter {
 public:
  AnswerWriter(const Query& query, std::size_t limit, bool with_question = true);

  enum class Section { kAnswer, kAuthority, kAdditional };
  // `data` is written as it is.
  void record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, Bytes data);
  // Data = `before`, then a name (compressed where the type allows it), then `after`.
  void name_record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, Bytes before, const Name& target, Bytes after,
                   bool compress);
  void set_truncated() { truncated_ = true; }

  struct Finish {
    unsigned rcode = 0;
    bool authoritative = false;
    bool authentic = false;
    Ede ede = Ede::kNone;
    std::string_view ede_text;
  };
  std::vector<std::uint8_t> finish(const Finish& f);

 private:
  void u16(std::uint16_t v);
  void u32(std::uint32_t v);
  void name(const Name& n, bool compress);
  template <typename WriteData>
  void write_record(Section section, const Name& owner, std::uint16_t type, std::uint32_t ttl, WriteData write_data);
  bool commit(Section section, std::size_t start, std::size_t length_at);

  const Query& query_;
  std::size_t limit_;  // less what the OPT record will take
  std::size_t full_limit_;
  std::vector<std::uint8_t> out_;
  std::vector<std::uint16_t> names_;  // offsets of names (and their suffixes) that later ones may point to
  std::array<std::uint16_t, 3> counts_{};
  bool truncated_ = false;
  bool full_ = false;
  bool has_question_;
};

// A query to an upstream: RD, the question, EDNS with 1232 bytes and DO, or none.
std::vector<std::uint8_t> make_query(std::uint16_t id, const Question& question, bool cd, bool ad, bool dnssec_ok, bool edns);

// RA is always set: this server is the whole resolver of a pod, upstreams or none, and stub resolvers warn where it is not.
// An answer without a body, for what was not understood or is not to be answered.
std::vector<std::uint8_t> make_error(const Query& query, unsigned rcode, bool with_question, std::size_t limit, Ede ede = Ede::kNone,
                                     std::string_view text = {});

}  // namespace fairway::dns
