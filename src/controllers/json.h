// Reading objects of the API without exceptions: what is missing or of another type reads as empty.
#pragma once

#include <boost/json.hpp>
#include <chrono>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "k8s/api_client.h"

namespace fairway::controllers {

using k8s::Json;
namespace json = boost::json;

const Json* member(const Json* value, std::string_view key);

// at(pod, "metadata", "labels", "app"): the value there, or nullptr.
template <typename... Keys>
const Json* at(const Json& value, Keys... keys) {
  const Json* v = &value;
  ((v = member(v, keys)), ...);
  return v && !v->is_null() ? v : nullptr;
}

std::string_view as_text(const Json* value);
std::optional<std::int64_t> as_number(const Json* value);
bool as_truth(const Json* value);
const json::array& as_items(const Json* value);
const json::object& as_fields(const Json* value);

template <typename... Keys>
std::string_view text(const Json& value, Keys... keys) {
  return as_text(at(value, keys...));
}
template <typename... Keys>
std::optional<std::int64_t> number(const Json& value, Keys... keys) {
  return as_number(at(value, keys...));
}
template <typename... Keys>
std::int64_t count(const Json& value, Keys... keys) {
  return as_number(at(value, keys...)).value_or(0);
}
template <typename... Keys>
bool truth(const Json& value, Keys... keys) {
  return as_truth(at(value, keys...));
}
template <typename... Keys>
const json::array& items(const Json& value, Keys... keys) {
  return as_items(at(value, keys...));
}
template <typename... Keys>
const json::object& fields(const Json& value, Keys... keys) {
  return as_fields(at(value, keys...));
}

// place(rs, "metadata", "annotations")[key] = ...: the object there, made where it is missing.
json::object& place_member(json::object& in, std::string_view key);
template <typename... Keys>
json::object& place(Json& value, Keys... keys) {
  if (!value.is_object()) value.emplace_object();
  json::object* o = &value.get_object();
  ((o = &place_member(*o, keys)), ...);
  return *o;
}

std::string_view name_of(const Json& object);
std::string_view namespace_of(const Json& object);
std::string_view uid_of(const Json& object);
bool is_terminating(const Json& object);  // has a deletionTimestamp
std::uint64_t version_of(const Json& object);
std::string key_for(std::string_view ns, std::string_view name);
struct SplitKey {
  std::string ns, name;
};
SplitKey split_key(std::string_view key);

using WallTime = std::chrono::system_clock::time_point;
std::optional<WallTime> parse_time(std::string_view rfc3339);  // with or without a fraction; UTC ("Z") or an offset
std::string render_time(WallTime time);                        // metav1.Time: seconds
std::string render_micro_time(WallTime time);                  // metav1.MicroTime

// An int or "25%" of `total`, as Deployments and DaemonSets spell it.
std::int64_t int_or_percent(const Json* value, std::int64_t total, bool round_up, std::int64_t fallback);

}  // namespace fairway::controllers
