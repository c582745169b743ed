#include "sys/log.h"

#include <spdlog/sinks/stdout_color_sinks.h>
#include <spdlog/spdlog.h>

namespace fairway::log {
namespace {

spdlog::logger& logger() {
  static auto instance = [] {
    auto out = spdlog::stderr_color_mt("fairway");
    out->set_pattern("%Y-%m-%dT%H:%M:%S.%e %^%L%$ %v");
    return out;
  }();
  return *instance;
}

spdlog::level::level_enum level_of(Level level) {
  switch (level) {
    case Level::kDebug:
      return spdlog::level::debug;
    case Level::kInfo:
      return spdlog::level::info;
    case Level::kWarn:
      return spdlog::level::warn;
    case Level::kError:
      return spdlog::level::err;
  }
  return spdlog::level::info;
}

}  // namespace

void set_level(Level level) { logger().set_level(level_of(level)); }
bool enabled(Level level) { return logger().should_log(level_of(level)); }
void write(Level level, std::string_view component, std::string_view text) { logger().log(level_of(level), "{}: {}", component, text); }

}  // namespace fairway::log
