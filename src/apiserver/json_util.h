// Reading and writing boost::json trees by path; nothing here throws on a wrong type or a missing field.
#pragma once

#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/value.hpp>
#include <cstdint>
#include <string>
#include <string_view>

namespace fairway::apiserver {

using Json = boost::json::value;
using Object = boost::json::object;
using Array = boost::json::array;

inline std::string_view view(const boost::json::string& text) { return {text.data(), text.size()}; }

// `path` is dotted ("spec.template.spec"); no field name of the API that is read this way holds a dot.
const Json* find(const Json& value, std::string_view path);
const Json* find(const Object& object, std::string_view path);
Json* find(Json& value, std::string_view path);
Json* find(Object& object, std::string_view path);

template <typename Node>
std::string_view text_at(const Node& node, std::string_view path, std::string_view otherwise = {}) {
  const Json* found = find(node, path);
  return found != nullptr && found->is_string() ? view(found->get_string()) : otherwise;
}
template <typename Node>
std::int64_t int_at(const Node& node, std::string_view path, std::int64_t otherwise = 0) {
  const Json* found = find(node, path);
  if (found != nullptr && found->is_uint64() && found->get_uint64() <= INT64_MAX) return static_cast<std::int64_t>(found->get_uint64());
  return found != nullptr && found->is_int64() ? found->get_int64() : otherwise;
}
template <typename Node>
bool bool_at(const Node& node, std::string_view path, bool otherwise = false) {
  const Json* found = find(node, path);
  return found != nullptr && found->is_bool() ? found->get_bool() : otherwise;
}
template <typename Node>
const Object* object_at(const Node& node, std::string_view path) {
  const Json* found = find(node, path);
  return found != nullptr ? found->if_object() : nullptr;
}
// Never null: an absent list is the empty one.
const Array& array_at(const Json& node, std::string_view path);
const Array& array_at(const Object& node, std::string_view path);

// The object at `path`, made where it is missing (or is no object).
Object& ensure_object(Object& root, std::string_view path);
// Sets the field at `path`, making the objects on the way.
void set_at(Object& root, std::string_view path, Json value);
void erase_at(Object& root, std::string_view path);

// Removes `key` without changing the order of the others.
void erase_key(Object& object, std::string_view key);

std::string to_text(const Json& value);     // compact JSON
std::string quoted(std::string_view text);  // as Go's %q for printable text

// A number as Go prints it in messages: integers bare.
std::string scalar_text(const Json& value);

bool is_empty(const Json& value);  // null, "", 0, false, [] or {}

}  // namespace fairway::apiserver
