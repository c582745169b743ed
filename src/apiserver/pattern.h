// A schema's `pattern`, matched with bounded effort: whoever writes a custom resource chooses the text, and whoever
// defines one the expression, and neither may hold the API server's thread or its stack.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace fairway::apiserver {

// Why the expression cannot be used, or nothing.
std::optional<std::string> pattern_trouble(const std::string& pattern);

struct PatternResult {
  bool matches = false;
  std::string trouble;  // the expression is none, or the text costs more than any honest one would
};

// Searches, as JSON schema does: an expression that is to match the whole text says ^ and $.
PatternResult match_pattern(const std::string& pattern, std::string_view text);

}  // namespace fairway::apiserver
