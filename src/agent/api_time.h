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

}  // namespace fairway::agent
