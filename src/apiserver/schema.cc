#include "apiserver/schema.h"

#include <boost/json/parse.hpp>
#include <charconv>

#include "apiserver/schema_text.h"
#include "base/check.h"

namespace fairway::apiserver {
namespace {

std::vector<std::string_view> split(std::string_view text, std::string_view separators) {
  std::vector<std::string_view> parts;
  while (!text.empty()) {
    const auto end = text.find_first_of(separators);
    if (end != 0) parts.push_back(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return parts;
}

int to_number(std::string_view text) {
  int number = 0;
  FW_CHECK(std::from_chars(text.data(), text.data() + text.size(), number).ec == std::errc{});
  return number;
}

std::optional<Base> scalar(std::string_view name) {
  static const std::unordered_map<std::string_view, Base> kScalars{{"string", Base::kString},
                                                                   {"int32", Base::kInt32},
                                                                   {"int64", Base::kInt64},
                                                                   {"bool", Base::kBool},
                                                                   {"bytes", Base::kBytes},
                                                                   {"time", Base::kTime},
                                                                   {"microtime", Base::kMicroTime},
                                                                   {"quantity", Base::kQuantity},
                                                                   {"intorstring", Base::kIntOrString},
                                                                   {"any", Base::kAny}};
  auto at = kScalars.find(name);
  return at == kScalars.end() ? std::nullopt : std::optional(at->second);
}

Format format_named(std::string_view name) {
  static const std::unordered_map<std::string_view, Format> kFormats{{"dns_label", Format::kDnsLabel},
                                                                     {"dns_subdomain", Format::kDnsSubdomain},
                                                                     {"dns1035_label", Format::kDns1035Label},
                                                                     {"port_name", Format::kPortName},
                                                                     {"qualified_name", Format::kQualifiedName},
                                                                     {"label_value", Format::kLabelValue},
                                                                     {"ip", Format::kIp},
                                                                     {"cidr", Format::kCidr},
                                                                     {"env_name", Format::kEnvName},
                                                                     {"config_key", Format::kConfigKey},
                                                                     {"absolute_path", Format::kAbsolutePath}};
  auto at = kFormats.find(name);
  FW_CHECK(at != kFormats.end());
  return at->second;
}

Json parse_default(std::string_view text, Base base) {
  if (base == Base::kString || base == Base::kQuantity) return Json(boost::json::string(text));
  boost::json::error_code error;
  Json value = boost::json::parse(boost::json::string_view(text.data(), text.size()), error);
  if (error && base == Base::kIntOrString) return Json(boost::json::string(text));
  FW_CHECK(!error);
  return value;
}

}  // namespace

void SchemaText::add(std::string_view text) {
  Message* message = nullptr;
  for (std::string_view line : split(text, "\n;")) {
    const auto words = split(line, " \t");
    if (words.empty() || words[0].starts_with('#')) continue;
    const bool is_field = words.size() > 2 && words[1][0] >= '0' && words[1][0] <= '9';  // one of them is called "message"
    if (words[0] == "message" && !is_field) {
      message = &into_.messages_.emplace_back();
      message->name = words.at(1);
      message->preserve_unknown = words.size() > 2 && words[2] == "any";
      FW_CHECK(into_.by_name_.emplace(message->name, message).second);
    } else if (words[0] == "embed") {
      embeds_.push_back({message, to_number(words.at(1)), std::string(words.at(2))});
    } else {
      FW_CHECK(message != nullptr && is_field);
      add_field(*message, words);
    }
  }
}

// Fields live in a deque, so that pointers into them hold.
void SchemaText::add_field(Message& message, const std::vector<std::string_view>& words) {
  Field& field = message.fields.emplace_back();
  field.name = words[0];
  const auto numbers = split(words[1], ".");  // "2.5": field 5 of the message that Go embeds with number 2
  field.number = to_number(numbers.back());
  if (numbers.size() == 2) field.outer_number = to_number(numbers.front());
  std::string_view type = words[2];
  if (type.ends_with('?')) {
    field.pointer = true;
    type.remove_suffix(1);
  }
  field.type = parse_type(type);
  if (field.type.base == Base::kMessage) unresolved_.emplace_back(&field.type, std::string(type));
  for (std::size_t i = 3; i < words.size(); ++i) apply_attribute(field, words[i]);
}

Type SchemaText::parse_type(std::string_view text) {
  Type type;
  const bool list = text.starts_with("[]");
  if (list || text.starts_with("map<")) {
    const std::string_view inner = list ? text.substr(2) : text.substr(4, text.size() - 5);
    type.base = list ? Base::kList : Base::kMap;
    auto item = std::make_shared<Type>(parse_type(inner));
    if (item->base == Base::kMessage) unresolved_items_.emplace_back(item, std::string(inner));
    type.item = item;
    return type;
  }
  type.base = scalar(text).value_or(Base::kMessage);
  return type;
}

void SchemaText::apply_attribute(Field& field, std::string_view word) {
  Type& type = field.type;
  const auto open = word.find('(');
  const std::string_view name = word.substr(0, open);
  std::vector<std::string_view> arguments;
  if (open != std::string_view::npos && !word.starts_with('=')) arguments = split(word.substr(open + 1, word.size() - open - 2), ",");
  // The constraint of a list of scalars is that of its items.
  auto constrained = [&]() -> Type& { return type.base == Base::kList ? const_cast<Type&>(*type.item) : type; };
  if (word.starts_with('=')) {
    field.default_value = parse_default(word.substr(1), type.base);
  } else if (word == "!") {
    field.required = field.keep_zero = true;
  } else if (word == "zero") {
    field.keep_zero = true;
  } else if (name == "in") {
    for (std::string_view one : arguments) constrained().one_of.emplace_back(one);
  } else if (name == "range") {
    type.minimum = to_number(arguments.at(0));
    type.maximum = to_number(arguments.at(1));
  } else if (name == "min") {
    type.minimum = to_number(arguments.at(0));
  } else if (name == "is") {
    constrained().format = format_named(arguments.at(0));
  } else if (name == "key") {
    type.merge_key = arguments.at(0);
    type.map_keys = {type.merge_key};
  } else if (name == "merge") {
    type.merge_key = arguments.at(0);
  } else if (name == "map") {
    type.map_keys.assign(arguments.begin(), arguments.end());
  } else if (word == "set") {
    type.set = true;
  } else if (word == "retain") {
    type.retain_keys = true;
  } else if (word == "unique") {
    type.unique = true;
  } else {
    FW_CHECK(word == "atomic");
    type.atomic = true;
  }
}

void SchemaText::link() {
  auto resolve = [&](const std::string& name) {
    const Message* message = into_.find(name);
    FW_CHECK(message != nullptr);
    return message;
  };
  for (auto& [type, name] : unresolved_) type->message = resolve(name);
  for (auto& [type, name] : unresolved_items_) type->message = resolve(name);
  for (const Embed& embed : embeds_) {
    for (const Field& field : resolve(embed.from)->fields) {
      Field& copy = embed.into->fields.emplace_back(field);
      copy.outer_number = embed.number;
    }
  }
  for (Message& message : into_.messages_) {
    for (const Field& field : message.fields) FW_CHECK(message.by_name.emplace(field.name, &field).second);
  }
}

const Schemas& Schemas::builtin() {
  static const Schemas& schemas = []() -> const Schemas& {
    static Schemas all;
    SchemaText text(all);
    for (const char* table :
         {kMetaTypes, kCoreTypes, kServiceTypes, kPodTypes, kContainerTypes, kVolumeTypes, kAppsTypes, kNetworkingTypes, kExtensionTypes}) {
      text.add(table);
    }
    text.link();
    return all;
  }();
  return schemas;
}

const Message* Schemas::find(std::string_view message) const {
  auto at = by_name_.find(message);
  return at == by_name_.end() ? nullptr : at->second;
}

}  // namespace fairway::apiserver
