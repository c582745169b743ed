#include "apiserver/json_util.h"

#include <boost/json/serialize.hpp>

namespace fairway::apiserver {
namespace {

std::string_view next_part(std::string_view& path) {
  const auto dot = path.find('.');
  const std::string_view part = path.substr(0, dot);
  path = dot == std::string_view::npos ? std::string_view{} : path.substr(dot + 1);
  return part;
}

const Array kEmptyArray;

}  // namespace

const Json* find(const Object& object, std::string_view path) {
  const Object* at = &object;
  while (true) {
    const Json* next = at->if_contains(next_part(path));
    if (next == nullptr || path.empty()) return next;
    at = next->if_object();
    if (at == nullptr) return nullptr;
  }
}

const Json* find(const Json& value, std::string_view path) {
  const Object* object = value.if_object();
  return object != nullptr ? find(*object, path) : nullptr;
}

Json* find(Object& object, std::string_view path) { return const_cast<Json*>(find(static_cast<const Object&>(object), path)); }

Json* find(Json& value, std::string_view path) { return const_cast<Json*>(find(static_cast<const Json&>(value), path)); }

const Array& array_at(const Json& node, std::string_view path) {
  const Json* found = find(node, path);
  return found != nullptr && found->is_array() ? found->get_array() : kEmptyArray;
}

const Array& array_at(const Object& node, std::string_view path) {
  const Json* found = find(node, path);
  return found != nullptr && found->is_array() ? found->get_array() : kEmptyArray;
}

Object& ensure_object(Object& root, std::string_view path) {
  Object* at = &root;
  while (!path.empty()) {
    Json& next = (*at)[next_part(path)];
    if (!next.is_object()) next = Object();
    at = &next.get_object();
  }
  return *at;
}

void set_at(Object& root, std::string_view path, Json value) {
  const auto dot = path.rfind('.');
  Object& parent = dot == std::string_view::npos ? root : ensure_object(root, path.substr(0, dot));
  parent[dot == std::string_view::npos ? path : path.substr(dot + 1)] = std::move(value);
}

void erase_at(Object& root, std::string_view path) {
  const auto dot = path.rfind('.');
  if (dot == std::string_view::npos) return erase_key(root, path);
  Json* parent = find(root, path.substr(0, dot));
  if (parent != nullptr && parent->is_object()) erase_key(parent->get_object(), path.substr(dot + 1));
}

void erase_key(Object& object, std::string_view key) {
  auto at = object.find(key);
  if (at != object.end()) object.stable_erase(at);
}

std::string to_text(const Json& value) { return boost::json::serialize(value); }

std::string quoted(std::string_view text) { return boost::json::serialize(boost::json::string_view(text.data(), text.size())); }

std::string scalar_text(const Json& value) { return to_text(value); }

bool is_empty(const Json& value) {
  switch (value.kind()) {
    case boost::json::kind::null:
      return true;
    case boost::json::kind::bool_:
      return !value.get_bool();
    case boost::json::kind::int64:
      return value.get_int64() == 0;
    case boost::json::kind::uint64:
      return value.get_uint64() == 0;
    case boost::json::kind::double_:
      return value.get_double() == 0;
    case boost::json::kind::string:
      return value.get_string().empty();
    case boost::json::kind::array:
      return value.get_array().empty();
    case boost::json::kind::object:
      return value.get_object().empty();
  }
  return false;
}

}  // namespace fairway::apiserver
