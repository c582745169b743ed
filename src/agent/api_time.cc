#include "agent/api_time.h"

#include <fmt/format.h>

#include <ctime>

#include "base/age_text.h"

namespace fairway::agent {

std::string api_time(WallTime time) {
  const std::time_t seconds = std::chrono::system_clock::to_time_t(time);
  std::tm utc{};
  ::gmtime_r(&seconds, &utc);
  return fmt::format("{:04}-{:02}-{:02}T{:02}:{:02}:{:02}Z", utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min,
                     utc.tm_sec);
}

std::string micro_time(WallTime time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count() % 1'000'000;
  std::string out = api_time(time);
  out.insert(out.size() - 1, fmt::format(".{:06}", micros));
  return out;
}

std::optional<WallTime> parse_api_time(std::string_view text) {
  std::tm utc{};
  const std::string owned(text.substr(0, 32));
  const char* rest = ::strptime(owned.c_str(), "%Y-%m-%dT%H:%M:%S", &utc);
  if (rest == nullptr || (*rest != 'Z' && *rest != '.') || owned.back() != 'Z') return std::nullopt;
  return std::chrono::system_clock::from_time_t(::timegm(&utc));
}

std::string since_text(std::string_view time, WallTime now) {
  const auto began = parse_api_time(time);
  if (!began) return "since a time that is not told";
  return fmt::format("since {} ({} ago)", time, age_text(std::chrono::duration_cast<std::chrono::seconds>(now - *began)));
}

}  // namespace fairway::agent
