#include "apiserver/schema_check.h"

#include <fmt/format.h>

#include <limits>
#include <set>

#include "apiserver/formats.h"

namespace fairway::apiserver {

std::string child(const std::string& path, std::string_view name) {
  return path.empty() ? std::string(name) : fmt::format("{}.{}", path, name);
}
std::string item(const std::string& path, std::size_t index) { return fmt::format("{}[{}]", path, index); }
std::string item(const std::string& path, std::string_view key) { return fmt::format("{}[{}]", path, key); }

namespace {

std::string go_name(const Type& type) {
  switch (type.base) {
    case Base::kInt32:
      return "int32";
    case Base::kInt64:
      return "int64";
    case Base::kNumber:
      return "float64";
    case Base::kBool:
      return "bool";
    case Base::kBytes:
      return "[]uint8";
    case Base::kTime:
      return "v1.Time";
    case Base::kMicroTime:
      return "v1.MicroTime";
    case Base::kQuantity:
      return "resource.Quantity";
    case Base::kIntOrString:
      return "intstr.IntOrString";
    case Base::kMessage:
      return "v1." + type.message->name;
    case Base::kList:
      return "[]" + go_name(*type.item);
    case Base::kMap:
      return "map[string]" + go_name(*type.item);
    case Base::kString:
    case Base::kAny:
      break;
  }
  return "string";
}

std::string_view json_name(const Json& value) {
  switch (value.kind()) {
    case boost::json::kind::bool_:
      return "bool";
    case boost::json::kind::string:
      return "string";
    case boost::json::kind::array:
      return "array";
    case boost::json::kind::object:
      return "object";
    default:
      return "number";
  }
}

class Decoder {
 public:
  explicit Decoder(Decoding& out) : out_(out) {}

  void message(const Message& message, Object& object, const std::string& path, const std::string& go_path) {
    for (auto at = object.begin(); at != object.end() && !out_.type_error;) {
      const std::string_view key(at->key().data(), at->key().size());
      const Field* field = message.find(key);
      if (field == nullptr) {
        if (message.preserve_unknown || (path.empty() && (key == "apiVersion" || key == "kind"))) {
          ++at;
          continue;
        }
        out_.strict.push_back(fmt::format("unknown field \"{}\"", child(path, key)));
        at = object.stable_erase(at);
        continue;
      }
      if (at->value().is_null()) {
        at = object.stable_erase(at);
        continue;
      }
      struct_ = &message;
      value(field->type, at->value(), child(path, key), child(go_path, key));
      at = !out_.type_error && omitted(*field, at->value()) ? object.stable_erase(at) : at + 1;
    }
  }

 private:
  static bool omitted(const Field& field, const Json& value) {
    switch (field.type.base) {
      case Base::kMessage:
      case Base::kAny:
      case Base::kIntOrString:
      case Base::kQuantity:
        return false;
      case Base::kList:
      case Base::kMap:
        return is_empty(value);
      default:
        return !field.pointer && !field.keep_zero && is_empty(value);
    }
  }

  void wrong(const Type& type, const Json& value, const std::string& go_path) {
    const std::string what = value.is_number() && (type.base == Base::kInt32 || type.base == Base::kInt64) ? "number " + scalar_text(value)
                                                                                                           : std::string(json_name(value));
    out_.type_error =
        fmt::format("json: cannot unmarshal {} into Go struct field {}.{} of type {}", what, struct_->name, go_path, go_name(type));
  }

  void value(const Type& type, Json& value, const std::string& path, const std::string& go_path) {
    switch (type.base) {
      case Base::kAny:
        return;
      case Base::kString:
        return expect(value.is_string(), type, value, go_path);
      case Base::kBool:
        return expect(value.is_bool(), type, value, go_path);
      case Base::kInt64:
        return expect(value.is_int64(), type, value, go_path);
      case Base::kNumber:
        return expect(value.is_number(), type, value, go_path);
      case Base::kInt32:
        return expect(value.is_int64() && value.get_int64() >= std::numeric_limits<std::int32_t>::min() &&
                          value.get_int64() <= std::numeric_limits<std::int32_t>::max(),
                      type, value, go_path);
      case Base::kIntOrString:
        return expect(value.is_string() || (value.is_int64() && std::abs(value.get_int64()) <= std::numeric_limits<std::int32_t>::max()),
                      type, value, go_path);
      case Base::kBytes:
        if (!value.is_string()) return wrong(type, value, go_path);
        if (!is_base64(view(value.get_string())))
          out_.type_error =
              "illegal base64 data at input byte " +
              std::to_string(value.get_string().find_first_not_of("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/\r\n"));
        return;
      case Base::kTime:
      case Base::kMicroTime:
        if (!value.is_string()) return wrong(type, value, go_path);
        if (!is_rfc3339(view(value.get_string())))
          out_.type_error = fmt::format("parsing time {} as \"2006-01-02T15:04:05Z07:00\": cannot parse {} as \"2006\"", scalar_text(value),
                                        scalar_text(value));
        return;
      case Base::kQuantity:
        return quantity(type, value, go_path);
      case Base::kMessage:
        if (!value.is_object()) return wrong(type, value, go_path);
        return message(*type.message, value.get_object(), path, go_path);
      case Base::kList:
        return list(type, value, path, go_path);
      case Base::kMap:
        return map(type, value, path, go_path);
    }
  }

  void expect(bool fine, const Type& type, const Json& value, const std::string& go_path) {
    if (!fine) wrong(type, value, go_path);
  }

  void quantity(const Type& type, Json& value, const std::string& go_path) {
    if (!value.is_string() && !value.is_number()) return wrong(type, value, go_path);
    const std::string text = value.is_string() ? std::string(view(value.get_string())) : scalar_text(value);
    const auto canonical = canonical_quantity(text);
    if (!canonical) {
      out_.type_error = "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";
      return;
    }
    value = boost::json::string(*canonical);
  }

  void list(const Type& type, Json& value, const std::string& path, const std::string& go_path) {
    if (!value.is_array()) return wrong(type, value, go_path);
    const Message* parent = struct_;
    std::size_t index = 0;
    for (Json& one : value.get_array()) {
      struct_ = parent;
      if (one.is_null() && type.item->base == Base::kMessage) one = Object();
      this->value(*type.item, one, item(path, index++), go_path);
      if (out_.type_error) return;
    }
  }

  void map(const Type& type, Json& value, const std::string& path, const std::string& go_path) {
    if (!value.is_object()) return wrong(type, value, go_path);
    const Message* parent = struct_;
    for (auto& [key, one] : value.get_object()) {
      struct_ = parent;
      // Go decodes null into the zero of a string.
      if (one.is_null() && type.item->base == Base::kString) one = boost::json::string();
      this->value(*type.item, one, child(path, std::string_view(key.data(), key.size())), go_path);
      if (out_.type_error) return;
    }
  }

  Decoding& out_;
  const Message* struct_ = nullptr;
};

void default_value(const Type& type, Json& value) {
  if (type.base == Base::kMessage && value.is_object()) {
    apply_defaults(*type.message, value.get_object());
  } else if (type.base == Base::kList && value.is_array() && type.item->base != Base::kString) {
    for (Json& one : value.get_array()) default_value(*type.item, one);
  } else if (type.base == Base::kMap && value.is_object() && type.item->base != Base::kString) {
    for (auto& entry : value.get_object()) default_value(*type.item, entry.value());
  }
}

void check_range(const Type& type, const Json& value, const std::string& path, FieldErrors& errors) {
  if (!type.minimum || !value.is_number()) return;
  const double number = value.is_int64() ? static_cast<double>(value.get_int64()) : value.to_number<double>();
  if (number >= *type.minimum && (!type.maximum || number <= *type.maximum)) return;
  const auto low = static_cast<std::int64_t>(*type.minimum);
  if (!type.maximum)
    return errors.invalid(path, value, low == 1 ? "must be greater than 0" : fmt::format("must be greater than or equal to {}", low));
  const auto high = static_cast<std::int64_t>(*type.maximum);
  if (low == 0 && high == 0777) return errors.invalid(path, value, "must be a number between 0 and 0777 (octal), both inclusive");
  errors.invalid(path, value, fmt::format("must be between {} and {}, inclusive", low, high));
}

void check_unique(const Type& type, const Array& list, const std::string& path, FieldErrors& errors) {
  std::set<std::string_view> seen;
  for (std::size_t i = 0; i < list.size(); ++i) {
    const std::string_view key = text_at(list[i], type.merge_key);
    if (!key.empty() && !seen.insert(key).second) {
      // mountPath is told as it was written: upstream's words
      if (type.merge_key == "mountPath") errors.invalid_text(child(item(path, i), type.merge_key), key, "must be unique");
      else errors.duplicate(child(item(path, i), type.merge_key), Json(boost::json::string(key)));
    }
  }
}

void validate_value(const Type& type, const Json& value, const std::string& path, FieldErrors& errors) {
  switch (type.base) {
    case Base::kMessage:
      if (value.is_object()) validate(*type.message, value.get_object(), path, errors);
      return;
    case Base::kList: {
      const Array& list = value.get_array();
      if (type.item->base == Base::kString && type.item->one_of.empty() && type.item->format == Format::kNone) return;
      if (type.unique) check_unique(type, list, path, errors);
      for (std::size_t i = 0; i < list.size(); ++i) validate_value(*type.item, list[i], item(path, i), errors);
      return;
    }
    case Base::kMap:
      if (type.item->base != Base::kMessage) return;
      for (const auto& [key, one] : value.get_object())
        validate_value(*type.item, one, item(path, std::string_view(key.data(), key.size())), errors);
      return;
    case Base::kString: {
      const std::string_view text = view(value.get_string());
      if (!type.one_of.empty() && std::find(type.one_of.begin(), type.one_of.end(), text) == type.one_of.end())
        errors.not_supported(path, value, type.one_of);
      for (const std::string& why : check_format(type.format, text)) errors.invalid(path, value, why);
      return;
    }
    default:
      check_range(type, value, path, errors);
  }
}

}  // namespace

void decode(const Message& message, Object& object, Decoding& out, const std::string& path) {
  Decoder(out).message(message, object, path, path);
}

void apply_defaults(const Message& message, Object& object) {
  for (const Field& field : message.fields) {
    Json* value = object.if_contains(field.name);
    if (value == nullptr && field.default_value) value = &object.emplace(field.name, *field.default_value).first->value();
    if (value != nullptr) default_value(field.type, *value);
  }
}

void validate(const Message& message, const Object& object, const std::string& path, FieldErrors& errors) {
  for (const Field& field : message.fields) {
    const Json* value = object.if_contains(field.name);
    if (value == nullptr || (field.required && field.type.base != Base::kBool && field.type.base != Base::kMessage && is_empty(*value))) {
      if (field.required) errors.required(child(path, field.name));
      continue;
    }
    if (field.type.base == Base::kString && value->get_string().empty() && !field.pointer) continue;
    validate_value(field.type, *value, child(path, field.name), errors);
  }
}

}  // namespace fairway::apiserver
