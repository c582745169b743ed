// Walking an object along the path elements of a FieldSet, by its schema.
#pragma once

#include <string>

#include "apiserver/json_util.h"
#include "apiserver/schema.h"

namespace fairway::apiserver {

// A list whose items are fields of their own for server-side apply (listType map or set).
bool is_associative(const Type& type);

// The path element of an item of such a list: k:{"name":"web"} or v:"finalizer".
std::string list_element(const Type& type, const Json& item);

struct Step {
  Type type;
  const Json* value;  // null: not there
};
Step step_into(const Type& type, const Json& value, const std::string& element);

}  // namespace fairway::apiserver
