// Deletion: preconditions, finalizers, grace periods, propagation; and the subresources that are written by POST.
#include <fmt/format.h>

#include <algorithm>

#include "apiserver/crd_schema.h"
#include "apiserver/engine.h"
#include "apiserver/formats.h"

namespace fairway::apiserver {
namespace {

constexpr const char* kForeground = "foregroundDeletion";
constexpr const char* kOrphan = "orphan";
constexpr std::int64_t kMaxGraceSeconds = 100LL * 365 * 86400;  // so that the deletion's time is a date that can be written

void set_finalizer(Object& object, const char* name, bool present) {
  Array finalizers = array_at(object, "metadata.finalizers");
  auto at = std::find(finalizers.begin(), finalizers.end(), Json(name));
  if (present && at == finalizers.end()) finalizers.emplace_back(name);
  if (!present && at != finalizers.end()) finalizers.erase(at);
  if (finalizers.empty()) erase_at(object, "metadata.finalizers");
  else set_at(object, "metadata.finalizers", std::move(finalizers));
}

// How long this object may take to end: only pods that run on a node take time.
std::int64_t grace_of(const Kind& kind, const Json& object, const DeleteRequest& request) {
  if (kind.collection() != "/pods" || text_at(object, "spec.nodeName").empty()) return 0;
  const std::string_view phase = text_at(object, "status.phase");
  if (phase == "Succeeded" || phase == "Failed") return 0;
  const std::int64_t grace = request.grace_period_seconds.value_or(int_at(object, "spec.terminationGracePeriodSeconds", 30));
  return std::clamp<std::int64_t>(grace, 0, kMaxGraceSeconds);
}

Json success(const Kind& kind, const StoredObject& object) {
  Object details{{"name", object.name}, {"kind", kind.resource}, {"uid", text_at(object.value, "metadata.uid")}};
  if (!kind.group.empty()) details["group"] = kind.group;
  return Object{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Object()}, {"status", "Success"}, {"details", std::move(details)}};
}

std::string check_preconditions(const DeleteRequest& request, const StoredObject& object) {
  const std::string_view uid = text_at(object.value, "metadata.uid");
  if (!request.precondition_uid.empty() && request.precondition_uid != uid) {
    return fmt::format("Precondition failed: UID in precondition: {}, UID in object meta: {}", request.precondition_uid, uid);
  }
  if (!request.precondition_version.empty() && request.precondition_version != std::to_string(object.revision)) {
    return fmt::format("Precondition failed: ResourceVersion in precondition: {}, ResourceVersion in object meta: {}",
                       request.precondition_version, object.revision);
  }
  return {};
}

}  // namespace

ApiResult<ObjectPtr> Engine::erase(const Kind& kind, const StoredObject& object) {
  auto removed = store_.remove(kind.collection(), object.ns, object.name);
  if (!removed.ok()) return internal_error(removed.error().message);
  if (kind.kind == "CustomResourceDefinition") {
    // Its objects go with it; upstream's finalizer controller does the same before the definition goes.
    const std::string collection = fmt::format("{}/{}", text_at(object.value, "spec.group"), text_at(object.value, "spec.names.plural"));
    std::vector<Store::Key> keys;
    for (const auto& [key, one] : store_.objects(collection)) keys.push_back(key);
    for (const Store::Key& key : keys) {
      if (auto gone = store_.remove(collection, key.first, key.second); !gone.ok()) return internal_error(gone.error().message);
    }
    kinds_.set_custom(object.name, {});
  }
  return *removed;
}

ApiResult<Deleted> Engine::remove(const Target& target, const DeleteRequest& request) {
  const Kind& kind = *target.kind;
  FW_ASSIGN(const ObjectPtr object, existing(target));
  if (std::string problem = check_preconditions(request, *object); !problem.empty())
    return conflict(kind.group, kind.resource, target.name, problem);
  if (kind.collection() == "/namespaces" && (target.name == "default" || target.name == "kube-system" || target.name == "kube-public")) {
    return forbidden("", "namespaces", target.name, "this namespace may not be deleted");
  }
  const std::string& policy = request.propagation_policy;
  if (!policy.empty() && policy != "Background" && policy != "Foreground" && policy != "Orphan") {
    FieldErrors errors;
    errors.not_supported("propagationPolicy", Json(boost::json::string(policy)), {"Background", "Foreground", "Orphan"});
    return invalid("meta.k8s.io", "DeleteOptions", "", std::move(errors));
  }
  return delete_gracefully(target, object, request, grace_of(kind, object->value, request));
}

ApiResult<Deleted> Engine::delete_gracefully(const Target& target, const ObjectPtr& object, const DeleteRequest& request,
                                             std::int64_t grace_seconds) {
  const Kind& kind = *target.kind;
  Json changed = object->value;
  Object& root = changed.get_object();
  const bool pending = find(root, "metadata.deletionTimestamp") != nullptr;
  if (!request.propagation_policy.empty()) {
    set_finalizer(root, kForeground, request.propagation_policy == "Foreground");
    set_finalizer(root, kOrphan, request.propagation_policy == "Orphan");
  }
  const bool is_namespace = kind.collection() == "/namespaces";
  const bool held = !array_at(root, "metadata.finalizers").empty() || (is_namespace && !array_at(root, "spec.finalizers").empty());
  Deleted out;
  if (!held && grace_seconds == 0) {
    out.removed = true;
    out.answer = success(kind, *object);
    if (kind.collection() == "/pods") out.answer = changed;
    if (request.dry_run) return out;
    FW_ASSIGN(const ObjectPtr last, erase(kind, *object));
    if (kind.collection() == "/pods") out.answer = last->value;
    return out;
  }
  // A second deletion may only shorten the time that is left.
  const std::int64_t old_grace = int_at(root, "metadata.deletionGracePeriodSeconds", grace_seconds);
  if (!pending || grace_seconds < old_grace) {
    set_at(root, "metadata.deletionTimestamp", boost::json::string(format_time(now_seconds() + grace_seconds)));
    set_at(root, "metadata.deletionGracePeriodSeconds", grace_seconds);
    if (kind.counts_generations) set_at(root, "metadata.generation", int_at(root, "metadata.generation") + 1);
  }
  if (is_namespace) set_at(root, "status.phase", "Terminating");
  out.answer = changed;
  if (request.dry_run || changed == object->value) return out;
  FW_ASSIGN(const ObjectPtr stored, save(kind, std::move(changed)));
  out.answer = stored->value;
  return out;
}

void Engine::expire_events(std::int64_t ttl_seconds) {
  const std::int64_t limit = now_seconds() - ttl_seconds;
  std::vector<Store::Key> old;
  for (const auto& [key, object] : store_.objects("/events")) {
    std::string_view seen = text_at(object->value, "lastTimestamp");
    if (seen.empty()) seen = text_at(object->value, "metadata.creationTimestamp");
    if (parse_time(seen).value_or(0) < limit) old.push_back(key);
  }
  for (const Store::Key& key : old) {
    if (!store_.remove("/events", key.first, key.second).ok()) return;  // tried again by the next sweep
  }
}

// The scheduler's word: this pod runs on that node.
ApiResult<Written> Engine::bind(const Target& target, const Json& object, const WriteOptions& options) {
  FW_ASSIGN(const ObjectPtr before, existing(target));
  const std::string_view node = text_at(object, "target.name");
  if (node.empty()) {
    FieldErrors errors;
    errors.required("target.name");
    return invalid("", "Binding", target.name, std::move(errors));
  }
  if (find(before->value, "metadata.deletionTimestamp") != nullptr)
    return conflict("", "pods/binding", target.name, fmt::format("pod {} is being deleted, cannot be assigned to a host", target.name));
  if (const std::string_view bound = text_at(before->value, "spec.nodeName"); !bound.empty()) {
    return conflict("", "pods/binding", target.name, fmt::format("pod {} is already assigned to node \"{}\"", target.name, bound));
  }
  Json pod = before->value;
  set_at(pod.get_object(), "spec.nodeName", boost::json::string(node));
  Array conditions;
  for (const Json& one : array_at(pod, "status.conditions")) {
    if (text_at(one, "type") != "PodScheduled") conditions.push_back(one);
  }
  conditions.emplace_back(Object{{"type", "PodScheduled"}, {"status", "True"}, {"lastTransitionTime", now_text()}});
  set_at(pod.get_object(), "status.conditions", std::move(conditions));
  Written out;
  out.created = true;
  out.object = Object{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Object()}, {"status", "Success"}, {"code", 201}};
  if (!options.dry_run) FW_TRY(save(*target.kind, std::move(pod)));
  return out;
}

ApiResult<Written> Engine::create_subresource(const Target& target, const Json& object, const WriteOptions& options) {
  if (target.subresource == "binding") return bind(target, object, options);
  if (target.subresource == "eviction") {
    DeleteRequest request;
    request.dry_run = options.dry_run;
    if (const Json* grace = find(object, "deleteOptions.gracePeriodSeconds"); grace != nullptr && grace->is_int64())
      request.grace_period_seconds = grace->get_int64();
    request.precondition_uid = text_at(object, "deleteOptions.preconditions.uid");
    FW_TRY(remove({target.kind, target.ns, target.name, ""}, request));
    Written out;
    out.created = true;
    out.object = Object{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Object()}, {"status", "Success"}, {"code", 201}};
    return out;
  }
  return method_not_allowed();
}

// A lab has no roles: who is let in may do everything.
ApiResult<Written> Engine::review(const Target& target, Json object, const std::string& user) const {
  Object& root = object.get_object();
  if (target.kind->kind == "SelfSubjectAccessReview") {
    if (find(root, "spec.resourceAttributes") == nullptr && find(root, "spec.nonResourceAttributes") == nullptr) {
      FieldErrors errors;
      errors.invalid("spec.resourceAttributes", nullptr, "exactly one of nonResourceAttributes or resourceAttributes must be specified");
      return invalid(target.kind->group, target.kind->kind, "", std::move(errors));
    }
    root["status"] = Object{{"allowed", true}, {"reason", "a lab allows everything to whom it knows"}};
  } else if (target.kind->kind == "SelfSubjectReview") {
    root["status"] = Object{{"userInfo", Object{{"username", user}, {"groups", Array{"system:authenticated"}}}}};
  } else {
    const Object everything{{"verbs", Array{"*"}}, {"apiGroups", Array{"*"}}, {"resources", Array{"*"}}};
    const Object urls{{"verbs", Array{"*"}}, {"nonResourceURLs", Array{"*"}}};
    root["status"] = Object{{"resourceRules", Array{everything}}, {"nonResourceRules", Array{urls}}, {"incomplete", false}};
  }
  Written out;
  out.created = true;
  out.object = std::move(object);
  return out;
}

}  // namespace fairway::apiserver
