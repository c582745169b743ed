#include "cli/text_table.h"

#include <unistd.h>

#include <algorithm>
#include <cctype>

namespace fairway::cli {
namespace {

constexpr std::size_t kGap = 3;

// Columns a terminal shows: escape sequences take none, a UTF-8 continuation byte takes none.
std::size_t width_of(const std::string& text) {
  std::size_t width = 0;
  for (std::size_t i = 0; i < text.size(); ++i) {
    if (text[i] == '\033') {
      while (i < text.size() && text[i] != 'm') ++i;
    } else if ((static_cast<unsigned char>(text[i]) & 0xc0) != 0x80) {
      ++width;
    }
  }
  return width;
}

std::string coloured(const char* code, const std::string& text) {
  return stdout_is_terminal() ? std::string("\033[") + code + "m" + text + "\033[0m" : text;
}

}  // namespace

std::string TextTable::render() const {
  std::vector<std::size_t> widths;
  for (const auto& row : rows_) {
    widths.resize(std::max(widths.size(), row.size()));
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  for (const auto& row : rows_) {
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) line += row[i] + std::string(widths[i] - width_of(row[i]) + kGap, ' ');
    line.erase(line.find_last_not_of(' ') + 1);
    out += line + "\n";
  }
  return out;
}

std::string column_title(const std::string& key) {
  std::string out;
  for (const unsigned char c : key) {
    if (std::isupper(c) && !out.empty() && out.back() != '-') out += '-';
    out += static_cast<char>(std::toupper(c));
  }
  return out;
}

bool stdout_is_terminal() {
  static const bool terminal = ::isatty(STDOUT_FILENO) == 1;
  return terminal;
}

std::string green(const std::string& text) { return coloured("32", text); }
std::string red(const std::string& text) { return coloured("31", text); }
std::string bold(const std::string& text) { return coloured("1", text); }

}  // namespace fairway::cli
