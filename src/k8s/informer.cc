#include "k8s/informer.h"

#include <algorithm>
#include <boost/json.hpp>
#include <random>

#include "sys/log.h"

namespace fairway::k8s {
namespace json = boost::json;
namespace {

constexpr std::chrono::milliseconds kFirstBackoff{200};
constexpr std::chrono::milliseconds kMaxBackoff{30'000};

std::string text_at(const Json& object, std::string_view field) {
  const auto* metadata = object.is_object() ? object.as_object().if_contains("metadata") : nullptr;
  const auto* value = metadata && metadata->is_object() ? metadata->as_object().if_contains(field) : nullptr;
  return value && value->is_string() ? std::string(value->as_string()) : "";
}

// resourceVersions of one resource grow (KEP-5504 makes comparing them official); anything else counts as newer.
bool is_older(const std::string& a, const std::string& b) {
  return a.size() != b.size() ? a.size() < b.size() : a < b;
}

std::chrono::nanoseconds jittered(std::chrono::milliseconds delay) {
  static thread_local std::minstd_rand random{std::random_device{}()};
  return std::chrono::duration_cast<std::chrono::nanoseconds>(delay * std::uniform_real_distribution<>(0.5, 1.0)(random));
}

}  // namespace

std::string key_of(const Json& object) {
  const std::string ns = text_at(object, "namespace"), name = text_at(object, "name");
  return ns.empty() ? name : ns + "/" + name;
}

struct Informer::Impl : std::enable_shared_from_this<Informer::Impl> {
  Impl(io::Loop& l, ApiClient& c, ResourceRef r, ListOptions o, Callbacks cb)
      : loop(l), client(c), ref(std::move(r)), options(std::move(o)), callbacks(std::move(cb)) {}

  void list() {
    call.reset();
    ListOptions query = options;
    query.resource_version = relist_exactly ? "" : "0";
    call = client.list(ref, query, [this](Result<Json> result) {
      const auto self = shared_from_this();  // a callback of ours may destroy the informer
      if (!result.ok()) return retry(result.error(), [this] { list(); });
      replace(std::move(*result));
    });
  }

  // Mark and sweep: what the list has is added or changed, what it lacks is deleted.
  void replace(Json listing) {
    relist_exactly = false;
    const auto* items = listing.is_object() ? listing.as_object().if_contains("items") : nullptr;
    if (!items || !items->is_array())
      return retry(make_error(Code::kInternal, "the list of " + ref.resource + " has no items"), [this] { list(); });
    std::unordered_map<Key, bool> seen;
    for (auto& item : listing.as_object()["items"].as_array()) {
      const Key key = key_of(item);
      seen[key] = true;
      store(key, std::move(item));
      if (stopped) return;
    }
    std::vector<Key> gone;
    for (const auto& [key, object] : objects)
      if (!seen.contains(key)) gone.push_back(key);
    for (const auto& key : gone) {
      erase(key);
      if (stopped) return;
    }
    version = text_at(listing, "resourceVersion");
    backoff = kFirstBackoff;
    if (!std::exchange(synced, true) && callbacks.on_synced) callbacks.on_synced();
    // Not at once: watch() replaces `call`, whose callback is running.
    if (!stopped) timer = loop.after(std::chrono::nanoseconds(0), guarded([this] { watch(); }));
  }

  void watch() {
    ListOptions query = options;
    query.resource_version = version;
    call = client.watch(ref, query, {.on_event = [this](EventType type, Json object) { event(type, std::move(object)); },
                                     .on_end = [this](Result<void> end) { ended(std::move(end)); }});
  }

  void event(EventType type, Json object) {
    const auto self = shared_from_this();
    backoff = kFirstBackoff;
    const std::string at = text_at(object, "resourceVersion");
    if (!at.empty() && !is_older(at, version)) version = at;
    if (type == EventType::kBookmark) return;
    const Key key = key_of(object);
    const auto found = objects.find(key);
    if (type == EventType::kDeleted) {
      // A late deletion of an earlier object of that name says nothing of the present one.
      if (found != objects.end() && text_at(found->second, "uid") == text_at(object, "uid")) erase(key);
    } else {
      store(key, std::move(object));
    }
  }

  void store(const Key& key, Json object) {
    const auto found = objects.find(key);
    if (found == objects.end()) {
      const auto& kept = objects.emplace(key, std::move(object)).first->second;
      if (callbacks.on_change) callbacks.on_change(key, nullptr, &kept);
      return;
    }
    const std::string before = text_at(found->second, "resourceVersion"), after = text_at(object, "resourceVersion");
    if (before == after || is_older(after, before)) return;  // a repetition, or out of order
    const Json old = std::exchange(found->second, std::move(object));
    if (callbacks.on_change) callbacks.on_change(key, &old, &found->second);
  }

  void erase(const Key& key) {
    const auto node = objects.extract(key);
    if (!node.empty() && callbacks.on_change) callbacks.on_change(key, &node.mapped(), nullptr);
  }

  void ended(Result<void> end) {
    if (end.ok()) return retry_quietly([this] { watch(); });
    if (end.error().code == Code::kGone) {
      relist_exactly = true;
      return retry_quietly([this] { list(); });
    }
    retry(end.error(), [this] { watch(); });
  }

  void retry_quietly(std::function<void()> task) { timer = loop.after(std::chrono::milliseconds(10), guarded(std::move(task))); }

  void retry(const Error& error, std::function<void()> task) {
    log::debug("informer", "{}: {}; again in at most {} ms", ref.resource, error.message, backoff.count());
    timer = loop.after(jittered(backoff), guarded(std::move(task)));
    backoff = std::min(backoff * 2, kMaxBackoff);
  }

  std::function<void()> guarded(std::function<void()> task) {
    return [weak = weak_from_this(), task = std::move(task)] {
      if (const auto self = weak.lock(); self && !self->stopped) task();
    };
  }

  io::Loop& loop;
  ApiClient& client;
  ResourceRef ref;
  ListOptions options;
  Callbacks callbacks;
  std::unordered_map<Key, Json> objects;
  std::string version;
  bool synced = false;
  bool stopped = false;
  bool relist_exactly = false;   // after 410: a list from any replica's cache might be as old
  std::chrono::milliseconds backoff = kFirstBackoff;
  CallPtr call;
  io::Loop::Timer timer;
};

Informer::Informer(io::Loop& loop, ApiClient& client, ResourceRef ref, ListOptions options, Callbacks callbacks)
    : impl_(std::make_shared<Impl>(loop, client, std::move(ref), std::move(options), std::move(callbacks))) {
  impl_->list();
}

Informer::~Informer() {
  impl_->stopped = true;
  impl_->timer.cancel();
  impl_->call.reset();
}

bool Informer::synced() const { return impl_->synced; }
const std::unordered_map<Informer::Key, Json>& Informer::objects() const { return impl_->objects; }
const Json* Informer::find(const Key& key) const {
  const auto found = impl_->objects.find(key);
  return found == impl_->objects.end() ? nullptr : &found->second;
}

}  // namespace fairway::k8s
