// What a schema does to an object on its way in: strict decoding, defaults, and validation of single fields.
// Order: decode (wrong types are refused, unknown fields are told or dropped), defaults, validate.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/schema.h"

namespace fairway::apiserver {

struct Decoding {
  std::vector<std::string> strict;        // unknown field "spec.foo"
  std::optional<std::string> type_error;  // json: cannot unmarshal string into Go struct field ...
};

// Brings `object` to the form that Go's types would give it: no nulls, no zero where Go omits it, no unknown fields.
// Unknown top-level apiVersion and kind are left to the caller.
// `path` is where it stands, for the messages.
void decode(const Message& message, Object& object, Decoding& out, const std::string& path = {});

void apply_defaults(const Message& message, Object& object);

void validate(const Message& message, const Object& object, const std::string& path, FieldErrors& errors);

std::string child(const std::string& path, std::string_view name);  // "spec" + "ports" -> "spec.ports"
std::string item(const std::string& path, std::size_t index);       // "spec.ports[0]"
std::string item(const std::string& path, std::string_view key);    // "metadata.labels[key]"

}  // namespace fairway::apiserver
