// Server-side apply (KEP-555; sigs.k8s.io/structured-merge-diff): merge what is applied into what is there, drop what the
// manager applied before and no longer does, and refuse to change what others own.
#include <fmt/format.h>

#include <algorithm>

#include "apiserver/field_walk.h"
#include "apiserver/formats.h"
#include "apiserver/managed_fields.h"

namespace fairway::apiserver {
namespace {

const Type& any_type() {
  static const Type kAny = [] {
    Type type;
    type.base = Base::kAny;
    return type;
  }();
  return kAny;
}

void merge_value(const Type& type, Json& live, const Json& applied);

void merge_object(const Message* message, const Type* item, Object& live, const Object& applied) {
  for (const auto& entry : applied) {
    const std::string_view name(entry.key().data(), entry.key().size());
    const Field* field = message != nullptr ? message->find(name) : nullptr;
    const Type& type = field != nullptr ? field->type : item != nullptr ? *item : any_type();
    Json* slot = live.if_contains(name);
    if (slot == nullptr) live.emplace(entry.key(), entry.value());
    else merge_value(type, *slot, entry.value());
  }
}

void merge_value(const Type& type, Json& live, const Json& applied) {
  if (applied.is_object() && live.is_object() && !type.atomic) {
    if (type.base == Base::kMessage)
      return merge_object(type.message, type.message->additional.get(), live.get_object(), applied.get_object());
    return merge_object(nullptr, type.base == Base::kMap ? type.item.get() : nullptr, live.get_object(), applied.get_object());
  }
  if (!applied.is_array() || !live.is_array() || !is_associative(type)) {
    live = applied;
    return;
  }
  Array& list = live.get_array();
  for (const Json& one : applied.get_array()) {
    const std::string element = list_element(type, one);
    auto at = std::find_if(list.begin(), list.end(), [&](const Json& other) { return list_element(type, other) == element; });
    if (at == list.end()) list.push_back(one);
    else if (!type.set) merge_value(*type.item, *at, one);
  }
}

// Removes the fields of `gone` from `value`.
void prune(const Type& type, Json& value, const FieldSet& gone) {
  for (const auto& [element, set] : gone.children) {
    const Step step = step_into(type, value, element);
    if (step.value == nullptr) continue;
    const bool whole = set.children.empty() || (set.member && value.is_array());
    if (!whole) {
      prune(step.type, const_cast<Json&>(*step.value), set);
      if (!is_empty(*step.value) || step.value->is_array() == false) continue;
    }
    if (value.is_object()) erase_key(value.get_object(), std::string_view(element).substr(2));
    else value.get_array().erase(value.get_array().begin() + (step.value - value.get_array().data()));
  }
}

// "f:spec" + "f:containers" + k:{"name":"x"} -> .spec.containers[name="x"]
void field_paths(const FieldSet& set, const std::string& prefix, std::vector<std::string>& out) {
  if (set.member) out.push_back(prefix);
  for (const auto& [element, inner] : set.children) {
    std::string path = prefix;
    if (element.starts_with("f:")) {
      path += "." + element.substr(2);
    } else if (element.starts_with("k:")) {
      std::string keys = element.substr(3, element.size() - 4);  // without braces
      std::string text;
      bool in_string = false, in_key = true;
      for (char c : keys) {
        if (c == '"' && in_key) continue;
        if (c == '"') in_string = !in_string;
        if (c == ':' && !in_string && in_key) {
          text += '=';
          in_key = false;
          continue;
        }
        if (c == ',' && !in_string) in_key = true;
        text += c;
      }
      path += "[" + text + "]";
    } else {
      path += "[=" + element.substr(2) + "]";
    }
    field_paths(inner, path, out);
  }
}

// The applied fields whose value `merged` changes in `live`.
void changed_fields(const Type& type, const Json& live, const Json& merged, const FieldSet& applied, FieldSet& out) {
  for (const auto& [element, set] : applied.children) {
    const Step now = step_into(type, merged, element);
    const Step before = step_into(type, live, element);
    if (now.value == nullptr) continue;
    FieldSet inner;
    if (before.value == nullptr) inner = set;
    else if (*now.value == *before.value) continue;
    else if (set.children.empty()) inner.member = true;
    else changed_fields(now.type, *before.value, *now.value, set, inner);
    if (!inner.empty()) out.children[element].add(inner);
  }
}

struct Manager {
  std::string name, operation, subresource;
  FieldSet fields;
  Json entry;
};

std::vector<Manager> managers_of(const Object* live) {
  std::vector<Manager> all;
  if (live == nullptr) return all;
  for (const Json& entry : array_at(*live, "metadata.managedFields")) {
    const Json* fields = find(entry, "fieldsV1");
    FieldSet set = fields != nullptr ? FieldSet::from_json(*fields) : FieldSet{};
    set.member = false;
    all.push_back({std::string(text_at(entry, "manager")), std::string(text_at(entry, "operation")),
                   std::string(text_at(entry, "subresource")), std::move(set), entry});
  }
  return all;
}

ApiError conflict_error(const Kind& kind, const std::vector<std::pair<const Manager*, std::string>>& conflicts) {
  auto who = [&](const Manager& manager) {
    std::string text = quoted(manager.name);
    if (!manager.subresource.empty()) text += fmt::format(" with subresource {}", quoted(manager.subresource));
    return manager.operation == "Update" ? fmt::format("{} using {}", text, text_at(manager.entry, "apiVersion", kind.api_version()))
                                         : text;
  };
  ApiError error = generic(409, "Conflict", "");
  if (conflicts.size() == 1) {
    error.message = fmt::format("Apply failed with 1 conflict: conflict with {}: {}", who(*conflicts[0].first), conflicts[0].second);
  } else {
    error.message = fmt::format("Apply failed with {} conflicts: ", conflicts.size());
    const Manager* last = nullptr;
    for (const auto& [manager, path] : conflicts) {
      if (manager != last) error.message += fmt::format("{}conflicts with {}:", last == nullptr ? "" : "\n", who(*manager));
      error.message += "\n- " + path;
      last = manager;
    }
  }
  for (const auto& [manager, path] : conflicts) error.causes.push_back({"FieldManagerConflict", "conflict with " + who(*manager), path});
  return error;
}

}  // namespace

ApiResult<Json> merge_applied(const Kind& kind, const Object* live, const Object& applied, const std::string& manager,
                              const std::string& subresource, bool force) {
  Type root;
  root.base = kind.message != nullptr ? Base::kMessage : Base::kAny;
  root.message = kind.message;
  std::vector<Manager> managers = managers_of(live);
  // An object of before field ownership was recorded belongs to "before-first-apply".
  if (live != nullptr && managers.empty()) {
    Object entry{{"manager", "before-first-apply"},
                 {"operation", "Update"},
                 {"apiVersion", kind.api_version()},
                 {"time", now_text()},
                 {"fieldsType", "FieldsV1"}};
    managers.push_back({"before-first-apply", "Update", "", fields_of(kind, *live), std::move(entry)});
  }
  const FieldSet wanted = fields_of(kind, applied);
  Json merged = live != nullptr ? Json(*live) : Json(Object());
  merge_value(root, merged, applied);

  FieldSet changed;
  if (live != nullptr) changed_fields(root, *live, merged, wanted, changed);
  std::vector<std::pair<const Manager*, std::string>> conflicts;
  FieldSet owned_by_others, dropped;
  for (const Manager& other : managers) {
    if (other.name == manager && other.operation == "Apply" && other.subresource == subresource) {
      dropped = other.fields;
      continue;
    }
    owned_by_others.add(other.fields);
    std::vector<std::string> paths;
    field_paths(other.fields.intersection(changed), "", paths);
    for (std::string& path : paths) conflicts.emplace_back(&other, std::move(path));
  }
  if (!conflicts.empty() && !force) return conflict_error(kind, conflicts);

  dropped.subtract(wanted);
  dropped.subtract(owned_by_others);
  prune(root, merged, dropped);

  Array entries;
  for (Manager& other : managers) {
    if (other.name == manager && other.operation == "Apply" && other.subresource == subresource) continue;
    other.fields.subtract(changed);
    if (other.fields.empty()) continue;
    other.entry.get_object()["fieldsV1"] = other.fields.to_json();
    entries.push_back(std::move(other.entry));
  }
  Object own{{"manager", manager}, {"operation", "Apply"},     {"apiVersion", kind.api_version()},
             {"time", now_text()}, {"fieldsType", "FieldsV1"}, {"fieldsV1", wanted.to_json()}};
  if (!subresource.empty()) own["subresource"] = subresource;
  entries.emplace_back(std::move(own));
  set_at(merged.get_object(), "metadata.managedFields", std::move(entries));
  return merged;
}

}  // namespace fairway::apiserver
