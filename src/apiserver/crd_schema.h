// The schema of a CustomResourceDefinition's version, compiled from its openAPIV3Schema to the same structures as the
// built-in tables, so that pruning, defaults, validation and server-side apply are the same code.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "apiserver/kinds.h"
#include "apiserver/schema.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver {

struct PrinterColumn {
  std::string name, type, format, description, json_path;
  int priority = 0;
};

struct CustomSchema {
  std::deque<Message> messages;  // owns what Kind::message points to
  Type root;
  std::vector<PrinterColumn> columns;
  std::string spec_replicas_path, status_replicas_path, label_selector_path;  // scale: ".spec.replicas"
};

// One kind for each served version; nothing while the definition is being deleted.
std::vector<KindPtr> kinds_of_definition(const Json& definition);

// Drops what the schema does not know, and tells it.
void prune_custom(const CustomSchema& schema, Object& object, Decoding& out);

// Wrong types, missing and unfit fields; the words are those of go-openapi's validator.
void validate_custom(const CustomSchema& schema, const Object& object, FieldErrors& errors);

// The value at a simple JSONPath (".spec.replicas", ".metadata.labels.app", ".status.conditions[0].type").
const Json* at_json_path(const Json& object, std::string_view path);

}  // namespace fairway::apiserver
