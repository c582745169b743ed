// Structured-enough logging to stderr: level, time, component, text. Secrets are never passed here
// (types that hold them have no formatter).
//
//   log::info("agent", "adopted {} programs", n);
#pragma once

#include <fmt/format.h>

#include <string_view>

namespace fairway::log {

enum class Level { kDebug, kInfo, kWarn, kError };
void set_level(Level level);
bool enabled(Level level);
void write(Level level, std::string_view component, std::string_view text);

template <typename... Args>
void debug(std::string_view component, fmt::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kDebug)) write(Level::kDebug, component, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void info(std::string_view component, fmt::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kInfo)) write(Level::kInfo, component, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void warn(std::string_view component, fmt::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kWarn)) write(Level::kWarn, component, fmt::format(f, std::forward<Args>(args)...));
}
template <typename... Args>
void error(std::string_view component, fmt::format_string<Args...> f, Args&&... args) {
  if (enabled(Level::kError)) write(Level::kError, component, fmt::format(f, std::forward<Args>(args)...));
}

}  // namespace fairway::log
