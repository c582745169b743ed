#include "apiserver/protobuf.h"

#include <fmt/format.h>

#include <optional>

#include "apiserver/body_reader.h"
#include "apiserver/formats.h"

namespace fairway::apiserver {
namespace {

constexpr std::string_view kMagic("k8s\0", 4);

enum Wire : unsigned { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };

struct Token {
  unsigned number = 0;
  unsigned wire = 0;
  std::uint64_t integer = 0;
  std::string_view bytes;
};

// Reads one field off the front of `data`; nothing where the bytes are wrong.
class Reader {
 public:
  explicit Reader(std::string_view data) : data_(data) {}
  bool done() const { return data_.empty(); }

  std::optional<Token> next() {
    const auto tag = varint();
    if (!tag || (*tag >> 3) == 0 || (*tag >> 3) > 536870911) return std::nullopt;
    Token token;
    token.number = static_cast<unsigned>(*tag >> 3);
    token.wire = static_cast<unsigned>(*tag & 7);
    if (token.wire == kVarint) {
      const auto value = varint();
      if (!value) return std::nullopt;
      token.integer = *value;
      return token;
    }
    std::size_t size = token.wire == kFixed64 ? 8 : token.wire == kFixed32 ? 4 : 0;
    if (token.wire == kBytes) {
      const auto length = varint();
      if (!length || *length > data_.size()) return std::nullopt;
      size = static_cast<std::size_t>(*length);
    } else if (size == 0) {
      return std::nullopt;  // groups
    }
    if (size > data_.size()) return std::nullopt;
    token.bytes = data_.substr(0, size);
    data_.remove_prefix(size);
    return token;
  }

 private:
  std::optional<std::uint64_t> varint() {
    std::uint64_t value = 0;
    for (unsigned shift = 0; shift < 64 && !data_.empty(); shift += 7) {
      const auto byte = static_cast<unsigned char>(data_[0]);
      data_.remove_prefix(1);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      if (byte < 0x80) return value;
    }
    return std::nullopt;
  }
  std::string_view data_;
};

class Decoder {
 public:
  std::string problem;

  Object message(const Message& message, std::string_view data, std::size_t depth) {
    Object object;
    walk(data, [&](const Token& token) { take(message, token, 0, object, depth); });
    return object;
  }

 private:
  template <typename Each>
  void walk(std::string_view data, Each each) {
    Reader reader(data);
    while (!reader.done() && problem.empty()) {
      const auto token = reader.next();
      if (!token) {
        problem = "unexpected end or wrong wire type";
        return;
      }
      each(*token);
    }
  }

  // `outer`: the number of the embedded message that `token` stands in, or 0.
  void take(const Message& message, const Token& token, int outer, Object& into, std::size_t depth) {
    if (depth > kMaxDepth) {
      problem = "nested too deeply";
      return;
    }
    bool embedded = false;
    for (const Field& field : message.fields) {
      if (field.outer_number == outer && field.number == static_cast<int>(token.number)) return value(field, token, into, depth);
      embedded |= outer == 0 && field.outer_number == static_cast<int>(token.number);
    }
    // Go's embedded structs are messages in protobuf; embeds within embeds (a container's probe) come flat in our tables.
    if (embedded && token.wire == kBytes)
      walk(token.bytes, [&](const Token& inner) { take(message, inner, static_cast<int>(token.number), into, depth + 1); });
  }

  void value(const Field& field, const Token& token, Object& into, std::size_t depth) {
    const Type& type = field.type;
    if (type.base == Base::kList) {
      Json& list = into[field.name];
      if (!list.is_array()) list = Array();
      if (token.wire == kBytes && (type.item->base == Base::kInt64 || type.item->base == Base::kInt32))
        return packed(token.bytes, list.get_array());
      if (auto one = single(*type.item, token, depth)) list.get_array().push_back(std::move(*one));
      return;
    }
    if (type.base == Base::kMap) {
      Json& map = into[field.name];
      if (!map.is_object()) map = Object();
      std::string key;
      Json item = empty_value(*type.item);
      walk(token.bytes, [&](const Token& part) {
        if (part.number == 1) key = part.bytes;
        if (part.number != 2) return;
        if (auto one = single(*type.item, part, depth)) item = std::move(*one);
      });
      map.get_object()[key] = std::move(item);
      return;
    }
    if (auto one = single(type, token, depth)) into[field.name] = std::move(*one);
  }

  static Json empty_value(const Type& type) {
    if (type.base == Base::kMessage) return Object();
    return type.base == Base::kQuantity ? Json("0") : Json("");
  }

  void packed(std::string_view bytes, Array& into) {
    // A packed list is varints without tags: read as fields of number 1 would need tags, so by hand.
    std::uint64_t value = 0;
    unsigned shift = 0;
    for (char c : bytes) {
      const auto byte = static_cast<unsigned char>(c);
      value |= std::uint64_t{byte & 0x7fU} << shift;
      shift += 7;
      if (byte < 0x80) {
        into.emplace_back(static_cast<std::int64_t>(value));
        value = 0;
        shift = 0;
      } else if (shift > 63) {
        problem = "number too long";
        return;
      }
    }
  }

  std::optional<Json> wrong(const char* what) {
    problem = fmt::format("a {} has the wrong wire type", what);
    return std::nullopt;
  }

  std::optional<Json> single(const Type& type, const Token& token, std::size_t depth) {
    switch (type.base) {
      case Base::kInt32:
      case Base::kInt64:
        if (token.wire != kVarint) return wrong("number");
        return Json(static_cast<std::int64_t>(token.integer));
      case Base::kBool:
        if (token.wire != kVarint) return wrong("bool");
        return Json(token.integer != 0);
      case Base::kNumber:
      case Base::kAny:
        return std::nullopt;
      default:
        break;
    }
    if (token.wire != kBytes) return wrong("string");
    switch (type.base) {
      case Base::kBytes:
        return Json(boost::json::string(base64_encode(token.bytes)));
      case Base::kTime:
      case Base::kMicroTime:
        return time(type, token.bytes);
      case Base::kQuantity: {
        std::string text;
        walk(token.bytes, [&](const Token& part) {
          if (part.number == 1) text = part.bytes;
        });
        return Json(boost::json::string(text));
      }
      case Base::kIntOrString: {
        std::int64_t kind = 0, number = 0;
        std::string text;
        walk(token.bytes, [&](const Token& part) {
          if (part.number == 1) kind = static_cast<std::int64_t>(part.integer);
          if (part.number == 2) number = static_cast<std::int64_t>(part.integer);
          if (part.number == 3) text = part.bytes;
        });
        return kind == 0 ? Json(number) : Json(boost::json::string(text));
      }
      case Base::kMessage:
        return Json(message(*type.message, token.bytes, depth + 1));
      default:
        return Json(boost::json::string(token.bytes));
    }
  }

  // The zero time is none at all.
  std::optional<Json> time(const Type& type, std::string_view bytes) {
    std::int64_t seconds = 0, nanos = 0;
    walk(bytes, [&](const Token& part) {
      if (part.number == 1) seconds = static_cast<std::int64_t>(part.integer);
      if (part.number == 2) nanos = static_cast<std::int64_t>(part.integer);
    });
    // Go's time.Time{} is year 1; and beyond year 9999 there is no text.
    if ((seconds == 0 && nanos == 0) || seconds < -62135596800 + 86400 || seconds > 253402300799) return std::nullopt;
    return Json(boost::json::string(type.base == Base::kMicroTime
                                        ? format_microtime(seconds, std::max<std::int64_t>(0, nanos % 1'000'000'000) / 1000)
                                        : format_time(seconds)));
  }
};

}  // namespace

ApiResult<Json> read_protobuf(const Message& message, std::string_view body) {
  if (!body.starts_with(kMagic)) return bad_request("the body is no Kubernetes protobuf: it does not begin with \"k8s\\0\"");
  std::string api_version, kind;
  std::string_view raw;
  Reader reader(body.substr(kMagic.size()));
  while (!reader.done()) {
    const auto token = reader.next();
    if (!token) return bad_request("the body's protobuf is malformed: envelope");
    if (token->number == 2) raw = token->bytes;
    if (token->number != 1) continue;
    Reader meta(token->bytes);
    while (!meta.done()) {
      const auto part = meta.next();
      if (!part) return bad_request("the body's protobuf is malformed: type");
      if (part->number == 1) api_version = part->bytes;
      if (part->number == 2) kind = part->bytes;
    }
  }
  Decoder decoder;
  Object object = decoder.message(message, raw, 0);
  if (!decoder.problem.empty()) return bad_request("the body's protobuf is malformed: " + decoder.problem);
  if (!api_version.empty()) object["apiVersion"] = boost::json::string(api_version);
  if (!kind.empty()) object["kind"] = boost::json::string(kind);
  return Json(std::move(object));
}

}  // namespace fairway::apiserver
