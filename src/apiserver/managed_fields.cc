// Field sets of objects and their algebra. Who owns what is decided in record_update (here) and in server_side_apply.cc.
#include "apiserver/managed_fields.h"

#include <fmt/format.h>

#include <algorithm>

#include "apiserver/field_walk.h"
#include "apiserver/formats.h"

namespace fairway::apiserver {
namespace {

// metadata that the server owns; nobody manages it.
const char* const kServerFields[] = {"name",
                                     "namespace",
                                     "uid",
                                     "resourceVersion",
                                     "generation",
                                     "creationTimestamp",
                                     "selfLink",
                                     "managedFields",
                                     "generateName",
                                     "deletionTimestamp",
                                     "deletionGracePeriodSeconds"};

std::string field_element(std::string_view name) { return fmt::format("f:{}", name); }

void collect(const Type& type, const Json& value, FieldSet& into);

void collect_object(const Message* message, const Type* item, const Object& object, FieldSet& into) {
  static const Type kUnknown = [] {
    Type type;
    type.base = Base::kAny;
    return type;
  }();
  if (object.empty()) into.member = true;
  for (const auto& entry : object) {
    const std::string_view name(entry.key().data(), entry.key().size());
    const Field* field = message != nullptr ? message->find(name) : nullptr;
    const Type& type = field != nullptr ? field->type : item != nullptr ? *item : kUnknown;
    collect(type, entry.value(), into.children[field_element(name)]);
  }
}

void collect(const Type& type, const Json& value, FieldSet& into) {
  if (value.is_object() && !type.atomic && type.base != Base::kIntOrString) {
    if (type.base == Base::kMessage) return collect_object(type.message, type.message->additional.get(), value.get_object(), into);
    return collect_object(nullptr, type.base == Base::kMap ? type.item.get() : nullptr, value.get_object(), into);
  }
  if (value.is_array() && is_associative(type)) {
    if (value.get_array().empty()) into.member = true;
    for (const Json& one : value.get_array()) {
      FieldSet& item = into.children[list_element(type, one)];
      item.member = true;
      if (!type.set) collect(*type.item, one, item);
    }
    return;
  }
  into.member = true;
}

Json* managed_list(Object& object) { return find(object, "metadata.managedFields"); }

bool belongs_to(const Json& entry, std::string_view manager, std::string_view operation, std::string_view subresource) {
  return text_at(entry, "manager") == manager && text_at(entry, "operation") == operation && text_at(entry, "subresource") == subresource;
}

void drop_server_fields(FieldSet& set) {
  set.children.erase("f:apiVersion");
  set.children.erase("f:kind");
  auto metadata = set.children.find("f:metadata");
  if (metadata == set.children.end()) return;
  for (const char* name : kServerFields) metadata->second.children.erase(field_element(name));
  if (metadata->second.children.empty()) set.children.erase(metadata);
}

}  // namespace

bool is_associative(const Type& type) { return type.base == Base::kList && !type.atomic && (type.set || !type.map_keys.empty()); }

std::string list_element(const Type& type, const Json& item) {
  if (type.set) return "v:" + to_text(item);
  Object keys;
  std::vector<std::string> names = type.map_keys;
  std::sort(names.begin(), names.end());
  for (const std::string& name : names) {
    const Json* value = find(item, name);
    const Field* field = type.item->message != nullptr ? type.item->message->find(name) : nullptr;
    if (value != nullptr) keys[name] = *value;
    else if (field != nullptr && field->default_value) keys[name] = *field->default_value;
  }
  return "k:" + to_text(keys);
}

FieldSet FieldSet::from_json(const Json& fields) {
  FieldSet set;
  if (!fields.is_object() || fields.get_object().empty()) {
    set.member = true;
    return set;
  }
  for (const auto& entry : fields.get_object()) {
    if (entry.key() == ".") set.member = true;
    else set.children.emplace(entry.key(), from_json(entry.value()));
  }
  return set;
}

Json FieldSet::to_json() const {
  Object object;
  if (member && !children.empty()) object["."] = Object();
  for (const auto& [name, set] : children) object[name] = set.to_json();
  return object;
}

void FieldSet::add(const FieldSet& other) {
  member |= other.member;
  for (const auto& [name, set] : other.children) children[name].add(set);
}

void FieldSet::subtract(const FieldSet& other) {
  if (other.member) member = false;
  for (const auto& [name, set] : other.children) {
    auto at = children.find(name);
    if (at == children.end()) continue;
    at->second.subtract(set);
    if (at->second.empty()) children.erase(at);
  }
}

FieldSet FieldSet::intersection(const FieldSet& other) const {
  FieldSet out;
  out.member = member && other.member;
  for (const auto& [name, set] : children) {
    auto at = other.children.find(name);
    if (at == other.children.end()) continue;
    FieldSet both = set.intersection(at->second);
    if (!both.empty()) out.children.emplace(name, std::move(both));
  }
  return out;
}

FieldSet fields_of(const Kind& kind, const Object& object) {
  FieldSet set;
  collect_object(kind.message, nullptr, object, set);
  set.member = false;
  drop_server_fields(set);
  return set;
}

namespace {

void compare_values(const Type& type, const Json& now, const Json& old, const FieldSet& now_set, FieldSet& changed);

void compare_child(const Type& type, const Json& now, const Json* old, const FieldSet& set, FieldSet& changed) {
  if (old == nullptr) {
    changed.add(set);
    return;
  }
  if (now != *old) compare_values(type, now, *old, set, changed);
}

// `now_set` holds only what is managed, so that its elements lead the walk.
void compare_values(const Type& type, const Json& now, const Json& old, const FieldSet& now_set, FieldSet& changed) {
  if (now_set.children.empty() || now.kind() != old.kind()) {
    changed.add(now_set);
    return;
  }
  for (const auto& [element, set] : now_set.children) {
    const Step step = step_into(type, now, element);
    const Step before = step_into(type, old, element);
    if (step.value == nullptr) continue;
    FieldSet inner;
    compare_child(step.type, *step.value, before.value, set, inner);
    if (!inner.empty()) changed.children[element].add(inner);
  }
}

}  // namespace

Step step_into(const Type& type, const Json& value, const std::string& element) {
  static const Type kUnknown = [] {
    Type any;
    any.base = Base::kAny;
    return any;
  }();
  Step step{kUnknown, nullptr};
  if (element.starts_with("f:")) {
    const std::string_view name = std::string_view(element).substr(2);
    if (type.base == Base::kMessage) {
      const Field* field = type.message->find(name);
      if (field != nullptr) step.type = field->type;
      else if (type.message->additional) step.type = *type.message->additional;
    } else if (type.base == Base::kMap) {
      step.type = *type.item;
    }
    if (value.is_object()) step.value = value.get_object().if_contains(name);
  } else if (type.base == Base::kList && value.is_array()) {
    step.type = *type.item;
    for (const Json& one : value.get_array()) {
      if (list_element(type, one) == element) {
        step.value = &one;
        break;
      }
    }
  }
  return step;
}

namespace {

// Fields that differ: changed or added (in `now`), or removed (not in `now`).
void compare(const Kind& kind, const FieldSet& fields, const Object& now, const Object& old, FieldSet& changed, FieldSet& removed) {
  Type root;
  root.base = kind.message != nullptr ? Base::kMessage : Base::kAny;
  root.message = kind.message;
  compare_values(root, now, old, fields, changed);
  removed = fields_of(kind, old);
  removed.subtract(fields);
}

}  // namespace

void record_update(const Kind& kind, Object& object, const Object* before, const std::string& manager, const std::string& subresource) {
  const FieldSet now = fields_of(kind, object);
  FieldSet changed, removed;
  if (before == nullptr) changed = now;
  else compare(kind, now, object, *before, changed, removed);
  // What was asked for does not set the status where that has a subresource: the server did.
  if (subresource.empty() && kind.has("status") && !kind.keeps_status_on_create) changed.children.erase("f:status");
  if (before != nullptr && changed.empty() && removed.empty()) {
    if (const Json* old = find(*before, "metadata.managedFields")) set_at(object, "metadata.managedFields", *old);
    return;
  }
  Array entries;
  const Json* old = managed_list(object);
  if (old == nullptr && before != nullptr) old = find(const_cast<Object&>(*before), "metadata.managedFields");
  bool found = false;
  FieldSet all_changed = changed;
  all_changed.add(removed);
  for (const Json& entry : old != nullptr && old->is_array() ? old->get_array() : Array()) {
    FieldSet set =
        FieldSet::from_json(entry.is_object() && entry.get_object().contains("fieldsV1") ? entry.at("fieldsV1") : Json(Object()));
    const bool own = belongs_to(entry, manager, "Update", subresource);
    set.subtract(all_changed);
    if (own) set.add(changed);
    found |= own;
    set.member = false;
    if (set.empty()) continue;
    Json kept = entry;
    kept.get_object()["fieldsV1"] = set.to_json();
    if (own) kept.get_object()["time"] = boost::json::string(now_text());
    entries.push_back(std::move(kept));
  }
  if (!found && !changed.empty()) {
    Object entry{{"manager", manager}, {"operation", "Update"},    {"apiVersion", kind.api_version()},
                 {"time", now_text()}, {"fieldsType", "FieldsV1"}, {"fieldsV1", changed.to_json()}};
    if (!subresource.empty()) entry["subresource"] = subresource;
    entries.emplace_back(std::move(entry));
  }
  set_at(object, "metadata.managedFields", std::move(entries));
}

}  // namespace fairway::apiserver
