// Patches: each is turned into the whole new object, which then goes the way of an update.
#include <fmt/format.h>

#include "apiserver/engine.h"
#include "apiserver/managed_fields.h"
#include "apiserver/patch.h"

namespace fairway::apiserver {
namespace {

// An apply that changes nothing but the time of its own entry is no change.
void keep_time_if_same(Object& object, const Object& before) {
  const Json* old_entries = find(before, "metadata.managedFields");
  Json* entries = find(object, "metadata.managedFields");
  if (old_entries == nullptr || entries == nullptr || !entries->is_array() || !old_entries->is_array() ||
      entries->get_array().size() != old_entries->get_array().size())
    return;
  for (std::size_t i = 0; i < entries->get_array().size(); ++i) {
    Json copy = entries->get_array()[i];
    const Json* time = find(old_entries->get_array()[i], "time");
    if (time == nullptr || !copy.is_object()) continue;
    copy.get_object()["time"] = *time;
    if (copy == old_entries->get_array()[i]) entries->get_array()[i] = std::move(copy);
  }
}

}  // namespace

ApiResult<Json> Engine::patched(const Target& target, k8s::PatchType type, const Json& patch, const Json& current) const {
  switch (type) {
    case k8s::PatchType::kJson:
      return json_patch(current, patch);
    case k8s::PatchType::kMerge: {
      if (!patch.is_object())
        return bad_request("error decoding patch: json: cannot unmarshal into Go value of type map[string]interface {}");
      Json result = current;
      merge_patch(result, patch);
      return result;
    }
    case k8s::PatchType::kStrategic:
      if (target.kind->custom || target.kind->message == nullptr)
        return unsupported_media_type("application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml");
      return strategic_patch(*target.kind->message, current, patch);
    case k8s::PatchType::kApply:
      break;
  }
  return internal_error("server-side apply is no plain patch");
}

ApiResult<Written> Engine::patch(const Target& target, k8s::PatchType type, const Json& patch, const WriteOptions& options) {
  if (type == k8s::PatchType::kApply) return apply(target, patch, options);
  if (target.subresource == "scale") {
    FW_ASSIGN(const Json scale, get_scale(target));
    Target as_scale = target;
    FW_ASSIGN(Json changed, patched(as_scale, type == k8s::PatchType::kStrategic ? k8s::PatchType::kMerge : type, patch, scale));
    return update_scale(target, changed, options);
  }
  FW_ASSIGN(const ObjectPtr before, existing(target));
  FW_ASSIGN(Json object, patched(target, type, patch, before->value));
  Written out;
  FW_TRY(decode_object(target, object, options, out.warnings));
  const std::string_view name = text_at(object, "metadata.name");
  if (name != target.name)
    return bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, target.name));
  return commit_update(target, std::move(object), before, options, std::move(out.warnings));
}

ApiResult<Written> Engine::apply(const Target& target, const Json& patch, const WriteOptions& options) {
  const Kind& kind = *target.kind;
  if (options.manager.empty()) {
    FieldErrors errors;
    errors.required("fieldManager", "is required for apply patch");
    return invalid("meta.k8s.io", "PatchOptions", "", std::move(errors));
  }
  Json applied = patch;
  Written out;
  FW_TRY(decode_object(target, applied, options, out.warnings));
  if (!array_at(applied, "metadata.managedFields").empty()) return bad_request("metadata.managedFields must be nil");
  Object& root = applied.get_object();
  const std::string_view name = text_at(root, "metadata.name");
  if (!name.empty() && name != target.name)
    return bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, target.name));
  set_at(root, "metadata.name", boost::json::string(target.name));
  if (target.subresource == "status") erase_key(root, "spec");
  else if (kind.has("status")) erase_key(root, "status");
  const std::string api_version = kind.api_version();

  ObjectPtr before = store_.get(kind.collection(), kind.namespaced ? target.ns : "", target.name);
  if (before) { FW_ASSIGN(before, existing(target)); }
  const Object* live = before ? &before->value.get_object() : nullptr;
  FW_ASSIGN(Json merged, merge_applied(kind, live, root, options.manager, target.subresource, options.force));
  WriteOptions inner = options;
  inner.manager.clear();  // recorded already
  inner.validation = FieldValidation::kIgnore;
  inner.duplicates.clear();
  if (!before) {
    if (!target.subresource.empty()) return not_found(kind.group, kind.resource, target.name);
    FW_ASSIGN(Written created, create(target, std::move(merged), inner));
    created.warnings.insert(created.warnings.begin(), out.warnings.begin(), out.warnings.end());
    return created;
  }
  keep_time_if_same(merged.get_object(), *live);
  FW_TRY(decode_object(target, merged, inner, out.warnings));
  return commit_update(target, std::move(merged), before, inner, std::move(out.warnings));
}

}  // namespace fairway::apiserver
