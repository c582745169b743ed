#include "controllers/owners.h"

#include "controllers/json.h"
#include "controllers/selector.h"

namespace fairway::controllers {

const Json* controller_of(const Json& object) {
  for (const auto& reference : items(object, "metadata", "ownerReferences")) {
    if (truth(reference, "controller")) return &reference;
  }
  return nullptr;
}

bool is_controlled_by(const Json& object, std::string_view uid) {
  const Json* owner = controller_of(object);
  return owner && text(*owner, "uid") == uid;
}

Json controller_reference(const Json& owner, Events::About type) {
  return json::object{{"apiVersion", type.api_version}, {"kind", type.kind},  {"name", name_of(owner)},
                      {"uid", uid_of(owner)},           {"controller", true}, {"blockOwnerDeletion", true}};
}

namespace {

struct Claims {
  std::vector<Json> mine, adopt, release;
};

Claims sort_claims(const Store& store, const Json& owner) {
  Claims claims;
  const auto selector = LabelSelector::of(at(owner, "spec", "selector"));
  for (const Json* object : store.all_in(namespace_of(owner))) {
    const bool matches = selector.matches(fields(*object, "metadata", "labels"));
    if (const Json* controller = controller_of(*object)) {
      if (text(*controller, "uid") != uid_of(owner)) continue;
      if (matches) claims.mine.push_back(*object);
      else if (!is_terminating(*object) && !is_terminating(owner)) claims.release.push_back(*object);
    } else if (matches && !is_terminating(*object) && !is_terminating(owner)) {
      claims.adopt.push_back(*object);
    }
  }
  return claims;
}

// A strategic patch by uid: owner references are a map by uid, so others' references stay. The uid in metadata is a
// precondition: another object of that name is not touched.
Json reference_patch(const Json& object, Json reference) {
  return json::object{{"metadata", {{"uid", uid_of(object)}, {"ownerReferences", json::array{std::move(reference)}}}}};
}

}  // namespace

Task<Result<std::vector<Json>>> claim(Api& api, Store& store, Json owner, Events::About type) {
  Claims claims = sort_claims(store, owner);
  for (const Json& object : claims.release) {
    Json reference = json::object{{"$patch", "delete"}, {"uid", uid_of(owner)}};
    auto ref = store.ref_to(key_for(namespace_of(object), name_of(object)));
    auto released = co_await api.patch(std::move(ref), k8s::PatchType::kStrategic, reference_patch(object, std::move(reference)));
    if (!released.ok() && released.error().code != Code::kNotFound) co_return std::move(released).error();
    if (released.ok()) co_await store.caught_up_with(*released);
  }
  if (!claims.adopt.empty()) {
    // The copy may be old: an owner that is being deleted or was made anew must not take new objects.
    ResourceRef ref;
    ref.group = type.group();
    ref.resource = type.resource;
    ref.ns = namespace_of(owner);
    ref.name = name_of(owner);
    auto fresh = co_await api.get(std::move(ref));
    if (!fresh.ok()) co_return std::move(fresh).error();
    if (uid_of(*fresh) != uid_of(owner) || is_terminating(*fresh)) claims.adopt.clear();
  }
  for (const Json& object : claims.adopt) {
    auto ref = store.ref_to(key_for(namespace_of(object), name_of(object)));
    auto adopted =
        co_await api.patch(std::move(ref), k8s::PatchType::kStrategic, reference_patch(object, controller_reference(owner, type)));
    if (!adopted.ok() && adopted.error().code != Code::kNotFound) co_return std::move(adopted).error();
    if (!adopted.ok()) continue;
    co_await store.caught_up_with(*adopted);
    claims.mine.push_back(std::move(*adopted));
  }
  co_return std::move(claims.mine);
}

}  // namespace fairway::controllers
