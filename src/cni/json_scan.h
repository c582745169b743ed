// JsonScan: checks that a text is one JSON object (RFC 8259) and tells the string members of its top level. For the
// plugin, which must start fast: no allocation, no library. The agent parses everything else.
#pragma once

#include <cstddef>
#include <cstring>
#include <string_view>

namespace fairway::cni {

class JsonScan {
 public:
  explicit JsonScan(std::string_view text) : begin_(text.data()), at_(text.data()), end_(text.data() + text.size()) {}

  // False: not an object, or malformed anywhere. `on_text` gets key and value raw, as they stand between the quotes.
  template <typename OnText>
  bool scan(OnText on_text) {
    space();
    if (!take('{')) return false;
    if (!members(1, on_text)) return false;
    space();
    return at_ == end_;
  }
  std::size_t position() const { return static_cast<std::size_t>(at_ - begin_); }

 private:
  static constexpr int kMaxDepth = 32;

  void space() {
    while (at_ < end_ && (*at_ == ' ' || *at_ == '\t' || *at_ == '\n' || *at_ == '\r')) ++at_;
  }
  bool take(char c) {
    if (at_ >= end_ || *at_ != c) return false;
    ++at_;
    return true;
  }
  bool word(const char* text) {
    const std::size_t size = std::strlen(text);
    if (static_cast<std::size_t>(end_ - at_) < size || std::memcmp(at_, text, size) != 0) return false;
    at_ += size;
    return true;
  }
  bool digits() {
    const char* first = at_;
    while (at_ < end_ && *at_ >= '0' && *at_ <= '9') ++at_;
    return at_ > first;
  }
  bool number() {
    take('-');
    if (!take('0') && !digits()) return false;
    if (take('.') && !digits()) return false;
    if (take('e') || take('E')) {
      if (!take('+')) take('-');
      return digits();
    }
    return true;
  }
  bool escape() {
    if (at_ >= end_) return false;
    const char c = *at_++;
    if (c != 'u') return std::strchr("\"\\/bfnrt", c) != nullptr && c != '\0';
    for (int i = 0; i < 4; ++i, ++at_) {
      if (at_ >= end_) return false;
      const bool hex = (*at_ >= '0' && *at_ <= '9') || (*at_ >= 'a' && *at_ <= 'f') || (*at_ >= 'A' && *at_ <= 'F');
      if (!hex) return false;
    }
    return true;
  }
  bool text(std::string_view& out) {
    if (!take('"')) return false;
    const char* first = at_;
    while (at_ < end_) {
      const char c = *at_++;
      if (c == '"') {
        out = {first, static_cast<std::size_t>(at_ - 1 - first)};
        return true;
      }
      if (static_cast<unsigned char>(c) < 0x20) return false;
      if (c == '\\' && !escape()) return false;
    }
    return false;
  }
  template <typename OnText>
  bool members(int depth, OnText on_text) {
    space();
    if (take('}')) return true;
    for (;;) {
      std::string_view key, value;
      space();
      if (!text(key)) return false;
      space();
      if (!take(':')) return false;
      space();
      if (at_ < end_ && *at_ == '"') {
        if (!text(value)) return false;
        on_text(key, value);
      } else if (!any(depth)) {
        return false;
      }
      space();
      if (take('}')) return true;
      if (!take(',')) return false;
    }
  }
  bool elements(int depth) {
    space();
    if (take(']')) return true;
    for (;;) {
      space();
      if (!any(depth)) return false;
      space();
      if (take(']')) return true;
      if (!take(',')) return false;
    }
  }
  bool any(int depth) {
    if (at_ >= end_ || depth >= kMaxDepth) return false;
    std::string_view ignored;
    switch (*at_) {
      case '{':
        ++at_;
        return members(depth + 1, [](std::string_view, std::string_view) {});
      case '[':
        ++at_;
        return elements(depth + 1);
      case '"':
        return text(ignored);
      case 't':
        return word("true");
      case 'f':
        return word("false");
      case 'n':
        return word("null");
      default:
        return number();
    }
  }

  const char* begin_;
  const char* at_;
  const char* end_;
};

}  // namespace fairway::cni
