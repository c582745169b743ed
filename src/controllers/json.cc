#include "controllers/json.h"

#include <fmt/chrono.h>
#include <fmt/format.h>

#include <charconv>
#include <cstdio>

namespace fairway::controllers {

const Json* member(const Json* value, std::string_view key) {
  if (!value || !value->is_object()) return nullptr;
  return value->get_object().if_contains(key);
}

std::string_view as_text(const Json* value) {
  if (!value || !value->is_string()) return {};
  return value->get_string();
}

std::optional<std::int64_t> as_number(const Json* value) {
  if (!value) return std::nullopt;
  if (value->is_int64()) return value->get_int64();
  if (value->is_uint64() && value->get_uint64() <= INT64_MAX) return static_cast<std::int64_t>(value->get_uint64());
  return std::nullopt;
}

bool as_truth(const Json* value) { return value && value->is_bool() && value->get_bool(); }

const json::array& as_items(const Json* value) {
  static const json::array empty;
  return value && value->is_array() ? value->get_array() : empty;
}

const json::object& as_fields(const Json* value) {
  static const json::object empty;
  return value && value->is_object() ? value->get_object() : empty;
}

json::object& place_member(json::object& in, std::string_view key) {
  // Boost's operator[] may move all members even if the key is there; what is there must stay where it is.
  Json* found = in.if_contains(key);
  Json& slot = found ? *found : in[key];
  return slot.is_object() ? slot.get_object() : slot.emplace_object();
}

std::string_view name_of(const Json& object) { return text(object, "metadata", "name"); }
std::string_view namespace_of(const Json& object) { return text(object, "metadata", "namespace"); }
std::string_view uid_of(const Json& object) { return text(object, "metadata", "uid"); }
bool is_terminating(const Json& object) { return at(object, "metadata", "deletionTimestamp") != nullptr; }

std::uint64_t version_of(const Json& object) {
  const auto digits = text(object, "metadata", "resourceVersion");
  std::uint64_t version = 0;
  std::from_chars(digits.data(), digits.data() + digits.size(), version);
  return version;
}

std::string key_for(std::string_view ns, std::string_view name) { return ns.empty() ? std::string(name) : fmt::format("{}/{}", ns, name); }

SplitKey split_key(std::string_view key) {
  const auto slash = key.find('/');
  if (slash == std::string_view::npos) return {"", std::string(key)};
  return {std::string(key.substr(0, slash)), std::string(key.substr(slash + 1))};
}

std::optional<WallTime> parse_time(std::string_view rfc3339) {
  const std::string text(rfc3339);
  int year = 0, month = 0, day = 0, hour = 0, minute = 0, second = 0, used = 0;
  if (std::sscanf(text.c_str(), "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &used) != 6) return std::nullopt;
  const std::chrono::year_month_day date{std::chrono::year(year), std::chrono::month(month), std::chrono::day(day)};
  if (!date.ok()) return std::nullopt;
  using std::chrono::microseconds;
  auto time = microseconds(std::chrono::sys_days(date).time_since_epoch()) + std::chrono::hours(hour) + std::chrono::minutes(minute) +
              std::chrono::seconds(second);
  std::size_t i = used;
  if (i < text.size() && text[i] == '.') {
    for (int unit = 100'000; ++i < text.size() && text[i] >= '0' && text[i] <= '9'; unit /= 10)
      time += microseconds(unit * (text[i] - '0'));
  }
  int offset_hours = 0, offset_minutes = 0;
  char sign = 'Z';
  if (i < text.size() && text[i] != 'Z') {
    if (std::sscanf(text.c_str() + i, "%c%2d:%2d", &sign, &offset_hours, &offset_minutes) != 3) return std::nullopt;
    const auto offset = std::chrono::hours(offset_hours) + std::chrono::minutes(offset_minutes);
    time += sign == '+' ? -microseconds(offset) : microseconds(offset);
  }
  return WallTime(std::chrono::duration_cast<WallTime::duration>(time));
}

std::string render_time(WallTime time) {
  return fmt::format("{:%Y-%m-%dT%H:%M:%SZ}", fmt::gmtime(std::chrono::system_clock::to_time_t(time)));
}

std::string render_micro_time(WallTime time) {
  const auto micros = std::chrono::duration_cast<std::chrono::microseconds>(time.time_since_epoch()).count();
  return fmt::format("{:%Y-%m-%dT%H:%M:%S}.{:06}Z", fmt::gmtime(static_cast<std::time_t>(micros / 1'000'000)), micros % 1'000'000);
}

std::int64_t int_or_percent(const Json* value, std::int64_t total, bool round_up, std::int64_t fallback) {
  if (const auto plain = as_number(value)) return *plain;
  auto digits = as_text(value);
  if (digits.empty() || digits.back() != '%') return fallback;
  digits.remove_suffix(1);
  std::int64_t percent = 0;
  if (std::from_chars(digits.data(), digits.data() + digits.size(), percent).ec != std::errc{}) return fallback;
  const auto scaled = percent * total;
  return round_up ? (scaled + 99) / 100 : scaled / 100;
}

}  // namespace fairway::controllers
