#include "apiserver/crd_schema.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <set>

#include "apiserver/cluster_network_policy.h"
#include "apiserver/formats.h"
#include "apiserver/pattern.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver {
namespace {

constexpr std::size_t kMaxSchemaDepth = 64;

class Compiler {
 public:
  explicit Compiler(CustomSchema& into) : into_(into) {}

  Type compile(const Json& schema, std::size_t depth) {
    Type type;
    type.base = Base::kAny;
    const std::string_view name = text_at(schema, "type");
    type.nullable = bool_at(schema, "nullable");
    constraints(schema, type);
    if (depth > kMaxSchemaDepth) return type;
    if (bool_at(schema, "x-kubernetes-int-or-string")) type.base = Base::kIntOrString;
    else if (name == "string") type.base = Base::kString;
    else if (name == "integer") type.base = Base::kInt64;
    else if (name == "number") type.base = Base::kNumber;
    else if (name == "boolean") type.base = Base::kBool;
    else if (name == "array") list(schema, type, depth);
    else if (name == "object" && !bool_at(schema, "x-kubernetes-embedded-resource")) object(schema, type, depth);
    return type;
  }

 private:
  static std::optional<double> number(const Json& schema, const char* key) {
    const Json* value = find(schema, key);
    return value != nullptr && value->is_number() ? std::optional(value->to_number<double>()) : std::nullopt;
  }
  static std::optional<std::size_t> count(const Json& schema, const char* key) {
    const auto value = int_at(schema, key, -1);
    return value >= 0 ? std::optional(static_cast<std::size_t>(value)) : std::nullopt;
  }

  static void constraints(const Json& schema, Type& type) {
    type.minimum = number(schema, "minimum");
    type.maximum = number(schema, "maximum");
    type.exclusive_minimum = bool_at(schema, "exclusiveMinimum");
    type.exclusive_maximum = bool_at(schema, "exclusiveMaximum");
    type.pattern = text_at(schema, "pattern");
    type.min_length = count(schema, "minLength");
    type.max_length = count(schema, "maxLength");
    type.min_items = count(schema, "minItems");
    type.max_items = count(schema, "maxItems");
    type.min_properties = count(schema, "minProperties");
    type.max_properties = count(schema, "maxProperties");
    for (const Json& one : array_at(schema, "enum")) type.one_of.push_back(to_text(one));
  }

  void list(const Json& schema, Type& type, std::size_t depth) {
    type.base = Base::kList;
    const Json* items = find(schema, "items");
    type.item = std::make_shared<Type>(compile(items != nullptr ? *items : Json(Object()), depth + 1));
    const std::string_view kind = text_at(schema, "x-kubernetes-list-type");
    type.set = kind == "set";
    if (kind != "map") return;
    for (const Json& key : array_at(schema, "x-kubernetes-list-map-keys"))
      type.map_keys.emplace_back(key.is_string() ? view(key.get_string()) : "");
  }

  void object(const Json& schema, Type& type, std::size_t depth) {
    const Object* properties = object_at(schema, "properties");
    const Json* additional = find(schema, "additionalProperties");
    const bool preserve = bool_at(schema, "x-kubernetes-preserve-unknown-fields");
    type.atomic = text_at(schema, "x-kubernetes-map-type") == "atomic";
    if (properties == nullptr && additional != nullptr && additional->is_object()) {
      type.base = Base::kMap;
      type.item = std::make_shared<Type>(compile(*additional, depth + 1));
      return;
    }
    type.base = Base::kMessage;
    Message& message = into_.messages.emplace_back();
    type.message = &message;
    message.preserve_unknown = preserve || (additional != nullptr && additional->is_bool() && additional->get_bool());
    if (additional != nullptr && additional->is_object()) message.additional = std::make_shared<Type>(compile(*additional, depth + 1));
    const Array& required = array_at(schema, "required");
    if (properties != nullptr) {
      for (const auto& [key, property] : *properties) {
        Field& field = message.fields.emplace_back();
        field.name.assign(key.data(), key.size());
        field.type = compile(property, depth + 1);
        if (const Json* value = find(property, "default")) field.default_value = *value;
      }
    }
    for (Field& field : message.fields) {
      field.required = std::find(required.begin(), required.end(), Json(boost::json::string(field.name))) != required.end();
      message.by_name.emplace(field.name, &field);
    }
  }

  CustomSchema& into_;
};

// Every object has these, whatever its schema says.
void add_standard_fields(Message& root) {
  const std::pair<const char*, Base> standard[] = {{"apiVersion", Base::kString}, {"kind", Base::kString}, {"metadata", Base::kMessage}};
  for (const auto& [name, base] : standard) {
    auto* field = const_cast<Field*>(root.find(name));
    if (field == nullptr) {
      field = &root.fields.emplace_back();
      field->name = name;
      root.by_name.emplace(field->name, field);
    }
    field->type = Type{};
    field->type.base = base;
    if (base == Base::kMessage) field->type.message = Schemas::builtin().find("ObjectMeta");
  }
}

std::shared_ptr<const CustomSchema> compile_version(const Json& version) {
  auto schema = std::make_shared<CustomSchema>();
  const Json* text = find(version, "schema.openAPIV3Schema");
  schema->root = Compiler(*schema).compile(
      text != nullptr ? *text : Json(Object{{"type", "object"}, {"x-kubernetes-preserve-unknown-fields", true}}), 0);
  if (schema->root.base != Base::kMessage) {
    schema->root.base = Base::kMessage;
    schema->root.message = &schema->messages.emplace_back();
    const_cast<Message*>(schema->root.message)->preserve_unknown = true;
  }
  auto& root = const_cast<Message&>(*schema->root.message);  // one of schema->messages
  root.additional = nullptr;
  add_standard_fields(root);
  for (const Json& column : array_at(version, "additionalPrinterColumns")) {
    schema->columns.push_back({std::string(text_at(column, "name")), std::string(text_at(column, "type")),
                               std::string(text_at(column, "format")), std::string(text_at(column, "description")),
                               std::string(text_at(column, "jsonPath")), static_cast<int>(int_at(column, "priority"))});
  }
  schema->spec_replicas_path = text_at(version, "subresources.scale.specReplicasPath");
  schema->status_replicas_path = text_at(version, "subresources.scale.statusReplicasPath");
  schema->label_selector_path = text_at(version, "subresources.scale.labelSelectorPath");
  return schema;
}

std::vector<std::string> strings(const Json& object, std::string_view path) {
  std::vector<std::string> list;
  for (const Json& one : array_at(object, path)) list.emplace_back(one.is_string() ? view(one.get_string()) : "");
  return list;
}

class Pruner {
 public:
  explicit Pruner(Decoding& out) : out_(out) {}

  void value(const Type& type, Json& value, const std::string& path) {
    if (type.base == Base::kMessage && value.is_object()) {
      object(*type.message, value.get_object(), path);
    } else if (type.base == Base::kList && value.is_array()) {
      std::size_t index = 0;
      for (Json& one : value.get_array()) this->value(*type.item, one, item(path, index++));
    } else if (type.base == Base::kMap && value.is_object()) {
      for (auto& [key, one] : value.get_object()) this->value(*type.item, one, child(path, std::string_view(key.data(), key.size())));
    }
  }

  void object(const Message& message, Object& object, const std::string& path) {
    for (auto at = object.begin(); at != object.end();) {
      const std::string_view key(at->key().data(), at->key().size());
      const Field* field = message.find(key);
      const Type* type = field != nullptr ? &field->type : message.additional.get();
      if (type == nullptr && !message.preserve_unknown) {
        out_.strict.push_back(fmt::format("unknown field \"{}\"", child(path, key)));
        at = object.stable_erase(at);
        continue;
      }
      if (field != nullptr && at->value().is_null() && !field->type.nullable && field->type.base != Base::kAny) {
        at = object.stable_erase(at);
        continue;
      }
      if (type != nullptr) value(*type, at->value(), child(path, key));
      ++at;
    }
  }

 private:
  Decoding& out_;
};

std::string_view open_api_name(Base base) {
  switch (base) {
    case Base::kInt32:
    case Base::kInt64:
      return "integer";
    case Base::kNumber:
      return "number";
    case Base::kBool:
      return "boolean";
    case Base::kList:
      return "array";
    case Base::kMessage:
    case Base::kMap:
      return "object";
    default:
      return "string";
  }
}

std::string_view json_type(const Json& value) {
  if (value.is_string()) return "string";
  if (value.is_bool()) return "boolean";
  if (value.is_array()) return "array";
  if (value.is_object()) return "object";
  if (value.is_null()) return "null";
  return value.is_double() ? "number" : "integer";
}

bool fits(const Type& type, const Json& value) {
  switch (type.base) {
    case Base::kAny:
      return true;
    case Base::kIntOrString:
      return value.is_string() || value.is_int64();
    case Base::kNumber:
      return value.is_number();
    case Base::kInt32:
    case Base::kInt64:
      return value.is_int64() ||
             (value.is_double() && value.get_double() == static_cast<double>(static_cast<std::int64_t>(value.get_double())));
    case Base::kBool:
      return value.is_bool();
    case Base::kList:
      return value.is_array();
    case Base::kMessage:
    case Base::kMap:
      return value.is_object();
    default:
      return value.is_string();
  }
}

void check_number(const Type& type, const Json& value, const std::string& path, FieldErrors& errors) {
  const double number = value.to_number<double>();
  auto told = [&](std::string_view how, double bound) {
    errors.invalid(path, value, fmt::format("{} in body should be {} {}", path, how, bound));
  };
  if (type.minimum && (type.exclusive_minimum ? number <= *type.minimum : number < *type.minimum))
    told(type.exclusive_minimum ? "greater than" : "greater than or equal to", *type.minimum);
  if (type.maximum && (type.exclusive_maximum ? number >= *type.maximum : number > *type.maximum))
    told(type.exclusive_maximum ? "less than" : "less than or equal to", *type.maximum);
}

void check_string(const Type& type, const Json& value, const std::string& path, FieldErrors& errors) {
  const std::string_view text = view(value.get_string());
  const auto length = static_cast<std::size_t>(std::count_if(text.begin(), text.end(), [](char c) { return (c & 0xc0) != 0x80; }));
  if (type.min_length && length < *type.min_length)
    errors.invalid(path, value, fmt::format("{} in body should be at least {} chars long", path, *type.min_length));
  if (type.max_length && length > *type.max_length)
    errors.add({"FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", *type.max_length), path});
  if (type.pattern.empty()) return;
  const PatternResult result = match_pattern(type.pattern, text);
  if (!result.trouble.empty()) return errors.invalid(path, value, fmt::format("the schema's pattern cannot be used: {}", result.trouble));
  if (!result.matches) errors.invalid(path, value, fmt::format("{} in body should match '{}'", path, type.pattern));
}

void check_properties(const Type& type, std::size_t size, const std::string& path, FieldErrors& errors) {
  if (type.min_properties && size < *type.min_properties)
    errors.invalid(path, size, fmt::format("{} in body should have at least {} properties", path, *type.min_properties));
  if (type.max_properties && size > *type.max_properties) errors.too_many(path, size, *type.max_properties);
}

// x-kubernetes-list-type: set.
void check_set(const Array& list, const std::string& path, FieldErrors& errors) {
  std::set<std::string> seen;
  for (std::size_t i = 0; i < list.size(); ++i)
    if (!seen.insert(to_text(list[i])).second) errors.duplicate(item(path, i), list[i]);
}

void check_value(const Type& type, const Json& value, const std::string& path, FieldErrors& errors);

void check_object(const Message& message, const Object& object, const std::string& path, FieldErrors& errors) {
  for (const Field& field : message.fields) {
    const Json* value = object.if_contains(field.name);
    if (value == nullptr && field.required) errors.required(child(path, field.name));
  }
  for (const auto& [key, value] : object) {
    const std::string_view name(key.data(), key.size());
    const Field* field = message.find(name);
    const Type* type = field != nullptr ? &field->type : message.additional.get();
    if (type != nullptr && !(path.empty() && name == "metadata")) check_value(*type, value, child(path, name), errors);
  }
}

void check_value(const Type& type, const Json& value, const std::string& path, FieldErrors& errors) {
  if (value.is_null() && type.nullable) return;
  if (!fits(type, value)) {
    const std::string_view have = json_type(value);
    return errors.add(
        {"FieldValueTypeInvalid",
         fmt::format("Invalid value: \"{}\": {} in body must be of type {}: \"{}\"", have, path, open_api_name(type.base), have), path});
  }
  if (!type.one_of.empty() && std::find(type.one_of.begin(), type.one_of.end(), to_text(value)) == type.one_of.end()) {
    std::string list;
    for (const std::string& one : type.one_of) list += (list.empty() ? "" : ", ") + one;
    errors.add({"FieldValueNotSupported", fmt::format("Unsupported value: {}: supported values: {}", to_text(value), list), path});
  }
  if (value.is_number()) check_number(type, value, path, errors);
  if (value.is_string()) check_string(type, value, path, errors);
  if (value.is_array() && type.base == Base::kList) {
    const std::size_t size = value.get_array().size();
    if (type.min_items && size < *type.min_items)
      errors.invalid(path, size, fmt::format("{} in body should have at least {} items", path, *type.min_items));
    if (type.max_items && size > *type.max_items) errors.too_many(path, size, *type.max_items);
    if (type.set) check_set(value.get_array(), path, errors);
    for (std::size_t i = 0; i < size; ++i) check_value(*type.item, value.get_array()[i], item(path, i), errors);
  }
  if (value.is_object()) check_properties(type, value.get_object().size(), path, errors);
  if (value.is_object() && type.base == Base::kMessage) check_object(*type.message, value.get_object(), path, errors);
  if (value.is_object() && type.base == Base::kMap) {
    for (const auto& [key, one] : value.get_object())
      check_value(*type.item, one, child(path, std::string_view(key.data(), key.size())), errors);
  }
}

}  // namespace

std::vector<KindPtr> kinds_of_definition(const Json& definition) {
  std::vector<KindPtr> kinds;
  for (const Json& version : array_at(definition, "spec.versions")) {
    if (!bool_at(version, "served")) continue;
    auto kind = std::make_shared<Kind>();
    kind->group = text_at(definition, "spec.group");
    kind->version = text_at(version, "name");
    kind->kind = text_at(definition, "spec.names.kind");
    kind->resource = text_at(definition, "spec.names.plural");
    kind->singular = text_at(definition, "spec.names.singular");
    kind->short_names = strings(definition, "spec.names.shortNames");
    kind->categories = strings(definition, "spec.names.categories");
    kind->namespaced = text_at(definition, "spec.scope") == "Namespaced";
    kind->counts_generations = true;
    if (find(version, "subresources.scale") != nullptr) kind->subresources.emplace_back("scale");
    if (find(version, "subresources.status") != nullptr) kind->subresources.emplace_back("status");
    kind->custom = compile_version(version);
    kind->message = kind->custom->root.message;
    if (text_at(definition, "metadata.name") == kClusterNetworkPolicies) kind->validate = rules::validate_cluster_network_policy;
    kinds.push_back(std::move(kind));
  }
  return kinds;
}

void prune_custom(const CustomSchema& schema, Object& object, Decoding& out) {
  if (Json* metadata = object.if_contains("metadata"); metadata != nullptr && metadata->is_object()) {
    decode(*Schemas::builtin().find("ObjectMeta"), metadata->get_object(), out, "metadata");
  }
  Pruner pruner(out);
  pruner.object(*schema.root.message, object, "");
}

void validate_custom(const CustomSchema& schema, const Object& object, FieldErrors& errors) {
  check_object(*schema.root.message, object, "", errors);
}

const Json* at_json_path(const Json& object, std::string_view path) {
  const Json* at = &object;
  if (path.starts_with('$')) path.remove_prefix(1);
  while (!path.empty() && at != nullptr) {
    if (path[0] == '.') {
      path.remove_prefix(1);
      std::string name;
      // "\." is a dot within a name: .metadata.labels.app\.kubernetes\.io/name
      while (!path.empty() && path[0] != '.' && path[0] != '[') {
        if (path[0] == '\\' && path.size() > 1) path.remove_prefix(1);
        name += path[0];
        path.remove_prefix(1);
      }
      at = at->is_object() ? at->get_object().if_contains(name) : nullptr;
      continue;
    }
    if (path[0] != '[') return nullptr;
    const auto end = path.find(']');
    if (end == std::string_view::npos) return nullptr;
    const std::string_view inside = path.substr(1, end - 1);
    path.remove_prefix(end + 1);
    if (inside.size() > 2 && (inside[0] == '\'' || inside[0] == '"')) {
      at = at->is_object() ? at->get_object().if_contains(inside.substr(1, inside.size() - 2)) : nullptr;
      continue;
    }
    std::size_t index = 0;
    const auto [last, error] = std::from_chars(inside.data(), inside.data() + inside.size(), index);
    if (error == std::errc{} && last == inside.data() + inside.size()) {
      at = at->is_array() && index < at->get_array().size() ? &at->get_array()[index] : nullptr;
      continue;
    }
    // [?(@.type=="Ready")]
    const auto equals = inside.find("==");
    if (!inside.starts_with("?(@.") || equals == std::string_view::npos || !inside.ends_with(')')) return nullptr;
    const std::string_view key = inside.substr(4, equals - 4);
    std::string_view wanted = inside.substr(equals + 2, inside.size() - equals - 3);
    if (wanted.size() >= 2) wanted = wanted.substr(1, wanted.size() - 2);
    const Json* found = nullptr;
    if (at->is_array()) {
      for (const Json& one : at->get_array()) {
        if (text_at(one, key) == wanted && found == nullptr) found = &one;
      }
    }
    at = found;
  }
  return at;
}

}  // namespace fairway::apiserver
