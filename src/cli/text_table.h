// TextTable: columns that line up, for terminals and pipes.
#pragma once

#include <string>
#include <vector>

namespace fairway::cli {

class TextTable {
 public:
  TextTable() = default;  // without a header
  explicit TextTable(std::vector<std::string> header) : rows_{std::move(header)} {}
  void add(std::vector<std::string> row) { rows_.push_back(std::move(row)); }
  std::string render() const;  // ends with a newline; no trailing blanks

 private:
  std::vector<std::vector<std::string>> rows_;
};

std::string column_title(const std::string& key);  // a JSON key as a header: "podCidrs" is POD-CIDRS

bool stdout_is_terminal();
std::string green(const std::string& text);  // plain where standard output is no terminal
std::string red(const std::string& text);
std::string bold(const std::string& text);

}  // namespace fairway::cli
