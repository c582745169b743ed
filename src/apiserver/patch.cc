#include "apiserver/patch.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

namespace fairway::apiserver {
namespace {

std::string_view key_view(const boost::json::key_value_pair& entry) { return {entry.key().data(), entry.key().size()}; }

// --- JSON patch

std::vector<std::string> pointer_parts(std::string_view pointer) {
  std::vector<std::string> parts;
  while (!pointer.empty()) {
    pointer.remove_prefix(1);  // the slash
    const auto end = std::min(pointer.find('/'), pointer.size());
    std::string part;
    for (std::size_t i = 0; i < end; ++i) {
      if (pointer[i] == '~' && i + 1 < end) part += pointer[++i] == '1' ? '/' : '~';
      else part += pointer[i];
    }
    parts.push_back(std::move(part));
    pointer.remove_prefix(end);
  }
  return parts;
}

std::optional<std::size_t> array_index(std::string_view text, std::size_t size) {
  std::size_t index = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), index);
  if (error != std::errc{} || end != text.data() + text.size() || index >= size) return std::nullopt;
  return index;
}

class JsonPatcher {
 public:
  explicit JsonPatcher(Json& root) : root_(root) {}

  std::string apply(const Json& operation) {
    const std::string_view op = text_at(operation, "op"), path = text_at(operation, "path");
    if (!path.empty() && path[0] != '/') return fmt::format("jsonpatch {} operation has an invalid path {}", op, quoted(path));
    const Json* value = find(operation, "value");
    if (op == "remove") return take(path, nullptr);
    if (op == "add" || op == "replace" || op == "test") {
      if (value == nullptr) return fmt::format("jsonpatch {} operation of {} has no value", op, quoted(path));
      if (op == "test") {
        const Json* found = locate(path);
        return found != nullptr && *found == *value ? std::string() : fmt::format("testing path {} failed", path);
      }
      return op == "add" ? add(path, *value) : replace(path, *value);
    }
    if (op == "move" || op == "copy") {
      const std::string_view from = text_at(operation, "from");
      const Json* source = locate(from);
      if (source == nullptr) return fmt::format("jsonpatch {} operation does not apply: doc is missing from path: {}", op, from);
      const Json copy = *source;
      if (op == "move") {
        if (std::string problem = take(from, nullptr); !problem.empty()) return problem;
      }
      return add(path, copy);
    }
    return fmt::format("unexpected kind: {}", quoted(op));
  }

 private:
  Json* locate(std::string_view path) {
    Json* at = &root_;
    for (const std::string& part : pointer_parts(path)) {
      if (Object* object = at->if_object()) {
        at = object->if_contains(part);
      } else if (Array* array = at->if_array()) {
        const auto index = array_index(part, array->size());
        at = index ? &(*array)[*index] : nullptr;
      } else {
        at = nullptr;
      }
      if (at == nullptr) return nullptr;
    }
    return at;
  }

  // The parent of `path` and the last part.
  std::pair<Json*, std::string> parent(std::string_view path) {
    auto parts = pointer_parts(path);
    if (parts.empty()) return {nullptr, {}};
    return {locate(path.substr(0, path.rfind('/'))), parts.back()};
  }

  std::string add(std::string_view path, const Json& value) {
    if (path.empty()) {
      root_ = value;
      return {};
    }
    auto [into, last] = parent(path);
    if (into != nullptr && into->is_object()) {
      into->get_object()[last] = value;
      return {};
    }
    if (into != nullptr && into->is_array()) {
      Array& array = into->get_array();
      const auto index = last == "-" ? std::optional(array.size()) : array_index(last, array.size() + 1);
      if (!index) return fmt::format("jsonpatch add operation does not apply: doc is missing path: {}: invalid index", quoted(path));
      array.insert(array.begin() + *index, value);
      return {};
    }
    return fmt::format("jsonpatch add operation does not apply: doc is missing path: {}: missing value", quoted(path));
  }

  std::string replace(std::string_view path, const Json& value) {
    Json* found = locate(path);
    if (found == nullptr) return fmt::format("jsonpatch replace operation does not apply: doc is missing key: {}: missing value", path);
    *found = value;
    return {};
  }

  std::string take(std::string_view path, Json* into) {
    auto [from, last] = parent(path);
    Json* found = locate(path);
    if (from == nullptr || found == nullptr)
      return fmt::format("jsonpatch remove operation does not apply: doc is missing path: {}: missing value", quoted(path));
    if (into != nullptr) *into = *found;
    if (from->is_object()) erase_key(from->get_object(), last);
    else from->get_array().erase(from->get_array().begin() + (found - from->get_array().data()));
    return {};
  }

  Json& root_;
};

// --- strategic merge patch (k8s.io/apimachinery/pkg/util/strategicpatch: the directives)

constexpr std::string_view kSetOrder = "$setElementOrder/", kDeletePrimitives = "$deleteFromPrimitiveList/", kRetainKeys = "$retainKeys",
                           kPatch = "$patch";

// A list without a schema (a kind of no table) is replaced whole.
const Type& unknown_type() {
  static const Type kType = [] {
    Type type;
    type.base = Base::kAny;
    return type;
  }();
  return kType;
}

class StrategicPatcher {
 public:
  std::string problem;

  void merge(const Message* message, Object& target, const Object& patch) {
    if (const Json* directive = patch.if_contains(kPatch)) {
      if (*directive == "replace") {
        target = patch;
        erase_key(target, kPatch);
        return;
      }
      if (*directive == "delete") {
        target.clear();
        return;
      }
      if (*directive != "merge") {
        problem = fmt::format("unrecognized type: {}", scalar_text(*directive));
        return;
      }
    }
    retain_keys(target, patch);
    for (const auto& entry : patch) {
      const std::string_view key = key_view(entry);
      if (key == kPatch || key == kRetainKeys || key.starts_with(kSetOrder)) continue;
      if (key.starts_with(kDeletePrimitives)) {
        delete_primitives(target, key.substr(kDeletePrimitives.size()), entry.value());
        continue;
      }
      merge_field(message, target, key, entry.value(), patch);
    }
    for (const auto& entry : patch) {
      const std::string_view key = key_view(entry);
      if (key.starts_with(kSetOrder)) reorder(message, target, key.substr(kSetOrder.size()), entry.value());
    }
  }

 private:
  static const Type& type_of(const Message* message, std::string_view key) {
    const Field* field = message != nullptr ? message->find(key) : nullptr;
    return field != nullptr ? field->type : unknown_type();
  }

  static void retain_keys(Object& target, const Object& patch) {
    const Json* keep = patch.if_contains(kRetainKeys);
    if (keep == nullptr || !keep->is_array()) return;
    for (auto at = target.begin(); at != target.end();) {
      const Json key(boost::json::string(at->key()));
      const Array& list = keep->get_array();
      at = std::find(list.begin(), list.end(), key) == list.end() ? target.stable_erase(at) : at + 1;
    }
  }

  static void delete_primitives(Object& target, std::string_view key, const Json& values) {
    Json* list = target.if_contains(key);
    if (list == nullptr || !list->is_array() || !values.is_array()) return;
    Array kept;
    for (const Json& one : list->get_array()) {
      if (std::find(values.get_array().begin(), values.get_array().end(), one) == values.get_array().end()) kept.push_back(one);
    }
    *list = std::move(kept);
  }

  void merge_field(const Message* message, Object& target, std::string_view key, const Json& value, const Object& patch) {
    if (value.is_null()) return erase_key(target, key);
    const Type& type = type_of(message, key);
    Json& slot = target[key];
    if (value.is_object() && type.base != Base::kIntOrString) {
      // What is not there yet is merged into nothing, so that directives do not stay in it.
      if (!slot.is_object()) slot = Object();
      return merge(type.base == Base::kMessage ? type.message : nullptr, slot.get_object(), value.get_object());
    }
    if (!value.is_array()) {
      slot = value;
      return;
    }
    if (type.set && value.is_array()) {
      if (!slot.is_array()) slot = Array();
      for (const Json& one : value.get_array()) {
        Array& list = slot.get_array();
        if (std::find(list.begin(), list.end(), one) == list.end()) list.push_back(one);
      }
      return;
    }
    if (type.base == Base::kList && !type.merge_key.empty()) return merge_list(type, slot, value.get_array(), patch, key);
    slot = value;
  }

  static bool has_replace(const Array& patch) {
    return std::any_of(patch.begin(), patch.end(), [](const Json& one) { return text_at(one, kPatch) == "replace"; });
  }

  void merge_list(const Type& type, Json& slot, const Array& patch, const Object&, std::string_view name) {
    if (!slot.is_array()) slot = Array();
    Array& list = slot.get_array();
    if (has_replace(patch)) list.clear();
    std::vector<const Json*> merged;  // items of the patch that already found theirs: equal keys come in order
    std::vector<bool> taken(list.size(), false);
    for (const Json& one : patch) {
      if (!one.is_object()) {
        problem = fmt::format("expected an object in the list {}", name);
        return;
      }
      if (text_at(one, kPatch) == "replace") continue;
      const Json* key = one.get_object().if_contains(type.merge_key);
      if (key == nullptr) {
        problem = fmt::format("map: {} does not contain declared merge key: {}", to_text(one), type.merge_key);
        return;
      }
      const std::size_t at = find_item(type, list, one, *key, taken);
      if (text_at(one, kPatch) == "delete") {
        if (at < list.size()) {
          list.erase(list.begin() + static_cast<std::ptrdiff_t>(at));
          taken.erase(taken.begin() + static_cast<std::ptrdiff_t>(at));
        }
        continue;
      }
      if (at == list.size()) {
        list.emplace_back(Object());
        taken.push_back(false);
      }
      taken[at] = true;
      merge(type.item->message, list[at].get_object(), one.get_object());
    }
  }

  // By the merge key; where several items share it (53/TCP and 53/UDP), by all keys of the list first. An item that an
  // earlier one of the same patch went to is taken only when nothing else fits.
  static std::size_t find_item(const Type& type, const Array& list, const Json& patch, const Json& key, const std::vector<bool>& taken) {
    std::size_t found = list.size();
    for (std::size_t i = 0; i < list.size(); ++i) {
      const Json* other = list[i].is_object() ? list[i].get_object().if_contains(type.merge_key) : nullptr;
      if (other == nullptr || *other != key) continue;
      const bool same = std::all_of(type.map_keys.begin(), type.map_keys.end(), [&](const std::string& name) {
        const Json *mine = patch.get_object().if_contains(name), *theirs = list[i].get_object().if_contains(name);
        return mine == nullptr || (theirs != nullptr && *mine == *theirs);
      });
      if (same && !taken[i]) return i;
      const bool differs =
          type.map_keys.size() > 1 && std::any_of(type.map_keys.begin(), type.map_keys.end(), [&](const std::string& name) {
            const Json *mine = patch.get_object().if_contains(name), *theirs = list[i].get_object().if_contains(name);
            return mine != nullptr && theirs != nullptr && *mine != *theirs;
          });
      if (found == list.size() && !taken[i] && !differs) found = i;
    }
    return found;
  }

  // The order of the directive first; what it does not name keeps its place at the end.
  static void reorder(const Message* message, Object& target, std::string_view key, const Json& order) {
    const Type& type = type_of(message, key);
    Json* slot = target.if_contains(key);
    if (slot == nullptr || !slot->is_array() || !order.is_array()) return;
    Array rest = std::move(slot->get_array()), sorted;
    for (const Json& wanted : order.get_array()) {
      const Json* wanted_key = type.set ? &wanted : find(wanted, type.merge_key);
      if (wanted_key == nullptr) continue;
      auto at = std::find_if(rest.begin(), rest.end(), [&](const Json& one) {
        if (type.set) return one == *wanted_key;
        const Json* mine = one.is_object() ? one.get_object().if_contains(type.merge_key) : nullptr;
        return mine != nullptr && *mine == *wanted_key;
      });
      if (at == rest.end()) continue;
      sorted.push_back(std::move(*at));
      rest.erase(at);
    }
    for (Json& one : rest) sorted.push_back(std::move(one));
    *slot = std::move(sorted);
  }
};

}  // namespace

ApiResult<Json> json_patch(const Json& target, const Json& patch) {
  if (!patch.is_array()) return bad_request("error decoding patch: json: cannot unmarshal object into Go value of type jsonpatch.Patch");
  if (patch.get_array().size() > kMaxJsonPatchOperations)
    return too_large(
        fmt::format("The allowed maximum operations in a JSON patch is {}, got {}", kMaxJsonPatchOperations, patch.get_array().size()));
  Json result = target;
  for (const Json& operation : patch.get_array()) {
    if (std::string problem = JsonPatcher(result).apply(operation); !problem.empty()) {
      return generic(422, "Invalid", "the server rejected our request due to an error in our request: " + problem);
    }
  }
  return result;
}

void merge_patch(Json& target, const Json& patch) {
  if (!patch.is_object()) {
    target = patch;
    return;
  }
  if (!target.is_object()) target = Object();
  Object& object = target.get_object();
  for (const auto& entry : patch.get_object()) {
    if (entry.value().is_null()) erase_key(object, key_view(entry));
    else merge_patch(object[entry.key()], entry.value());
  }
}

ApiResult<Json> strategic_patch(const Message& message, const Json& target, const Json& patch) {
  if (!patch.is_object())
    return bad_request("error decoding patch: json: cannot unmarshal array into Go value of type map[string]interface {}");
  Json result = target;
  StrategicPatcher patcher;
  patcher.merge(&message, result.get_object(), patch.get_object());
  if (!patcher.problem.empty()) return bad_request(patcher.problem);
  return result;
}

}  // namespace fairway::apiserver
