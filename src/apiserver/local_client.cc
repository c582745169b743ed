#include "apiserver/local_client.h"

#include <fmt/format.h>

#include <charconv>

#include "apiserver/engine.h"

namespace fairway::apiserver {
namespace {

// Shared with what is posted: once gone, nothing is called any more.
struct State {
  bool gone = false;
  std::unique_ptr<WatchHub::Handle> handle;
};

class LocalCall : public k8s::Call {
 public:
  explicit LocalCall(std::shared_ptr<State> state) : state_(std::move(state)) {}
  ~LocalCall() override {
    state_->gone = true;
    state_->handle.reset();
  }

 private:
  std::shared_ptr<State> state_;
};

k8s::CallPtr later(io::Loop& loop, k8s::Done done, Result<k8s::Json> result) {
  auto state = std::make_shared<State>();
  loop.post([state, done = std::move(done), result = std::move(result)]() mutable {
    if (!state->gone) done(std::move(result));
  });
  return std::make_unique<LocalCall>(state);
}

ApiError unknown_resource(const k8s::ResourceRef& ref) {
  return generic(404, "NotFound",
                 fmt::format("the server could not find the requested resource ({} {}/{})", ref.resource, ref.group, ref.version));
}

ApiResult<Target> find_target(Engine& engine, const k8s::ResourceRef& ref) {
  KindPtr kind = engine.kinds().find(ref.group, ref.version, ref.resource);
  if (!kind || (!ref.subresource.empty() && !kind->has(ref.subresource))) return unknown_resource(ref);
  return Target{kind, kind->namespaced ? ref.ns : "", ref.name, ref.subresource};
}

// Controllers do not own fields: what they write is not recorded in managedFields, which keeps objects small.
WriteOptions local_options() { return {}; }

Result<k8s::Json> object_of(ApiResult<Written> written) {
  if (!written.ok()) return written.error().to_error();
  return std::move(written->object);
}

ApiResult<ListQuery> to_query(const Target& target, const k8s::ListOptions& options) {
  ListQuery query;
  FW_ASSIGN(query.labels, LabelSelector::parse(options.label_selector));
  FW_ASSIGN(query.fields, FieldSelector::parse(options.field_selector, target.kind->selectable_fields));
  return query;
}

ApiResult<k8s::Json> list_object(Engine& engine, const k8s::ResourceRef& ref, const k8s::ListOptions& options) {
  FW_ASSIGN(const Target target, find_target(engine, ref));
  FW_ASSIGN(const ListQuery query, to_query(target, options));
  FW_ASSIGN(Listing listing, engine.list(target, query));
  Array items;
  items.reserve(listing.items.size());
  for (const ObjectPtr& object : listing.items) items.push_back(object->value);
  return Json(Object{{"kind", target.kind->list_kind()},
                     {"apiVersion", target.kind->api_version()},
                     {"metadata", std::move(listing.metadata)},
                     {"items", std::move(items)}});
}

ApiResult<WatchQuery> watch_query(Engine& engine, const k8s::ResourceRef& ref, const k8s::ListOptions& options) {
  FW_ASSIGN(const Target target, find_target(engine, ref));
  FW_ASSIGN(ListQuery list, to_query(target, options));
  WatchQuery query;
  query.collection = target.kind->collection();
  query.api_version = target.kind->api_version();
  query.kind = target.kind->kind;
  query.ns = target.ns;
  query.labels = std::move(list.labels);
  query.fields = std::move(list.fields);
  query.bookmarks = true;
  if (const std::string& version = options.resource_version; !version.empty() && version != "0") {
    std::uint64_t since = 0;
    const auto [end, error] = std::from_chars(version.data(), version.data() + version.size(), since);
    if (error != std::errc{} || end != version.data() + version.size())
      return bad_request(fmt::format("resourceVersion {} is no number", quoted(version)));
    query.since = std::min(since, engine.store().revision());
  }
  return query;
}

}  // namespace

LocalClient::LocalClient(io::Loop& loop, Engine& engine) : loop_(loop), engine_(engine) {}
LocalClient::~LocalClient() = default;

k8s::CallPtr LocalClient::get(const k8s::ResourceRef& ref, k8s::Done done) {
  auto target = find_target(engine_, ref);
  if (!target.ok()) return later(loop_, std::move(done), target.error().to_error());
  if (ref.subresource == "scale") {
    auto scale = engine_.get_scale(*target);
    return later(loop_, std::move(done), scale.ok() ? Result<k8s::Json>(std::move(*scale)) : Result<k8s::Json>(scale.error().to_error()));
  }
  auto object = engine_.get(*target);
  return later(loop_, std::move(done), object.ok() ? Result<k8s::Json>((*object)->value) : Result<k8s::Json>(object.error().to_error()));
}

k8s::CallPtr LocalClient::list(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::Done done) {
  auto listing = list_object(engine_, ref, options);
  return later(loop_, std::move(done),
               listing.ok() ? Result<k8s::Json>(std::move(*listing)) : Result<k8s::Json>(listing.error().to_error()));
}

k8s::CallPtr LocalClient::create(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) {
  k8s::ResourceRef collection = ref;
  // As over HTTP: a namespaced object may name its own namespace.
  if (collection.ns.empty()) collection.ns = text_at(object, "metadata.namespace");
  auto target = find_target(engine_, collection);
  if (!target.ok()) return later(loop_, std::move(done), target.error().to_error());
  if (target->subresource.empty()) target->name.clear();
  return later(loop_, std::move(done), object_of(engine_.create(*target, std::move(object), local_options())));
}

k8s::CallPtr LocalClient::update(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) {
  auto target = find_target(engine_, ref);
  if (!target.ok()) return later(loop_, std::move(done), target.error().to_error());
  return later(loop_, std::move(done), object_of(engine_.update(*target, std::move(object), local_options())));
}

k8s::CallPtr LocalClient::patch(const k8s::ResourceRef& ref, k8s::PatchType type, k8s::Json patch, k8s::Done done) {
  auto target = find_target(engine_, ref);
  if (!target.ok()) return later(loop_, std::move(done), target.error().to_error());
  WriteOptions options = local_options();
  if (type == k8s::PatchType::kApply) {
    options.manager = "fairway";
    options.force = true;
  }
  return later(loop_, std::move(done), object_of(engine_.patch(*target, type, patch, options)));
}

k8s::CallPtr LocalClient::remove(const k8s::ResourceRef& ref, const k8s::DeleteOptions& options, k8s::Done done) {
  auto target = find_target(engine_, ref);
  if (!target.ok()) return later(loop_, std::move(done), target.error().to_error());
  DeleteRequest request;
  if (options.grace_period_seconds >= 0) request.grace_period_seconds = options.grace_period_seconds;
  request.propagation_policy = options.propagation_policy;
  request.precondition_uid = options.precondition_uid;
  auto deleted = engine_.remove(*target, request);
  return later(loop_, std::move(done),
               deleted.ok() ? Result<k8s::Json>(std::move(deleted->answer)) : Result<k8s::Json>(deleted.error().to_error()));
}

k8s::CallPtr LocalClient::watch(const k8s::ResourceRef& ref, const k8s::ListOptions& options, k8s::WatchCallbacks callbacks) {
  auto state = std::make_shared<State>();
  auto shared = std::make_shared<k8s::WatchCallbacks>(std::move(callbacks));
  // Weak: the hub's callback holds this, and the state owns the hub's handle.
  std::weak_ptr<State> weak = state;
  auto end = [this, weak, shared](Result<void> how) {
    auto alive = weak.lock();
    if (!alive) return;
    loop_.post([alive, shared, how = std::move(how)]() mutable {
      if (!alive->gone) shared->on_end(std::move(how));
    });
  };
  auto query = watch_query(engine_, ref, options);
  if (!query.ok()) {
    end(query.error().to_error());
    return std::make_unique<LocalCall>(state);
  }
  state->handle = engine_.hub().start(std::move(*query), [this, weak, shared, end](const WatchEvent& event) {
    if (event.type == WatchEvent::Type::kError)
      return end(event.line ? Result<void>(make_error(Code::kGone, "too old resource version")) : Result<void>());
    auto alive = weak.lock();
    if (!alive) return;
    loop_.post([alive, shared, object = event.object, type = event.type, revision = event.revision] {
      if (alive->gone) return;
      switch (type) {
        case WatchEvent::Type::kAdded:
          return shared->on_event(k8s::EventType::kAdded, object->value);
        case WatchEvent::Type::kModified:
          return shared->on_event(k8s::EventType::kModified, object->value);
        case WatchEvent::Type::kDeleted:
          return shared->on_event(k8s::EventType::kDeleted, object->value);
        default:
          return shared->on_event(k8s::EventType::kBookmark, Object{{"metadata", Object{{"resourceVersion", std::to_string(revision)}}}});
      }
    });
  });
  if (!state->handle) end(expired("too old resource version").to_error());
  return std::make_unique<LocalCall>(state);
}

}  // namespace fairway::apiserver
