#include "cli/foreign_text.h"

#include <fmt/format.h>

namespace fairway::cli {

std::string escaped_text(std::string_view text) {
  std::string out;
  for (std::size_t i = 0; i < text.size(); ++i) {
    const auto byte = [&](std::size_t k) { return i + k < text.size() ? static_cast<unsigned char>(text[i + k]) : 0U; };
    const unsigned three = byte(0) >> 4 == 0xe && byte(1) >> 6 == 2 && byte(2) >> 6 == 2
                               ? (byte(0) & 0xf) << 12 | (byte(1) & 0x3f) << 6 | (byte(2) & 0x3f)
                               : 0;
    if (byte(0) < 0x20 || byte(0) == 0x7f) {
      out += fmt::format("\\x{:02x}", byte(0));
    } else if (byte(0) == 0xc2 && byte(1) >= 0x80 && byte(1) < 0xa0) {  // C1
      out += fmt::format("\\u{:04x}", byte(1));
      i += 1;
    } else if (byte(0) == 0xd8 && byte(1) == 0x9c) {
      out += "\\u061c";
      i += 1;
    } else if ((three >= 0x200b && three <= 0x200f) || (three >= 0x2028 && three <= 0x202e) || (three >= 0x2066 && three <= 0x2069)) {
      out += fmt::format("\\u{:04x}", three);
      i += 2;
    } else {
      out += text[i];
    }
  }
  return out;
}

bool is_plain_word(std::string_view text) {
  constexpr std::string_view kPlain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_/.:@%+,-";
  return !text.empty() && text.find_first_not_of(kPlain) == std::string_view::npos;
}

std::string shell_word(const std::string& text) {
  if (is_plain_word(text)) return text;
  std::string out = "'";
  for (const char c : text) out += c == '\'' ? "'\\''" : std::string(1, c);
  return out + "'";
}

}  // namespace fairway::cli
