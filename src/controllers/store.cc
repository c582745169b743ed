#include "controllers/store.h"

#include <algorithm>

#include "controllers/json.h"

namespace fairway::controllers {
namespace {
constexpr std::chrono::seconds kWaitLimit{3};
constexpr std::string_view kByNamespace = "namespace";
}  // namespace

Store::Store(Api& api, ResourceRef ref, k8s::ListOptions options) : api_(api), ref_(std::move(ref)), options_(std::move(options)) {
  add_index(std::string(kByNamespace), [](const Json& o) { return std::vector<std::string>{std::string(namespace_of(o))}; });
}

void Store::add_index(std::string name, IndexBy by) { indexes_[std::move(name)].by = std::move(by); }

void Store::open() {
  k8s::Informer::Callbacks callbacks;
  callbacks.on_change = [this](const Key& key, const Json* before, const Json* after) { changed(key, before, after); };
  callbacks.on_synced = [this] {
    if (on_synced_) on_synced_();
  };
  informer_ = std::make_unique<k8s::Informer>(api_.loop(), api_.client(), ref_, options_, std::move(callbacks));
}

void Store::index(Index& index, const Key& key, const Json* before, const Json* after) {
  if (before) {
    for (const auto& value : index.by(*before)) {
      auto found = index.keys.find(value);
      if (found == index.keys.end()) continue;
      found->second.erase(key);
      if (found->second.empty()) index.keys.erase(found);
    }
  }
  if (after) {
    for (auto& value : index.by(*after)) index.keys[std::move(value)].insert(key);
  }
}

void Store::changed(const Key& key, const Json* before, const Json* after) {
  for (auto& [name, entry] : indexes_) index(entry, key, before, after);
  if (after) seen_version_ = std::max(seen_version_, version_of(*after));
  for (const auto& listener : listeners_) listener(key, before, after);
  if (waiters_.empty()) return;
  api_.loop().post([this, alive = std::weak_ptr<int>(alive_)] {
    if (!alive.expired()) wake();
  });
}

void Store::wake() {
  for (auto it = waiters_.begin(); it != waiters_.end();) {
    if (it->promise.expired()) {
      it = waiters_.erase(it);
    } else if (it->condition()) {
      auto promise = it->promise;
      it = waiters_.erase(it);
      fulfil<bool>(api_.loop(), promise, true);
    } else {
      ++it;
    }
  }
}

ResourceRef Store::ref_to(std::string_view key, std::string subresource) const {
  auto [ns, name] = split_key(key);
  ResourceRef ref = ref_;
  ref.ns = std::move(ns);
  ref.name = std::move(name);
  ref.subresource = std::move(subresource);
  return ref;
}

const Json* Store::find(std::string_view key) const { return informer_ ? informer_->find(std::string(key)) : nullptr; }

std::vector<const Json*> Store::all() const {
  std::vector<const Json*> objects;
  if (!informer_) return objects;
  objects.reserve(informer_->objects().size());
  for (const auto& [key, object] : informer_->objects()) objects.push_back(&object);
  return objects;
}

std::vector<const Json*> Store::all_in(std::string_view ns) const { return by(kByNamespace, ns); }

std::vector<const Json*> Store::by(std::string_view index, std::string_view value) const {
  std::vector<const Json*> objects;
  const auto entry = indexes_.find(index);
  if (entry == indexes_.end()) return objects;
  const auto keys = entry->second.keys.find(std::string(value));
  if (keys == entry->second.keys.end()) return objects;
  for (const auto& key : keys->second) {
    if (const Json* object = find(key)) objects.push_back(object);
  }
  return objects;
}

Store::Wait Store::until(std::function<bool()> condition) { return {*this, std::move(condition)}; }

Store::Wait Store::caught_up_with(const Json& written) {
  return until([this, version = version_of(written)] { return seen_version_ >= version; });
}

Store::Wait Store::removal_seen(std::string key, std::string uid) {
  return until([this, key = std::move(key), uid = std::move(uid)] {
    const Json* object = find(key);
    return !object || uid_of(*object) != uid || is_terminating(*object);
  });
}

void Store::Wait::await_suspend(std::coroutine_handle<> frame) {
  promise_ = std::make_shared<Promise<bool>>();
  promise_->frame = frame;
  std::weak_ptr<Promise<bool>> weak = promise_;
  store_.waiters_.push_back({condition_, weak});
  timeout_ = store_.api_.loop().after(kWaitLimit, [&loop = store_.api_.loop(), weak] { fulfil<bool>(loop, weak, false); });
}

}  // namespace fairway::controllers
