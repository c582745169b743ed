// metadata.managedFields: who set which field (KEP-555), and server-side apply on top of it.
//
// A FieldSet is a trie of path elements in fieldsV1's own spelling: "f:name", "k:{...}", "v:...".
#pragma once

#include <map>
#include <string>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/kinds.h"

namespace fairway::apiserver {

struct FieldSet {
  bool member = false;
  std::map<std::string, FieldSet> children;

  bool empty() const { return !member && children.empty(); }
  static FieldSet from_json(const Json& fields);
  Json to_json() const;
  void add(const FieldSet& other);
  void subtract(const FieldSet& other);
  FieldSet intersection(const FieldSet& other) const;
};

// All fields that `object` sets, by the kind's schema; without what the server owns.
FieldSet fields_of(const Kind& kind, const Object& object);

// Records that `manager` made `object` out of `before` (null: created it).
void record_update(const Kind& kind, Object& object, const Object* before, const std::string& manager, const std::string& subresource);

// Merges `applied` into `live` (null: not there yet) for `manager`; conflicts are an error unless forced.
ApiResult<Json> merge_applied(const Kind& kind, const Object* live, const Object& applied, const std::string& manager,
                              const std::string& subresource, bool force);

}  // namespace fairway::apiserver
