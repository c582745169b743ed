#include "apiserver/spdy.h"

#include <zlib.h>

#include <algorithm>

#include "base/check.h"

namespace fairway::apiserver {
namespace {

constexpr std::size_t kMaxControlBytes = 64 << 10;
constexpr std::size_t kMaxBlockBytes = 64 << 10;
constexpr std::size_t kMaxDataFrame = 0xffffff;
constexpr std::size_t kHeadBytes = 8;
constexpr std::uint8_t kFin = 1;

enum FrameType : std::uint16_t { kSynStream = 1, kSynReply = 2, kRstStream = 3, kSettings = 4, kPing = 6, kGoaway = 7, kHeaders = 8 };
constexpr std::uint32_t kCancel = 5;

std::uint32_t read32(std::string_view bytes, std::size_t at) {
  std::uint32_t value = 0;
  for (std::size_t i = 0; i < 4; ++i) value = value << 8 | static_cast<unsigned char>(bytes[at + i]);
  return value;
}

void append32(std::string& out, std::uint32_t value) {
  for (int shift = 24; shift >= 0; shift -= 8) out += static_cast<char>(value >> shift);
}

std::string control_head(FrameType type, std::uint8_t flags, std::size_t length) {
  std::string out;
  append32(out, 0x80030000u | type);
  append32(out, static_cast<std::uint32_t>(flags) << 24 | static_cast<std::uint32_t>(length));
  return out;
}

Error broken(const std::string& what) { return make_error(Code::kInvalid, "SPDY: " + what); }

class Inflater {
 public:
  Inflater() { FW_CHECK(::inflateInit(&stream_) == Z_OK); }
  ~Inflater() { ::inflateEnd(&stream_); }
  Inflater(const Inflater&) = delete;
  Inflater& operator=(const Inflater&) = delete;
  Result<std::string> run(std::string_view in);

 private:
  z_stream stream_{};
};

Result<std::string> Inflater::run(std::string_view in) {
  std::string out(kMaxBlockBytes, '\0');
  stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
  stream_.avail_in = static_cast<uInt>(in.size());
  stream_.next_out = reinterpret_cast<Bytef*>(out.data());
  stream_.avail_out = static_cast<uInt>(out.size());
  while (stream_.avail_in > 0) {
    int rc = ::inflate(&stream_, Z_SYNC_FLUSH);
    if (rc == Z_NEED_DICT) {
      const std::string& dictionary = spdy_dictionary();
      rc = ::inflateSetDictionary(&stream_, reinterpret_cast<const Bytef*>(dictionary.data()), static_cast<uInt>(dictionary.size()));
      if (rc != Z_OK) return broken("header block: another dictionary");
      continue;
    }
    if (rc != Z_OK && rc != Z_BUF_ERROR) return broken("header block: not a zlib stream");
    if (stream_.avail_out == 0) return broken("header block larger than " + std::to_string(kMaxBlockBytes) + " bytes");
    if (rc == Z_BUF_ERROR) break;
  }
  out.resize(out.size() - stream_.avail_out);
  return out;
}

class Deflater {
 public:
  Deflater() {
    const std::string& dictionary = spdy_dictionary();
    FW_CHECK(::deflateInit(&stream_, Z_DEFAULT_COMPRESSION) == Z_OK);
    FW_CHECK(::deflateSetDictionary(&stream_, reinterpret_cast<const Bytef*>(dictionary.data()), static_cast<uInt>(dictionary.size())) ==
             Z_OK);
  }
  ~Deflater() { ::deflateEnd(&stream_); }
  Deflater(const Deflater&) = delete;
  Deflater& operator=(const Deflater&) = delete;
  std::string run(std::string_view in) {
    std::string out(::deflateBound(&stream_, static_cast<uLong>(in.size())) + 64, '\0');
    stream_.next_in = reinterpret_cast<Bytef*>(const_cast<char*>(in.data()));
    stream_.avail_in = static_cast<uInt>(in.size());
    stream_.next_out = reinterpret_cast<Bytef*>(out.data());
    stream_.avail_out = static_cast<uInt>(out.size());
    FW_CHECK(::deflate(&stream_, Z_SYNC_FLUSH) == Z_OK && stream_.avail_out > 0);
    out.resize(out.size() - stream_.avail_out);
    return out;
  }

 private:
  z_stream stream_{};
};

Result<SpdyHeaders> parse_block(std::string_view block) {
  const auto take = [&](std::string_view& from) -> Result<std::string_view> {
    if (from.size() < 4) return broken("header block ends early");
    const std::uint32_t length = read32(from, 0);
    from.remove_prefix(4);
    if (length > from.size()) return broken("header block: a length beyond its end");
    const std::string_view text = from.substr(0, length);
    from.remove_prefix(length);
    return text;
  };
  if (block.size() < 4) return broken("header block ends early");
  const std::uint32_t count = read32(block, 0);
  block.remove_prefix(4);
  SpdyHeaders headers;
  for (std::uint32_t i = 0; i < count; ++i) {
    FW_ASSIGN(const std::string_view name, take(block));
    FW_ASSIGN(const std::string_view value, take(block));
    headers.emplace_back(std::string(name), std::string(value));
  }
  return headers;
}

// The dictionary's words, each with its length before it.
// clang-format off
constexpr std::string_view kDictionaryWords[] = {
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding", "accept-language", "accept-ranges",
    "age", "allow", "authorization", "cache-control", "connection", "content-base", "content-encoding", "content-language",
    "content-length", "content-location", "content-md5", "content-range", "content-type", "date", "etag", "expect", "expires", "from",
    "host", "if-match", "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location", "max-forwards",
    "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after", "server", "te", "trailer",
    "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning", "www-authenticate", "method", "get", "status", "200 OK",
    "version", "HTTP/1.1", "url", "public", "set-cookie", "keep-alive", "origin"};
// clang-format on

}  // namespace

const std::string& spdy_dictionary() {
  static const std::string dictionary = [] {
    std::string text;
    for (const std::string_view word : kDictionaryWords) {
      append32(text, static_cast<std::uint32_t>(word.size()));
      text += word;
    }
    return text +
           "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505203 Non-Authoritative Information"
           "204 No Content301 Moved Permanently400 Bad Request401 Unauthorized403 Forbidden404 Not Found500 Internal Server Error"
           "501 Not Implemented503 Service UnavailableJan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, "
           "Fri, Sat, Sun, GMTchunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,"
           "text/javascript,publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";
  }();
  return dictionary;
}

struct SpdyServer::Impl {
  explicit Impl(Events e) : events(std::move(e)) {}
  Status feed(std::string_view bytes);
  Status take_head();
  Status take_control();
  Status on_syn_stream(std::string_view payload);

  Events events;
  Inflater inflater;
  Deflater deflater;
  std::string head;      // of the frame at hand, until its 8 bytes are there
  std::string control;   // payload of a control frame
  std::size_t left = 0;  // bytes of the payload still to come
  bool in_payload = false, is_control = false, dead = false;
  std::uint16_t type = 0;
  std::uint8_t flags = 0;
  std::uint32_t stream = 0;
};

Status SpdyServer::Impl::take_head() {
  const std::uint32_t first = read32(head, 0), second = read32(head, 4);
  flags = static_cast<std::uint8_t>(second >> 24);
  left = second & 0xffffff;
  is_control = first >> 31;
  in_payload = true;
  if (is_control) {
    if ((first >> 16) != 0x8003) return broken("version " + std::to_string(first >> 16 & 0x7fff) + " instead of 3");
    type = static_cast<std::uint16_t>(first);
    if (left > kMaxControlBytes) return broken("control frame larger than " + std::to_string(kMaxControlBytes) + " bytes");
  } else {
    stream = first;
  }
  head.clear();
  control.clear();
  return {};
}

Status SpdyServer::Impl::on_syn_stream(std::string_view payload) {
  if (payload.size() < 10) return broken("SYN_STREAM of " + std::to_string(payload.size()) + " bytes");
  const std::uint32_t id = read32(payload, 0) & 0x7fffffff;
  FW_ASSIGN(const std::string block, inflater.run(payload.substr(10)));
  FW_ASSIGN(const SpdyHeaders headers, parse_block(block));
  events.on_stream(id, headers, flags & kFin);
  return {};
}

Status SpdyServer::Impl::take_control() {
  switch (type) {
    case kSynStream:
      return on_syn_stream(control);
    case kRstStream:
      if (control.size() < 8) return broken("RST_STREAM of " + std::to_string(control.size()) + " bytes");
      events.on_reset(read32(control, 0) & 0x7fffffff);
      return {};
    case kPing: {
      if (control.size() != 4) return broken("PING of " + std::to_string(control.size()) + " bytes");
      events.send(control_head(kPing, 0, 4) + control);
      return {};
    }
    case kSynReply:
    case kHeaders: {
      if (control.size() < 4) return broken("a header frame of " + std::to_string(control.size()) + " bytes");
      FW_TRY(inflater.run(std::string_view(control).substr(4)));
      return {};
    }
    default:
      return {};  // SETTINGS, GOAWAY, WINDOW_UPDATE and what is unknown change nothing here
  }
}

Status SpdyServer::Impl::feed(std::string_view bytes) {
  while (!bytes.empty() || (in_payload && left == 0)) {
    if (!in_payload) {
      const std::size_t part = std::min(kHeadBytes - head.size(), bytes.size());
      head.append(bytes.substr(0, part));
      bytes.remove_prefix(part);
      if (head.size() == kHeadBytes) FW_TRY(take_head());
      continue;
    }
    const std::string_view part = bytes.substr(0, left);
    bytes.remove_prefix(part.size());
    left -= part.size();
    if (is_control) control.append(part);
    if (left == 0) in_payload = false;
    if (!is_control) events.on_data(stream, part, left == 0 && (flags & kFin));
    else if (left == 0) FW_TRY(take_control());
  }
  return {};
}

SpdyServer::SpdyServer(Events events) : impl_(std::make_unique<Impl>(std::move(events))) {}
SpdyServer::~SpdyServer() = default;

Status SpdyServer::feed(std::string_view bytes) {
  if (impl_->dead) return broken("the session is over");
  Status status = impl_->feed(bytes);
  impl_->dead = !status.ok();
  return status;
}

void SpdyServer::reply(std::uint32_t stream) {
  std::string no_headers;
  append32(no_headers, 0);
  const std::string block = impl_->deflater.run(no_headers);
  std::string frame = control_head(kSynReply, 0, 4 + block.size());
  append32(frame, stream);
  impl_->events.send(frame + block);
}

void SpdyServer::data(std::uint32_t stream, std::string_view bytes, bool fin) {
  do {
    const std::string_view part = bytes.substr(0, kMaxDataFrame);
    bytes.remove_prefix(part.size());
    std::string frame;
    frame.reserve(kHeadBytes + part.size());
    append32(frame, stream);
    append32(frame, (fin && bytes.empty() ? static_cast<std::uint32_t>(kFin) << 24 : 0u) | static_cast<std::uint32_t>(part.size()));
    frame += part;
    impl_->events.send(std::move(frame));
  } while (!bytes.empty());
}

void SpdyServer::reset(std::uint32_t stream) {
  std::string frame = control_head(kRstStream, 0, 8);
  append32(frame, stream);
  append32(frame, kCancel);
  impl_->events.send(std::move(frame));
}

}  // namespace fairway::apiserver
