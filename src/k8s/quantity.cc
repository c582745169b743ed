#include "k8s/quantity.h"

#include <charconv>
#include <cmath>
#include <cstdlib>
#include <string>

namespace fairway::k8s {
namespace {

bool digit(char c) { return c >= '0' && c <= '9'; }

}  // namespace

std::optional<double> quantity_factor(std::string_view suffix) {
  static constexpr std::pair<std::string_view, double> kFactors[] = {{"", 1},
                                                                     {"n", 1e-9},
                                                                     {"u", 1e-6},
                                                                     {"m", 1e-3},
                                                                     {"k", 1e3},
                                                                     {"M", 1e6},
                                                                     {"G", 1e9},
                                                                     {"T", 1e12},
                                                                     {"P", 1e15},
                                                                     {"E", 1e18},
                                                                     {"Ki", 1024.0},
                                                                     {"Mi", 1048576.0},
                                                                     {"Gi", 1073741824.0},
                                                                     {"Ti", 1099511627776.0},
                                                                     {"Pi", 1125899906842624.0},
                                                                     {"Ei", 1152921504606846976.0}};
  for (const auto& [name, factor] : kFactors) {
    if (name == suffix) return factor;
  }
  if (suffix.size() > 1 && (suffix[0] == 'e' || suffix[0] == 'E')) {
    int exponent = 0;
    const std::string_view digits = suffix.substr(suffix[1] == '+' ? 2 : 1);
    if (suffix[1] == '+' && digits.starts_with('-')) return std::nullopt;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), exponent);
    if (error == std::errc{} && end == digits.data() + digits.size() && exponent > -19 && exponent < 19) return std::pow(10.0, exponent);
  }
  return std::nullopt;
}

std::optional<Quantity> parse_quantity(std::string_view text) {
  std::size_t at = !text.empty() && (text[0] == '+' || text[0] == '-') ? 1 : 0;
  const std::size_t first = at;
  bool digits = false, dot = false;
  for (; at < text.size() && (digit(text[at]) || (text[at] == '.' && !dot)); ++at) {
    digits |= digit(text[at]);
    dot |= text[at] == '.';
  }
  if (!digits || at - first > 40) return std::nullopt;
  const auto factor = quantity_factor(text.substr(at));
  if (!factor) return std::nullopt;
  Quantity quantity;
  quantity.value = std::strtod(std::string(text.substr(first, at - first)).c_str(), nullptr) * *factor * (text[0] == '-' ? -1 : 1);
  quantity.suffix = text.substr(at);
  return quantity;
}

std::optional<std::int64_t> parse_quantity_milli(std::string_view text) {
  const auto quantity = parse_quantity(text);
  if (!quantity || quantity->value < 0) return std::nullopt;
  const double milli = std::ceil(quantity->value * 1000 - 1e-6);
  return milli > 9e18 ? INT64_MAX : static_cast<std::int64_t>(milli);
}

}  // namespace fairway::k8s
