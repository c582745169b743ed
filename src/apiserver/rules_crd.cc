// Defaults and validation of CustomResourceDefinition.
#include <fmt/format.h>

#include <algorithm>
#include <set>

#include "apiserver/formats.h"
#include "apiserver/kinds.h"
#include "apiserver/pattern.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver::rules {
namespace {

void set_condition(Array& conditions, const char* type, const char* reason, const char* message) {
  for (const Json& one : conditions) {
    if (text_at(one, "type") == type) return;
  }
  conditions.emplace_back(
      Object{{"type", type}, {"status", "True"}, {"lastTransitionTime", now_text()}, {"reason", reason}, {"message", message}});
}

// Every `pattern` in a schema, at whatever depth: objects are at most 128 levels deep.
void validate_patterns(const Json& schema, const std::string& at, FieldErrors& errors) {
  if (const std::string pattern(text_at(schema, "pattern")); !pattern.empty()) {
    if (auto trouble = pattern_trouble(pattern))
      errors.invalid_text(at + ".pattern", pattern, "must be a valid regular expression, but isn't: " + *trouble);
  }
  for (const char* nested : {"items", "additionalProperties"}) {
    if (const Json* one = find(schema, nested); one != nullptr && one->is_object())
      validate_patterns(*one, fmt::format("{}.{}", at, nested), errors);
  }
  const Json* properties = find(schema, "properties");
  if (properties == nullptr || !properties->is_object()) return;
  for (const auto& [name, one] : properties->get_object()) {
    if (one.is_object()) validate_patterns(one, fmt::format("{}.properties[{}]", at, std::string_view(name.data(), name.size())), errors);
  }
}

}  // namespace

// What upstream's naming and establishing controllers write: a lab accepts names at once.
void default_crd(Object& object) {
  Object& names = ensure_object(object, "spec.names");
  std::string singular(text_at(names, "kind"));
  std::transform(singular.begin(), singular.end(), singular.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (text_at(names, "singular").empty()) names["singular"] = boost::json::string(singular);
  if (text_at(names, "listKind").empty()) names["listKind"] = boost::json::string(std::string(text_at(names, "kind")) + "List");
  const Json accepted = names;
  ensure_object(object, "spec.conversion").emplace("strategy", "None");
  Object& status = ensure_object(object, "status");
  status["acceptedNames"] = accepted;
  Array conditions = array_at(status, "conditions");
  set_condition(conditions, "NamesAccepted", "NoConflicts", "no conflicts found");
  set_condition(conditions, "Established", "InitialNamesAccepted", "the initial names have been accepted");
  status["conditions"] = std::move(conditions);
  Array stored = array_at(status, "storedVersions");
  for (const Json& version : array_at(object, "spec.versions")) {
    const Json* name = find(version, "name");
    if (bool_at(version, "storage") && name != nullptr && std::find(stored.begin(), stored.end(), *name) == stored.end())
      stored.push_back(*name);
  }
  ensure_object(object, "status")["storedVersions"] = std::move(stored);
}

void validate_crd(const Object& object, const Object* before, FieldErrors& errors) {
  const std::string wanted = fmt::format("{}.{}", text_at(object, "spec.names.plural"), text_at(object, "spec.group"));
  if (text_at(object, "metadata.name") != wanted)
    errors.invalid_text("metadata.name", text_at(object, "metadata.name"), "must be spec.names.plural+\".\"+spec.group");
  if (text_at(object, "spec.group").find('.') == std::string_view::npos)
    errors.invalid_text("spec.group", text_at(object, "spec.group"), "should be a domain with at least one dot");
  const Array& versions = array_at(object, "spec.versions");
  std::set<std::string_view> names;
  int storage = 0;
  for (std::size_t i = 0; i < versions.size(); ++i) {
    const std::string at = item("spec.versions", i);
    storage += bool_at(versions[i], "storage") ? 1 : 0;
    if (!names.insert(text_at(versions[i], "name")).second)
      errors.duplicate(at + ".name", Json(boost::json::string(text_at(versions[i], "name"))));
    const Json* schema = find(versions[i], "schema.openAPIV3Schema");
    if (schema == nullptr || !schema->is_object()) {
      errors.required(at + ".schema.openAPIV3Schema", "schemas are required");
    } else if (text_at(*schema, "type") != "object") {
      errors.invalid_text(at + ".schema.openAPIV3Schema.type", text_at(*schema, "type"), "must be object at the root");
    } else {
      validate_patterns(*schema, at + ".schema.openAPIV3Schema", errors);
    }
  }
  if (storage != 1) errors.invalid("spec.versions", versions, "must have exactly one version marked as storage version");
  if (text_at(object, "spec.conversion.strategy") == "Webhook") errors.not_supported("spec.conversion.strategy", "Webhook", {"None"});
  if (before == nullptr) return;
  for (const char* field : {"spec.group", "spec.scope", "spec.names.plural", "spec.names.kind"})
    validate_immutable(object, *before, field, errors);
}

}  // namespace fairway::apiserver::rules
