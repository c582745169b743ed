// Schema: one description of each object's fields that everything else is driven by: strict decoding, defaults,
// field validation, strategic merge, server-side apply, and protobuf bodies.
//
// Built-in kinds are written as text tables (types_*.cc, grammar in schema_text.h); the schemas of
// CustomResourceDefinitions are compiled to the same structures (crd_schema.cc). Immutable once built.
#pragma once

#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <unordered_map>
#include <vector>

#include "apiserver/json_util.h"

namespace fairway::apiserver {

enum class Base : std::uint8_t {
  kString,
  kInt32,
  kInt64,
  kNumber,
  kBool,
  kBytes,
  kTime,
  kMicroTime,
  kQuantity,
  kIntOrString,
  kAny,  // kept as it is
  kMessage,
  kMap,
  kList,
};

// What a string must look like; the checks and their words are in formats.h.
enum class Format : std::uint8_t {
  kNone,
  kDnsLabel,
  kDnsSubdomain,
  kDns1035Label,
  kPortName,
  kQualifiedName,
  kLabelValue,
  kIp,
  kCidr,
  kEnvName,
  kConfigKey,
  kAbsolutePath,
};

struct Message;

struct Type {
  Base base = Base::kString;
  std::shared_ptr<const Type> item;  // of a list or map
  const Message* message = nullptr;
  // constraints
  std::optional<double> minimum, maximum;
  bool exclusive_minimum = false, exclusive_maximum = false;
  std::vector<std::string> one_of;  // strings; for CRDs the JSON text of any value
  Format format = Format::kNone;
  std::string pattern;  // CRDs only
  std::optional<std::size_t> min_length, max_length, min_items, max_items, min_properties, max_properties;
  bool nullable = false;
  // merging
  std::string merge_key;              // strategic merge patch: list of maps merged by this key
  std::vector<std::string> map_keys;  // server-side apply: listType=map
  bool set = false;                   // list of scalars merged as a set (patchStrategy=merge, listType=set)
  bool retain_keys = false;           // patchStrategy=retainKeys
  bool atomic = false;                // one field for server-side apply
  bool unique = false;                // items of the same merge key are refused
};

struct Field {
  std::string name;
  int number = 0, outer_number = 0;  // protobuf; outer: that of the message that Go embeds
  Type type;
  bool pointer = false;    // Go: *T, so that a zero is kept
  bool keep_zero = false;  // Go: no omitempty
  bool required = false;
  std::optional<Json> default_value;
};

struct Message {
  std::string name;
  std::deque<Field> fields;
  std::unordered_map<std::string_view, const Field*> by_name;
  bool preserve_unknown = false;
  std::shared_ptr<const Type> additional;  // CRDs: properties and additionalProperties at once

  const Field* find(std::string_view field) const {
    auto at = by_name.find(field);
    return at == by_name.end() ? nullptr : at->second;
  }
};

class Schemas {
 public:
  // All built-in messages. A mistake in a table aborts at start: it is ours.
  static const Schemas& builtin();
  const Message* find(std::string_view message) const;

 private:
  friend class SchemaText;
  std::deque<Message> messages_;
  std::unordered_map<std::string_view, Message*> by_name_;
};

}  // namespace fairway::apiserver
