// Steps that one match may take, some ten milliseconds: Boost throws beyond. It keeps its states on the heap, so that
// a long text costs no stack either, which std::regex does for each character.
#define BOOST_REGEX_MAX_STATE_COUNT 1000000
#include "apiserver/pattern.h"

#include <boost/regex.hpp>
#include <stdexcept>

namespace fairway::apiserver {
namespace {

constexpr std::size_t kMaxPatternBytes = 16384;

boost::regex compile(const std::string& pattern) {
  if (pattern.size() > kMaxPatternBytes) throw std::runtime_error("expression is longer than 16384 bytes");
  return boost::regex(pattern, boost::regex::perl | boost::regex::nosubs);
}

}  // namespace

std::optional<std::string> pattern_trouble(const std::string& pattern) {
  try {
    compile(pattern);
    return std::nullopt;
  } catch (const std::exception& error) { return error.what(); }
}

PatternResult match_pattern(const std::string& pattern, std::string_view text) {
  try {
    return {boost::regex_search(text.begin(), text.end(), compile(pattern), boost::match_any), ""};
  } catch (const std::exception& error) { return {false, error.what()}; }
}

}  // namespace fairway::apiserver
