// Times as the Kubernetes API writes them (metav1.Time, metav1.MicroTime): UTC, RFC 3339.
#pragma once

#include <chrono>
#include <optional>
#include <string>
#include <string_view>

namespace fairway::agent {

using WallTime = std::chrono::system_clock::time_point;
std::string api_time(WallTime time);                            // seconds
std::string micro_time(WallTime time);                          // microseconds
std::optional<WallTime> parse_api_time(std::string_view text);  // either, as whole seconds; nothing: it is neither
std::string since_text(std::string_view time, WallTime now);    // "since 2026-01-02T03:04:05Z (7 min ago)"

}  // namespace fairway::agent
