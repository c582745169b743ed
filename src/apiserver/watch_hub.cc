#include "apiserver/watch_hub.h"

#include <fmt/format.h>

#include <algorithm>

namespace fairway::apiserver {

struct Watcher {
  WatchQuery query;
  WatchHub::Callback callback;
  bool gone = false;
};

namespace {

std::shared_ptr<const std::string> make_line(WatchEvent::Type type, const StoredObject& object) {
  auto line = std::make_shared<std::string>();
  line->reserve(object.text.size() + 40);
  *line += "{\"type\":\"";
  *line += to_string(type);
  *line += "\",\"object\":";
  *line += object.text;
  *line += "}\n";
  return line;
}

}  // namespace

std::string_view to_string(WatchEvent::Type type) {
  switch (type) {
    case WatchEvent::Type::kAdded:
      return "ADDED";
    case WatchEvent::Type::kModified:
      return "MODIFIED";
    case WatchEvent::Type::kDeleted:
      return "DELETED";
    case WatchEvent::Type::kBookmark:
      return "BOOKMARK";
    case WatchEvent::Type::kError:
      break;
  }
  return "ERROR";
}

bool selects(const WatchQuery& query, const StoredObject& object) {
  if (!query.ns.empty() && query.ns != object.ns) return false;
  if (!query.labels.empty() && !query.labels.matches(object_at(object.value, "metadata.labels"))) return false;
  return query.fields.empty() || query.fields.matches(object.value);
}

WatchHub::Handle::~Handle() { watcher_->gone = true; }

WatchHub::WatchHub(Store& store) : store_(store) {
  store.listen([this](const EventPtr& event) { on_event(event); });
}

std::unique_ptr<WatchHub::Handle> WatchHub::start(WatchQuery query, Callback callback) {
  std::vector<EventPtr> missed;
  if (query.since && !store_.events_since(query.collection, *query.since, missed)) return nullptr;
  auto watcher = std::make_shared<Watcher>(Watcher{std::move(query), std::move(callback)});
  std::unique_ptr<Handle> handle(new Handle());
  handle->watcher_ = watcher;
  if (!watcher->query.since) {
    for (const auto& [key, object] : store_.objects(watcher->query.collection)) {
      if (!selects(watcher->query, *object)) continue;
      watcher->callback({WatchEvent::Type::kAdded, object, make_line(WatchEvent::Type::kAdded, *object), object->revision});
    }
    if (watcher->query.mark_initial_end) bookmark(*watcher, true);
  }
  for (const EventPtr& event : missed) {
    std::shared_ptr<const std::string> lines[3];
    deliver(*watcher, *event, lines);
  }
  if (watcher->query.since && watcher->query.mark_initial_end) bookmark(*watcher, true);
  by_collection_[watcher->query.collection].push_back(std::move(watcher));
  return handle;
}

void WatchHub::on_event(const EventPtr& event) {
  if (faults.drop > 0) {
    --faults.drop;
    return;
  }
  if (faults.swap > 0 && !held_) {
    --faults.swap;
    held_ = event;
    return;
  }
  dispatch(event);
  if (faults.duplicate > 0) {
    --faults.duplicate;
    dispatch(event);
  }
  if (held_) dispatch(std::exchange(held_, nullptr));
}

void WatchHub::dispatch(const EventPtr& event) {
  auto at = by_collection_.find(event->collection);
  if (at == by_collection_.end()) return;
  std::erase_if(at->second, [](const std::shared_ptr<Watcher>& watcher) { return watcher->gone; });
  std::shared_ptr<const std::string> lines[3];
  const auto watchers = at->second;  // a callback may end a watch
  for (const auto& watcher : watchers) {
    if (!watcher->gone) deliver(*watcher, *event, lines);
  }
}

void WatchHub::deliver(Watcher& watcher, const StoreEvent& event, std::shared_ptr<const std::string> (&lines)[3]) {
  const bool now = event.change != Change::kDeleted && selects(watcher.query, *event.object);
  const bool was = event.before && selects(watcher.query, *event.before);
  if (!now && !was) return;
  const auto type = now && was ? WatchEvent::Type::kModified : now ? WatchEvent::Type::kAdded : WatchEvent::Type::kDeleted;
  auto& line = lines[static_cast<int>(type)];
  if (!line) line = make_line(type, *event.object);
  watcher.callback({type, event.object, line, event.revision});
}

void WatchHub::bookmark(Watcher& watcher, bool initial_end) {
  Object metadata{{"resourceVersion", std::to_string(store_.revision())}};
  if (initial_end) metadata["annotations"] = Object{{"k8s.io/initial-events-end", "true"}};
  const Object event{
      {"type", "BOOKMARK"},
      {"object", Object{{"kind", watcher.query.kind}, {"apiVersion", watcher.query.api_version}, {"metadata", std::move(metadata)}}}};
  WatchEvent out{WatchEvent::Type::kBookmark, nullptr, std::make_shared<std::string>(to_text(event) + "\n"), store_.revision()};
  out.initial_end = initial_end;
  watcher.callback(out);
}

void WatchHub::send_bookmarks() {
  for (auto& [collection, watchers] : by_collection_) {
    std::erase_if(watchers, [](const std::shared_ptr<Watcher>& watcher) { return watcher->gone; });
    const auto copy = watchers;
    for (const auto& watcher : copy) {
      if (watcher->query.bookmarks && !watcher->gone) bookmark(*watcher, false);
    }
  }
}

std::size_t WatchHub::watchers() const {
  std::size_t count = 0;
  for (const auto& [collection, watchers] : by_collection_) {
    count += static_cast<std::size_t>(std::count_if(watchers.begin(), watchers.end(), [](const auto& watcher) { return !watcher->gone; }));
  }
  return count;
}

void WatchHub::end_all(std::optional<std::string> error_line) {
  for (auto& [collection, watchers] : by_collection_) {
    for (const auto& watcher : std::exchange(watchers, {})) {
      if (watcher->gone) continue;
      watcher->gone = true;
      watcher->callback(
          {WatchEvent::Type::kError, nullptr, error_line ? std::make_shared<std::string>(*error_line) : nullptr, store_.revision()});
    }
  }
}

}  // namespace fairway::apiserver
