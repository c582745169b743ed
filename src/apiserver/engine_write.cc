// Create and update. Patches are in engine_patch.cc, deletion in engine_delete.cc.
#include <fmt/format.h>

#include <algorithm>

#include "apiserver/crd_schema.h"
#include "apiserver/engine.h"
#include "apiserver/formats.h"
#include "apiserver/managed_fields.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver {
namespace {

std::string join(const std::vector<std::string>& parts) {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ", ") + part;
  return text;
}

ApiError unfit(const Kind& kind, std::string_view why) {
  return bad_request(fmt::format("{} in version \"{}\" cannot be handled as a {}: {}", kind.kind, kind.version, kind.kind, why));
}

// What only the server sets.
void set_system_fields(const Kind& kind, Object& object) {
  Object& metadata = ensure_object(object, "metadata");
  for (const char* key : {"deletionTimestamp", "deletionGracePeriodSeconds", "selfLink"}) erase_key(metadata, key);
  metadata["uid"] = boost::json::string(make_uid());
  metadata["creationTimestamp"] = boost::json::string(now_text());
  if (kind.counts_generations) metadata["generation"] = 1;
  else erase_key(metadata, "generation");
  if (kind.has("status") && !kind.keeps_status_on_create) erase_key(object, "status");
}

// The fields of metadata that an update cannot change.
void keep_system_fields(Object& object, const Object& before) {
  Object& metadata = ensure_object(object, "metadata");
  const Object& old = before.at("metadata").get_object();
  for (const char* key :
       {"name", "namespace", "uid", "creationTimestamp", "generation", "deletionTimestamp", "deletionGracePeriodSeconds", "generateName"}) {
    if (const Json* value = old.if_contains(key)) metadata[key] = *value;
    else erase_key(metadata, key);
  }
}

void copy_field(Object& into, const Object& from, std::string_view field) {
  if (const Json* value = from.if_contains(field)) into[field] = *value;
  else erase_key(into, field);
}

// Which part of the object a request to this subresource may change; the rest stays as it is.
void keep_other_parts(const Target& target, Object& object, const Object& before) {
  if (target.subresource.empty()) {
    if (target.kind->has("status")) copy_field(object, before, "status");
    return;
  }
  Object merged = before;
  if (target.subresource == "status") copy_field(merged, object, "status");
  if (target.subresource == "finalize") copy_field(merged, object, "spec");
  if (target.subresource == "ephemeralcontainers") {
    if (const Json* containers = find(object, "spec.ephemeralContainers")) set_at(merged, "spec.ephemeralContainers", *containers);
  }
  // Controllers write annotations and finalizers with a status; upstream takes metadata but for its system fields.
  copy_field(merged, object, "metadata");
  object = std::move(merged);
}

// Everything but metadata and status: what a new generation is counted for.
bool same_spec(const Object& object, const Object& before) {
  auto differs = [](const Object& one, const Object& other) {
    return std::any_of(one.begin(), one.end(), [&](const auto& entry) {
      if (entry.key() == "metadata" || entry.key() == "status" || entry.key() == "apiVersion") return false;
      const Json* match = other.if_contains(entry.key());
      return match == nullptr || *match != entry.value();
    });
  };
  return !differs(object, before) && !differs(before, object);
}

}  // namespace

ApiResult<Done> Engine::decode_object(const Target& target, Json& object, const WriteOptions& options,
                                      std::vector<std::string>& warnings) const {
  const Kind& kind = *target.kind;
  if (!kind.not_run.empty()) return not_run(kind.group, kind.resource, text_at(object, "metadata.name"), kind.not_run);
  if (!object.is_object())
    return unfit(kind, fmt::format("json: cannot unmarshal {} into Go value of type v1.{}",
                                   object.is_array()    ? "array"
                                   : object.is_string() ? "string"
                                                        : "number",
                                   kind.kind));
  Object& root = object.get_object();
  if (!root.contains("kind") || !root.contains("apiVersion")) {  // first, as people expect to read them
    Object named{{"kind", nullptr}, {"apiVersion", nullptr}};
    for (auto& entry : root) named[entry.key()] = std::move(entry.value());
    root = std::move(named);
  }
  for (const auto& [field, expected] : {std::pair<const char*, std::string>{"kind", kind.kind}, {"apiVersion", kind.api_version()}}) {
    Json& value = root[field];
    if (value.is_null() || (value.is_string() && value.get_string().empty())) value = boost::json::string(expected);
    else if (!value.is_string() || view(value.get_string()) != expected) {
      return bad_request(fmt::format("the object provided is unrecognized (must be of type {}): {} is {}, expected \"{}\"", kind.kind,
                                     field, scalar_text(value), expected));
    }
  }
  if (const Json* metadata = root.if_contains("metadata"); metadata != nullptr && !metadata->is_object() && !metadata->is_null())
    return unfit(kind, "json: cannot unmarshal metadata into Go struct field ObjectMeta");
  Decoding decoding;
  if (kind.custom) prune_custom(*kind.custom, root, decoding);
  else decode(*kind.message, root, decoding);
  if (decoding.type_error) return unfit(kind, *decoding.type_error);
  std::vector<std::string> strict = std::move(decoding.strict);
  strict.insert(strict.end(), options.duplicates.begin(), options.duplicates.end());
  if (strict.empty() || options.validation == FieldValidation::kIgnore) return Done{};
  if (options.validation == FieldValidation::kStrict) return unfit(kind, "strict decoding error: " + join(strict));
  warnings.insert(warnings.end(), strict.begin(), strict.end());
  return Done{};
}

ApiResult<Done> Engine::check_namespace(const Target& target, std::string_view name) const {
  if (!target.kind->namespaced) return Done{};
  ObjectPtr ns = store_.get("/namespaces", "", target.ns);
  if (!ns) return not_found("", "namespaces", target.ns);
  if (find(ns->value, "metadata.deletionTimestamp") == nullptr) return Done{};
  ApiError error = forbidden(target.kind->group, target.kind->resource, name,
                             fmt::format("unable to create new content in namespace {} because it is being terminated", target.ns));
  error.causes.push_back({"NamespaceTerminating", fmt::format("namespace {} is being terminated", target.ns), "metadata.namespace"});
  return error;
}

// Every namespace gets its "default" a moment after it is made; a pod need not wait for that one.
ApiResult<Done> Engine::check_service_account(const Target& target, const Object& pod) const {
  const std::string account(text_at(pod, "spec.serviceAccountName"));
  if (account.empty() || account == "default" || store_.get("/serviceaccounts", target.ns, account)) return Done{};
  return forbidden("", "pods", text_at(pod, "metadata.name"),
                   fmt::format("error looking up service account {}/{}: serviceaccount \"{}\" not found", target.ns, account, account));
}

ApiResult<Done> Engine::name_object(const Target& target, Object& object) const {
  const Kind& kind = *target.kind;
  Object& metadata = ensure_object(object, "metadata");
  if (!text_at(metadata, "resourceVersion").empty()) return bad_request("resourceVersion should not be set on objects to be created");
  erase_key(metadata, "resourceVersion");
  if (kind.namespaced) {
    const std::string_view ns = text_at(metadata, "namespace");
    if (!ns.empty() && ns != target.ns)
      return bad_request("the namespace of the provided object does not match the namespace sent on the request");
    metadata["namespace"] = boost::json::string(target.ns);
  } else {
    erase_key(metadata, "namespace");
  }
  if (text_at(metadata, "name").empty()) {
    const std::string base(text_at(metadata, "generateName"));
    if (base.empty()) {
      FieldErrors errors;
      errors.required("metadata.name", "name or generateName is required");
      return invalid(kind.group, kind.kind, "", std::move(errors));
    }
    std::string name;
    do name = base.substr(0, 58) + random_suffix();
    while (store_.get(kind.collection(), target.ns, name));
    metadata["name"] = boost::json::string(name);
  }
  return Done{};
}

ApiResult<Done> Engine::default_and_validate(const Target& target, Object& object, const Object* before) const {
  const Kind& kind = *target.kind;
  if (kind.message != nullptr) apply_defaults(*kind.message, object);
  if (kind.defaults != nullptr) kind.defaults(object);
  FieldErrors errors;
  validate_metadata(kind, object, before, errors);
  if (kind.custom) validate_custom(*kind.custom, object, errors);
  else validate(*kind.message, object, "", errors);
  // Hooks rely on it that what is required is there.
  const bool complete =
      std::none_of(errors.causes().begin(), errors.causes().end(), [](const Cause& cause) { return cause.reason == "FieldValueRequired"; });
  if (kind.validate != nullptr && complete) kind.validate(object, before, errors);
  if (!errors.empty()) return invalid(kind.group, kind.kind, text_at(object, "metadata.name"), std::move(errors));
  return Done{};
}

ApiResult<ObjectPtr> Engine::save(const Kind& kind, Json object) {
  auto stored = store_.put(kind.collection(), std::move(object));
  if (!stored.ok())
    return stored.error().code == Code::kExhausted ? too_large(stored.error().message) : internal_error(stored.error().message);
  ObjectPtr result = *stored;
  if (kind.kind == "CustomResourceDefinition") kinds_.set_custom(result->name, kinds_of_definition(result->value));
  return result;
}

ApiResult<Written> Engine::create(const Target& target, Json object, const WriteOptions& options) {
  const Kind& kind = *target.kind;
  if (!target.subresource.empty()) return create_subresource(target, object, options);
  Written out;
  FW_TRY(decode_object(target, object, options, out.warnings));
  if (kind.review) return review(target, std::move(object), options.user);
  Object& root = object.get_object();
  FW_TRY(name_object(target, root));
  FW_TRY(check_namespace(target, text_at(root, "metadata.name")));
  set_system_fields(kind, root);
  if (kind.prepare_create != nullptr) kind.prepare_create(root);
  FW_TRY(default_and_validate(target, root, nullptr));
  if (kind.collection() == "/pods") FW_TRY(check_service_account(target, root));
  // What the server allocates belongs to nobody: fields are recorded before.
  if (!options.manager.empty()) record_update(kind, root, nullptr, options.manager, "");
  if (kind.collection() == "/services") FW_TRY(allocator_.allocate(root, nullptr));
  const std::string name(text_at(root, "metadata.name"));
  if (store_.get(kind.collection(), target.ns, name)) return already_exists(kind.group, kind.resource, name);
  out.created = true;
  if (options.dry_run) {
    out.object = std::move(object);
    return out;
  }
  FW_ASSIGN(out.stored, save(kind, std::move(object)));
  out.object = out.stored->value;
  return out;
}

ApiResult<ObjectPtr> Engine::existing(const Target& target) const {
  const Kind& kind = *target.kind;
  ObjectPtr object = store_.get(kind.collection(), kind.namespaced ? target.ns : "", target.name);
  if (!object) return not_found(kind.group, kind.resource, target.name);
  if (kind.custom && text_at(object->value, "apiVersion") != kind.api_version()) {
    // Another version of a custom resource; conversion strategy None changes apiVersion alone.
    auto copy = std::make_shared<StoredObject>(*object);
    copy->value.get_object()["apiVersion"] = boost::json::string(kind.api_version());
    copy->text = to_text(copy->value);
    return ObjectPtr(copy);
  }
  return object;
}

ApiResult<Written> Engine::update(const Target& target, Json object, const WriteOptions& options) {
  if (target.subresource == "scale") return update_scale(target, object, options);
  FW_ASSIGN(const ObjectPtr before, existing(target));
  Written out;
  FW_TRY(decode_object(target, object, options, out.warnings));
  const std::string name(text_at(object, "metadata.name"));
  if (name.empty()) set_at(object.get_object(), "metadata.name", boost::json::string(target.name));
  else if (name != target.name)
    return bad_request(fmt::format("the name of the object ({}) does not match the name on the URL ({})", name, target.name));
  const std::string_view ns = text_at(object, "metadata.namespace");
  if (target.kind->namespaced && !ns.empty() && ns != target.ns)
    return bad_request("the namespace of the provided object does not match the namespace sent on the request");
  return commit_update(target, std::move(object), before, options, std::move(out.warnings));
}

// `object` is decoded; `before` is what is stored. Ends with a new revision only where something changed.
ApiResult<Written> Engine::commit_update(const Target& target, Json object, const ObjectPtr& before, const WriteOptions& options,
                                         std::vector<std::string> warnings) {
  const Kind& kind = *target.kind;
  Object& root = object.get_object();
  const Object& old = before->value.get_object();
  const std::string_view revision = text_at(root, "metadata.resourceVersion");
  if (!revision.empty() && revision != "0" && revision != std::to_string(before->revision))
    return conflict(kind.group, kind.resource, target.name, kStaleObject);
  const std::string_view uid = text_at(root, "metadata.uid"), old_uid = text_at(old, "metadata.uid");
  if (!uid.empty() && uid != old_uid)
    return conflict(kind.group, kind.resource, target.name,
                    fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", uid, old_uid));
  keep_other_parts(target, root, old);
  keep_system_fields(root, old);
  if (kind.prepare_update != nullptr && target.subresource.empty()) kind.prepare_update(root, old);
  FW_TRY(default_and_validate(target, root, &old));
  if (kind.collection() == "/services" && target.subresource.empty()) FW_TRY(allocator_.allocate(root, &old));
  if (kind.counts_generations && !same_spec(root, old)) set_at(root, "metadata.generation", int_at(old, "metadata.generation") + 1);
  if (!options.manager.empty())
    record_update(kind, root, &old, options.manager,
                  options.recorded_subresource.empty() ? target.subresource : options.recorded_subresource);
  set_at(root, "metadata.resourceVersion", boost::json::string(std::to_string(before->revision)));

  Written out;
  out.warnings = std::move(warnings);
  if (object == before->value) {
    out.stored = before;
    out.object = std::move(object);
    return out;
  }
  if (options.dry_run) {
    out.object = std::move(object);
    return out;
  }
  FW_ASSIGN(out.stored, save(kind, std::move(object)));
  // Removing the last finalizer of a deleted object removes the object.
  if (ready_to_go(kind, out.stored->value)) { FW_ASSIGN(out.stored, erase(kind, *out.stored)); }
  out.object = out.stored->value;
  return out;
}

}  // namespace fairway::apiserver
