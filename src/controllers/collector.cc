#include "controllers/collector.h"

#include <algorithm>

#include "controllers/json.h"

namespace fairway::controllers {
namespace {

constexpr std::string_view kForeground = "foregroundDeletion";
constexpr std::string_view kOrphan = "orphan";

bool has_finalizer(const Json& object, std::string_view name) {
  const auto& finalizers = items(object, "metadata", "finalizers");
  return std::any_of(finalizers.begin(), finalizers.end(), [name](const Json& f) { return as_text(&f) == name; });
}

std::string make_key(const std::string& id, const std::string& key) { return id + "|" + key; }

}  // namespace

GarbageCollector::GarbageCollector(Context& context) : Controller(context, "garbage-collector", 8) {
  std::map<std::string, Store*> shared;
  for (Store* store : stores_.all()) shared[store->ref().resource + "." + store->ref().group] = store;
  for (const Kind& kind : context_.kinds.all()) {
    if (kind.resource == "events") continue;
    Watched& watched = watched_[kind.id()];
    watched.kind = kind;
    if (auto found = shared.find(kind.id()); found != shared.end()) watched.store = found->second;
    else watch_kind(kind);
    if (!watched.own) {
      watched.store->subscribe(
          [this, id = kind.id()](const Store::Key& key, const Json* before, const Json* after) { changed(id, key, before, after); });
    }
  }
  stores_.definitions.subscribe([this](const Store::Key& name, const Json*, const Json* after) {
    context_.kinds.learn(name, after);
    if (started()) follow_definitions();
  });
}

void GarbageCollector::on_start() {
  for (auto& [id, watched] : watched_) {
    if (watched.own) watched.own->open();
  }
  follow_definitions();
}

void GarbageCollector::watch_kind(const Kind& kind) {
  Watched& watched = watched_[kind.id()];
  watched.kind = kind;
  watched.own = std::make_unique<Store>(api_, kind.ref());
  watched.store = watched.own.get();
  watched.store->subscribe(
      [this, id = kind.id()](const Store::Key& key, const Json* before, const Json* after) { changed(id, key, before, after); });
}

// Custom kinds come and go. Not from within the informer's callback: that may be of the store that goes.
void GarbageCollector::follow_definitions() {
  const auto kinds = context_.kinds.all();
  for (const Kind& kind : kinds) {
    auto found = watched_.find(kind.id());
    if (kind.resource == "events" || (found != watched_.end() && found->second.kind.version == kind.version)) continue;
    watch_kind(kind);
    watched_[kind.id()].own->open();
  }
  std::erase_if(watched_, [&kinds](const auto& entry) {
    return entry.second.own && std::none_of(kinds.begin(), kinds.end(), [&](const Kind& k) { return k.id() == entry.first; });
  });
}

void GarbageCollector::changed(const std::string& id, const Store::Key& key, const Json* before, const Json* after) {
  const Key mine = make_key(id, key);
  if (before) {
    for (const auto& reference : items(*before, "metadata", "ownerReferences")) {
      auto found = dependents_.find(std::string(text(reference, "uid")));
      if (found == dependents_.end()) continue;
      found->second.erase(mine);
      // An owner that waits for its dependents looks again.
      if (auto owner = by_uid_.find(found->first); owner != by_uid_.end()) enqueue(owner->second);
      if (found->second.empty()) dependents_.erase(found);
    }
    if (!after || uid_of(*before) != uid_of(*after)) {
      by_uid_.erase(std::string(uid_of(*before)));
      if (auto found = dependents_.find(std::string(uid_of(*before))); found != dependents_.end()) {
        for (const Key& dependent : found->second) enqueue(dependent);
      }
    }
  }
  if (!after) return;
  by_uid_[std::string(uid_of(*after))] = mine;
  const auto& references = items(*after, "metadata", "ownerReferences");
  for (const auto& reference : references) dependents_[std::string(text(reference, "uid"))].insert(mine);
  const bool new_references = !before || items(*before, "metadata", "ownerReferences") != references;
  if (!references.empty() && new_references) enqueue(mine);
  if (is_terminating(*after) && (has_finalizer(*after, kForeground) || has_finalizer(*after, kOrphan))) {
    enqueue(mine);
    if (auto found = dependents_.find(std::string(uid_of(*after))); found != dependents_.end()) {
      for (const Key& dependent : found->second) enqueue(dependent);
    }
  }
}

Task<Status> GarbageCollector::reconcile(Key key) {
  const auto bar = key.find('|');
  std::string id = key.substr(0, bar), object_key = key.substr(bar + 1);
  const auto watched = watched_.find(id);
  if (watched == watched_.end()) co_return Status{};
  const Json* found = watched->second.store->find(object_key);
  if (!found) co_return Status{};
  Json object = *found;
  if (is_terminating(object)) {
    if (has_finalizer(object, kForeground)) co_return co_await finish_foreground(std::move(id), std::move(object_key), std::move(object));
    if (has_finalizer(object, kOrphan)) co_return co_await finish_orphan(std::move(id), std::move(object_key), std::move(object));
    co_return Status{};
  }
  co_return co_await judge(std::move(id), std::move(object_key), std::move(object));
}

Task<Status> GarbageCollector::judge(std::string id, Store::Key key, Json object) {
  if (items(object, "metadata", "ownerReferences").empty()) co_return Status{};
  auto owners = co_await sort_owners(object);
  if (!owners.ok()) co_return std::move(owners).error();
  if (!owners->solid.empty()) {
    std::vector<Json> gone = std::move(owners->dangling);
    for (auto& reference : owners->waiting) gone.push_back(std::move(reference));
    if (gone.empty()) co_return Status{};
    co_return co_await drop_references(std::move(id), std::move(key), std::move(object), std::move(gone));
  }
  const auto watched = watched_.find(id);
  if (watched == watched_.end()) co_return Status{};
  k8s::DeleteOptions options;
  options.precondition_uid = uid_of(object);
  const bool has_dependents = dependents_.contains(std::string(uid_of(object)));
  options.propagation_policy = !owners->waiting.empty() && has_dependents ? "Foreground" : "Background";
  co_return co_await api_.ensure_removed(watched->second.store->ref_to(key), std::move(options));
}

Task<Result<GarbageCollector::Owners>> GarbageCollector::sort_owners(Json object) {
  Owners owners;
  for (const Json& reference : items(object, "metadata", "ownerReferences")) {
    auto owner = co_await look_up(reference, std::string(namespace_of(object)));
    if (!owner.ok()) co_return std::move(owner).error();
    if (!*owner) owners.dangling.push_back(reference);
    else if (is_terminating(**owner) && has_finalizer(**owner, kForeground)) owners.waiting.push_back(reference);
    else owners.solid.push_back(reference);
  }
  co_return owners;
}

Task<Result<std::optional<Json>>> GarbageCollector::look_up(Json reference, std::string ns) {
  const auto uid = text(reference, "uid");
  if (auto known = by_uid_.find(std::string(uid)); known != by_uid_.end()) {
    const auto bar = known->second.find('|');
    if (auto watched = watched_.find(known->second.substr(0, bar)); watched != watched_.end()) {
      const Json* owner = watched->second.store->find(known->second.substr(bar + 1));
      if (owner && uid_of(*owner) == uid) co_return std::optional<Json>(*owner);
    }
  }
  const auto kind = context_.kinds.find(text(reference, "apiVersion"), text(reference, "kind"));
  // A kind that nobody serves (yet): its object may well be there. Kubernetes waits too.
  if (!kind) {
    co_return make_error(Code::kUnavailable, std::string("owner of unknown kind ") + std::string(text(reference, "apiVersion")) + " " +
                                                 std::string(text(reference, "kind")));
  }
  ResourceRef ref = kind->ref();
  if (kind->namespaced) ref.ns = ns;
  ref.name = text(reference, "name");
  if (kind->namespaced && ns.empty()) co_return std::optional<Json>();  // a cluster-scoped object cannot have such an owner
  auto live = co_await api_.get(std::move(ref));
  if (!live.ok()) {
    if (live.error().code == Code::kNotFound) co_return std::optional<Json>();
    co_return std::move(live).error();
  }
  if (uid_of(*live) != uid) co_return std::optional<Json>();
  co_return std::optional<Json>(std::move(*live));
}

Task<Status> GarbageCollector::drop_references(std::string id, Store::Key key, Json object, std::vector<Json> references) {
  json::array kept;
  for (const auto& reference : items(object, "metadata", "ownerReferences")) {
    if (std::find(references.begin(), references.end(), reference) == references.end()) kept.push_back(reference);
  }
  // A merge patch with the version: custom resources know no strategic one, and a list written meanwhile stays.
  Json patch = json::object{
      {"metadata",
       {{"uid", uid_of(object)}, {"resourceVersion", text(object, "metadata", "resourceVersion")}, {"ownerReferences", std::move(kept)}}}};
  const auto watched = watched_.find(id);
  if (watched == watched_.end()) co_return Status{};
  auto written = co_await api_.patch(watched->second.store->ref_to(key), k8s::PatchType::kMerge, std::move(patch));
  if (!written.ok() && written.error().code != Code::kNotFound) co_return std::move(written).error();
  co_return Status{};
}

bool GarbageCollector::has_blocking_dependents(const Json& owner) const {
  const std::string uid(uid_of(owner));
  const auto found = dependents_.find(uid);
  if (found == dependents_.end()) return false;
  return std::any_of(found->second.begin(), found->second.end(), [&](const Key& key) {
    const auto bar = key.find('|');
    const auto watched = watched_.find(key.substr(0, bar));
    const Json* dependent = watched == watched_.end() ? nullptr : watched->second.store->find(key.substr(bar + 1));
    if (!dependent) return false;
    const auto& references = items(*dependent, "metadata", "ownerReferences");
    return std::any_of(references.begin(), references.end(),
                       [&](const Json& r) { return text(r, "uid") == uid && truth(r, "blockOwnerDeletion"); });
  });
}

Task<Status> GarbageCollector::finish_foreground(std::string id, Store::Key key, Json object) {
  if (auto found = dependents_.find(std::string(uid_of(object))); found != dependents_.end()) {
    for (const Key& dependent : found->second) enqueue(dependent);
  }
  if (has_blocking_dependents(object)) co_return Status{};  // the last one's end brings the key back
  co_return co_await drop_finalizer(std::move(id), std::move(key), std::move(object), kForeground);
}

Task<Status> GarbageCollector::finish_orphan(std::string id, Store::Key key, Json object) {
  const std::string uid(uid_of(object));
  std::vector<Key> orphans;
  if (auto found = dependents_.find(uid); found != dependents_.end()) orphans.assign(found->second.begin(), found->second.end());
  for (const Key& orphan : orphans) {
    const auto bar = orphan.find('|');
    const auto watched = watched_.find(orphan.substr(0, bar));
    const Json* dependent = watched == watched_.end() ? nullptr : watched->second.store->find(orphan.substr(bar + 1));
    if (!dependent) continue;
    std::vector<Json> references;
    for (const auto& reference : items(*dependent, "metadata", "ownerReferences")) {
      if (text(reference, "uid") == uid) references.push_back(reference);
    }
    FW_CO_TRY(co_await drop_references(orphan.substr(0, bar), orphan.substr(bar + 1), *dependent, std::move(references)));
  }
  co_return co_await drop_finalizer(std::move(id), std::move(key), std::move(object), kOrphan);
}

Task<Status> GarbageCollector::drop_finalizer(std::string id, Store::Key key, Json object, std::string_view finalizer) {
  json::array kept;
  for (const auto& f : items(object, "metadata", "finalizers")) {
    if (as_text(&f) != finalizer) kept.push_back(f);
  }
  Json patch = json::object{
      {"metadata",
       {{"uid", uid_of(object)}, {"resourceVersion", text(object, "metadata", "resourceVersion")}, {"finalizers", std::move(kept)}}}};
  const auto watched = watched_.find(id);
  if (watched == watched_.end()) co_return Status{};
  auto written = co_await api_.patch(watched->second.store->ref_to(key), k8s::PatchType::kMerge, std::move(patch));
  if (!written.ok() && written.error().code != Code::kNotFound) co_return std::move(written).error();
  co_return Status{};
}

}  // namespace fairway::controllers
