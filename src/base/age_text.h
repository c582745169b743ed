// How long ago something was, for people: "45 s", "7 min", "3 h", "4 d". Where kubectl's way is wanted: apiserver/table.h.
#pragma once

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <string>

namespace fairway {

inline std::string age_text(std::chrono::seconds age) {
  const auto s = std::max<std::int64_t>(age.count(), 0);
  if (s < 120) return fmt::format("{} s", s);
  if (s < 7200) return fmt::format("{} min", s / 60);
  return s < 172'800 ? fmt::format("{} h", s / 3600) : fmt::format("{} d", s / 86'400);
}

}  // namespace fairway
