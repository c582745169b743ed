// Quantities of the API ("100m", "64Mi", "1.5", "1e3"; apimachinery's resource.Quantity), as far as a double holds them.
#pragma once

#include <cstdint>
#include <optional>
#include <string_view>

namespace fairway::k8s {

struct Quantity {
  double value = 0;
  std::string_view suffix;  // within the text that was parsed
};
std::optional<Quantity> parse_quantity(std::string_view text);  // nothing: it is none
std::optional<double> quantity_factor(std::string_view suffix);

// Thousandths, rounded up, INT64_MAX at most. Nothing: no quantity, or a negative one.
std::optional<std::int64_t> parse_quantity_milli(std::string_view text);

}  // namespace fairway::k8s
