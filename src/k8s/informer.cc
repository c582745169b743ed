#include "k8s/informer.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <charconv>
#include <chrono>
#include <optional>
#include <random>
#include <unordered_set>

#include "sys/log.h"

namespace fairway::k8s {
namespace {

using std::chrono::milliseconds;
using std::chrono::steady_clock;

constexpr milliseconds kAtOnce{0}, kFirstDelay{200}, kLongestDelay{30'000};
constexpr std::chrono::seconds kHealthyWatch{5};  // one that lasted so long is no reason to slow down
constexpr std::size_t kMaxTombstones = 4096;

const boost::json::object* metadata_of(const Json& object) {
  const boost::json::object* fields = object.if_object();
  const Json* metadata = fields ? fields->if_contains("metadata") : nullptr;
  return metadata ? metadata->if_object() : nullptr;
}

std::string_view text_at(const boost::json::object* object, std::string_view key) {
  const Json* value = object ? object->if_contains(key) : nullptr;
  if (!value || !value->is_string()) return {};
  return {value->get_string().data(), value->get_string().size()};
}

std::string_view version_of(const Json& object) { return text_at(metadata_of(object), "resourceVersion"); }

// Versions of one resource grow (KEP-5504); one that is no number compares as unknown.
std::optional<std::uint64_t> number_of(std::string_view version) {
  std::uint64_t number = 0;
  const auto [end, ec] = std::from_chars(version.data(), version.data() + version.size(), number);
  if (ec != std::errc() || end != version.data() + version.size()) return {};
  return number;
}

bool is_not_newer(std::string_view version, std::string_view held) {
  const auto a = number_of(version), b = number_of(held);
  return a && b ? *a <= *b : version == held;
}

}  // namespace

std::string key_of(const Json& object) {
  const boost::json::object* metadata = metadata_of(object);
  const std::string_view ns = text_at(metadata, "namespace"), name = text_at(metadata, "name");
  std::string key(ns);
  if (!ns.empty()) key += '/';
  key += name;
  return key;
}

struct Informer::Impl : std::enable_shared_from_this<Impl> {
  Impl(io::Loop& l, ApiClient& c, ResourceRef r, ListOptions o, Callbacks cb)
      : loop(l), client(c), ref(std::move(r)), options(std::move(o)), callbacks(std::move(cb)), random(std::random_device{}()) {}

  void list();
  void on_list(Result<Json> answer);
  void watch();
  void on_event(EventType type, Json object);
  void on_watch_end(Result<void> result);
  void retry(void (Impl::*step)());
  void later(milliseconds wait, void (Impl::*step)());
  void put(const Key& key, Json object);
  void erase(const Key& key);
  void bury(const Key& key, std::string_view at);
  void saw(std::string_view at);

  io::Loop& loop;
  ApiClient& client;
  ResourceRef ref;
  ListOptions options;
  Callbacks callbacks;
  std::mt19937_64 random;
  std::unordered_map<Key, Json> objects;
  std::unordered_map<Key, std::string> tombstones;  // version of the deletion: a late event must not bring an object back
  std::string version;                              // where the watch goes on
  bool relist_exactly = false;                      // after 410: a list from some replica's cache might be as old
  CallPtr call;
  io::Loop::Timer timer;
  milliseconds delay = kFirstDelay;
  steady_clock::time_point watch_began;
  bool synced = false, over = false, got_event = false;
};

void Informer::Impl::retry(void (Impl::*step)()) {
  // Half of the delay is fixed, half is chance: clients that were cut off together do not come back together.
  const milliseconds wait = delay / 2 + milliseconds(random() % static_cast<std::uint64_t>(delay.count() / 2 + 1));
  delay = std::min(delay * 2, kLongestDelay);
  later(wait, step);
}

// Never at once: the next step replaces `call`, whose callback is running.
void Informer::Impl::later(milliseconds wait, void (Impl::*step)()) {
  timer = loop.after(wait, [weak = weak_from_this(), step] {
    if (const auto self = weak.lock(); self && !self->over) (self.get()->*step)();
  });
}

void Informer::Impl::list() {
  ListOptions from = options;
  if (from.resource_version.empty() && !relist_exactly) from.resource_version = "0";
  call = client.list(ref, from, [weak = weak_from_this()](Result<Json> answer) {
    if (const auto self = weak.lock(); self && !self->over) self->on_list(std::move(answer));
  });
}

void Informer::Impl::on_list(Result<Json> answer) {
  if (!answer.ok()) {
    log::debug("informer", "list {}: {}; again in at most {} ms", ref.resource, answer.error().message, delay.count());
    return retry(&Impl::list);
  }
  boost::json::object* fields = answer->if_object();
  Json* items = fields ? fields->if_contains("items") : nullptr;
  const std::string_view at = fields ? version_of(*answer) : std::string_view();
  if (!items || !items->is_array() || at.empty()) return retry(&Impl::list);
  delay = kFirstDelay;
  relist_exactly = false;
  version = at;
  tombstones.clear();
  // Items of a list come without their kind; it is the list's.
  std::string kind(text_at(fields, "kind"));
  if (kind.ends_with("List")) kind.resize(kind.size() - 4);
  const std::string api_version(text_at(fields, "apiVersion"));
  std::unordered_set<Key> listed;
  for (Json& item : items->get_array()) {
    if (!item.is_object()) continue;
    boost::json::object& object = item.get_object();
    if (!object.contains("kind") && !kind.empty()) object["kind"] = kind;
    if (!object.contains("apiVersion") && !api_version.empty()) object["apiVersion"] = api_version;
    Key key = key_of(item);
    if (key.empty()) continue;
    const auto held = objects.find(key);
    if (held == objects.end() || version_of(held->second) != version_of(item) || version_of(item).empty()) put(key, std::move(item));
    if (over) return;
    listed.insert(std::move(key));
  }
  std::vector<Key> gone;
  for (const auto& [key, object] : objects) {
    if (!listed.contains(key)) gone.push_back(key);
  }
  for (const Key& key : gone) {
    erase(key);
    if (over) return;
  }
  if (!std::exchange(synced, true) && callbacks.on_synced) callbacks.on_synced();
  if (!over) later(kAtOnce, &Impl::watch);
}

void Informer::Impl::watch() {
  ListOptions from = options;
  from.resource_version = version;
  watch_began = steady_clock::now();
  got_event = false;
  const std::weak_ptr<Impl> weak = weak_from_this();
  call = client.watch(ref, from,
                      {.on_event =
                           [weak](EventType type, Json object) {
                             if (const auto self = weak.lock(); self && !self->over) self->on_event(type, std::move(object));
                           },
                       .on_end =
                           [weak](Result<void> result) {
                             if (const auto self = weak.lock(); self && !self->over) self->on_watch_end(std::move(result));
                           }});
}

void Informer::Impl::on_event(EventType type, Json object) {
  const std::string at(version_of(object));
  got_event = true;
  delay = kFirstDelay;
  if (type != EventType::kBookmark) {
    const Key key = key_of(object);
    if (key.empty()) return;
    const auto held = objects.find(key);
    const auto buried = tombstones.find(key);
    if (type == EventType::kDeleted) {
      const bool stale =
          held != objects.end() && !at.empty() && at != version_of(held->second) && is_not_newer(at, version_of(held->second));
      if (!stale) {
        bury(key, at);
        erase(key);
      }
    } else {
      const bool stale = (held != objects.end() && is_not_newer(at, version_of(held->second))) ||
                         (buried != tombstones.end() && is_not_newer(at, buried->second));
      if (!stale) {
        if (buried != tombstones.end()) tombstones.erase(buried);
        put(key, std::move(object));
      }
    }
  }
  if (!over) saw(at);
}

void Informer::Impl::saw(std::string_view at) {
  if (!at.empty() && (!number_of(at) || !is_not_newer(at, version))) version = at;
}

void Informer::Impl::on_watch_end(Result<void> result) {
  if (!result.ok() && (result.error().code == Code::kGone || result.error().code == Code::kInvalid)) {
    // Too old, or an event that we do not understand: only a list tells the truth again.
    relist_exactly = true;
    if (result.error().code == Code::kGone && got_event) return later(kAtOnce, &Impl::list);
    return retry(&Impl::list);
  }
  const bool healthy = got_event || steady_clock::now() - watch_began > kHealthyWatch;
  if (result.ok() && healthy) return later(kAtOnce, &Impl::watch);  // servers end watches after some minutes
  retry(&Impl::watch);
}

void Informer::Impl::bury(const Key& key, std::string_view at) {
  if (at.empty()) return;
  if (tombstones.size() >= kMaxTombstones) tombstones.clear();
  tombstones[key] = std::string(at);
}

void Informer::Impl::put(const Key& key, Json object) {
  const auto [place, fresh] = objects.try_emplace(key);
  const Json before = std::exchange(place->second, std::move(object));
  if (callbacks.on_change) callbacks.on_change(key, fresh ? nullptr : &before, &place->second);
}

void Informer::Impl::erase(const Key& key) {
  const auto held = objects.find(key);
  if (held == objects.end()) return;
  const Json before = std::move(held->second);
  objects.erase(held);
  if (callbacks.on_change) callbacks.on_change(key, &before, nullptr);
}

Informer::Informer(io::Loop& loop, ApiClient& client, ResourceRef ref, ListOptions options, Callbacks callbacks)
    : impl_(std::make_shared<Impl>(loop, client, std::move(ref), std::move(options), std::move(callbacks))) {
  impl_->list();
}

Informer::~Informer() {
  impl_->over = true;
  impl_->call.reset();
  impl_->timer.cancel();
}

bool Informer::synced() const { return impl_->synced; }
const std::unordered_map<Informer::Key, Json>& Informer::objects() const { return impl_->objects; }
const Json* Informer::find(const Key& key) const {
  const auto held = impl_->objects.find(key);
  return held == impl_->objects.end() ? nullptr : &held->second;
}

}  // namespace fairway::k8s
