#include "apiserver/http_api.h"

#include <fmt/format.h>

#include <charconv>
#include <optional>

#include "apiserver/body_reader.h"
#include "apiserver/discovery.h"
#include "apiserver/streams.h"
#include "apiserver/table.h"

namespace fairway::apiserver {
namespace {

constexpr std::string_view kPatchTypes =
    "application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml";

std::vector<std::string> split_path(std::string_view path) {
  std::vector<std::string> parts;
  while (!path.empty()) {
    const auto slash = path.find('/');
    if (slash != 0) parts.emplace_back(path.substr(0, slash));
    if (slash == std::string_view::npos) break;
    path.remove_prefix(slash + 1);
  }
  return parts;
}

std::optional<std::int64_t> to_int(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

ApiError no_such_path() { return generic(404, "NotFound", "the server could not find the requested resource"); }

// "kubectl/v1.32.0 (linux/amd64)" -> "kubectl"
std::string manager_of(const io::ServerRequest& request) {
  std::string manager(request.query_value("fieldManager"));
  if (manager.empty()) {
    const std::string_view agent = request.headers.get("User-Agent");
    manager = agent.substr(0, agent.find_first_of("/ "));
  }
  return manager.empty() ? "unknown" : manager.substr(0, 128);
}

ApiResult<WriteOptions> write_options(const io::ServerRequest& request) {
  WriteOptions options;
  options.manager = manager_of(request);
  if (const std::string_view dry = request.query_value("dryRun"); !dry.empty()) {
    if (dry != "All") {
      FieldErrors errors;
      errors.not_supported("dryRun", Json(boost::json::string(dry)), {"All"});
      return invalid("meta.k8s.io", "CreateOptions", "", std::move(errors));
    }
    options.dry_run = true;
  }
  options.force = parse_bool(request.query_value("force"));
  const std::string_view validation = request.query_value("fieldValidation");
  if (validation == "Strict") options.validation = FieldValidation::kStrict;
  else if (validation == "Ignore") options.validation = FieldValidation::kIgnore;
  else if (!validation.empty() && validation != "Warn") {
    FieldErrors errors;
    errors.not_supported("fieldValidation", Json(boost::json::string(validation)), {"Ignore", "Strict", "Warn"});
    return invalid("meta.k8s.io", "CreateOptions", "", std::move(errors));
  }
  return options;
}

ApiResult<k8s::PatchType> patch_type(const io::ServerRequest& request) {
  const std::string_view header = request.headers.get("Content-Type");
  const std::string_view media = header.substr(0, header.find(';'));
  if (media == "application/json-patch+json") return k8s::PatchType::kJson;
  if (media == "application/merge-patch+json") return k8s::PatchType::kMerge;
  if (media == "application/strategic-merge-patch+json") return k8s::PatchType::kStrategic;
  if (media == "application/apply-patch+yaml") return k8s::PatchType::kApply;
  return unsupported_media_type(kPatchTypes);
}

Json metadata_only(const Json& object) {
  return Object{{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", object.at("metadata")}};
}

void answer_object(io::Responder& responder, const Kind& kind, const io::ServerRequest& request, int status, const Json& object,
                   const ObjectPtr& stored, const std::vector<std::string>& warnings = {}) {
  auto form = output_form(request);
  if (!form.ok()) return answer_error(responder, form.error());
  if (form->table) {
    StoredObject row;
    row.value = object;
    return answer_json(responder, status,
                       to_text(make_table(kind, {table_row(kind, row, form->include)},
                                          {{"resourceVersion", text_at(object, "metadata.resourceVersion")}}, true)),
                       warnings);
  }
  if (form->metadata_only) return answer_json(responder, status, to_text(metadata_only(object)), warnings);
  answer_json(responder, status, stored ? stored->text : to_text(object), warnings);
}

ApiResult<DeleteRequest> delete_request(const io::ServerRequest& request) {
  DeleteRequest out;
  out.dry_run = request.query_value("dryRun") == "All";
  if (const auto grace = to_int(request.query_value("gracePeriodSeconds"))) out.grace_period_seconds = *grace;
  out.propagation_policy = request.query_value("propagationPolicy");
  if (parse_bool(request.query_value("orphanDependents"))) out.propagation_policy = "Orphan";
  if (request.body.empty()) return out;
  FW_ASSIGN(const Body body, read_body(request, Schemas::builtin().find("DeleteOptions")));
  const Json& options = body.value;
  if (!options.is_object()) return bad_request("DeleteOptions: not an object");
  if (const Json* grace = find(options, "gracePeriodSeconds"); grace != nullptr && grace->is_int64())
    out.grace_period_seconds = grace->get_int64();
  if (const std::string_view policy = text_at(options, "propagationPolicy"); !policy.empty()) out.propagation_policy = policy;
  if (bool_at(options, "orphanDependents")) out.propagation_policy = "Orphan";
  out.precondition_uid = text_at(options, "preconditions.uid");
  out.precondition_version = text_at(options, "preconditions.resourceVersion");
  out.dry_run |= !array_at(options, "dryRun").empty();
  return out;
}

ApiResult<ListQuery> list_query(const Kind& kind, const io::ServerRequest& request, const std::string& name) {
  ListQuery query;
  FW_ASSIGN(query.labels, LabelSelector::parse(request.query_value("labelSelector")));
  std::string fields(request.query_value("fieldSelector"));
  if (!name.empty()) fields = "metadata.name=" + name;
  FW_ASSIGN(query.fields, FieldSelector::parse(fields, kind.selectable_fields));
  if (const std::string_view limit = request.query_value("limit"); !limit.empty()) {
    const auto number = to_int(limit);
    if (!number || *number < 0) return bad_request(fmt::format("limit: {} is no number", quoted(limit)));
    query.limit = static_cast<std::size_t>(*number);
  }
  query.continue_token = request.query_value("continue");
  query.resource_version = request.query_value("resourceVersion");
  query.version_match = request.query_value("resourceVersionMatch");
  return query;
}

}  // namespace

std::string HttpApi::authenticate(const io::ServerRequest& request) const {
  if (!request.peer.common_name.empty()) return request.peer.common_name;
  if (config_.trust_unix_peers && request.peer.unix_uid == 0U) return "system:admin";
  const std::string_view header = request.headers.get("Authorization");
  if (!header.starts_with("Bearer ")) return {};
  auto at = config_.bearer_tokens.find(std::string(header.substr(7)));
  return at == config_.bearer_tokens.end() ? std::string() : at->second;
}

void HttpApi::handle(io::ServerRequest request, ResponderPtr responder) {
  const std::vector<std::string> parts = split_path(request.path);
  const std::string first = parts.empty() ? "" : parts[0];
  const bool open = first == "healthz" || first == "readyz" || first == "livez" || first == "version";
  const std::string user = authenticate(request);
  if (!open && user.empty()) return answer_error(*responder, generic(401, "Unauthorized", "Unauthorized"));
  if (request.path == "/debug/faults" && !config_.fault_injector.empty()) {
    if (user != config_.fault_injector)
      return answer_error(*responder, generic(403, "Forbidden", "only " + config_.fault_injector + " injects faults"));
    return handle_faults(request, std::move(responder));
  }
  if (faults_.refuse > 0) {
    --faults_.refuse;
    return answer_error(*responder, generic(503, "ServiceUnavailable", "refused by fault injection"));
  }
  const bool core = first == "api";
  const std::size_t prefix = core ? 2 : 3;  // api/v1 or apis/GROUP/VERSION
  if ((!core && first != "apis") || parts.size() <= prefix) return handle_discovery(request, parts, std::move(responder));
  Route route;
  route.group = core ? "" : parts[1];
  route.version = parts[prefix - 1];
  std::size_t at = prefix;
  // namespaces/NS/RESOURCE...; namespaces/NS itself, and its subresources, are the Namespace.
  if (parts[at] == "namespaces" && parts.size() > at + 2) {
    const bool own = core && parts.size() == at + 3 && (parts[at + 2] == "status" || parts[at + 2] == "finalize");
    if (!own) {
      route.target.ns = parts[at + 1];
      at += 2;
    }
  }
  route.target.kind = engine_.kinds().find(route.group, route.version, parts[at]);
  if (parts.size() > at + 1) route.target.name = parts[at + 1];
  if (parts.size() > at + 2) route.target.subresource = parts[at + 2];
  if (!route.target.kind || parts.size() > at + 3) return answer_error(*responder, no_such_path());
  if (route.target.kind->namespaced ? route.target.ns.empty() && !route.target.name.empty() : !route.target.ns.empty())
    return answer_error(*responder, no_such_path());
  handle_resource(route, std::move(request), std::move(responder));
}

void HttpApi::handle_resource(const Route& route, io::ServerRequest request, ResponderPtr responder) {
  const Target& target = route.target;
  if (!target.subresource.empty() && !target.kind->has(target.subresource)) return answer_error(*responder, no_such_path());
  for (std::string_view stream : {"exec", "attach", "log", "portforward"}) {
    if (target.subresource == stream) return serve_stream(target, std::move(request), std::move(responder));
  }
  const bool collection = target.name.empty();
  if (request.method == "GET" || request.method == "HEAD") {
    if (target.kind->review) return answer_error(*responder, method_not_allowed());
    if (parse_bool(request.query_value("watch")) && target.subresource.empty()) return watch(target, request, std::move(responder));
    return collection ? list(target, request, std::move(responder)) : read(target, request, std::move(responder));
  }
  if (request.method == "DELETE" && target.subresource.empty() && !target.kind->review) {
    return collection ? remove_collection(target, request, std::move(responder)) : remove(target, request, std::move(responder));
  }
  const bool creates_object = collection && (!target.kind->namespaced || !target.ns.empty());
  const bool creates_subresource = target.subresource == "binding" || target.subresource == "eviction";
  if (request.method == "POST" && (creates_object || creates_subresource)) return write(target, request, std::move(responder));
  if ((request.method == "PUT" || request.method == "PATCH") && !collection && !creates_subresource)
    return write(target, request, std::move(responder));
  answer_error(*responder, method_not_allowed());
}

void HttpApi::read(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  if (target.subresource == "scale") {
    auto scale = engine_.get_scale(target);
    return scale.ok() ? answer_json(*responder, 200, to_text(*scale)) : answer_error(*responder, scale.error());
  }
  if (!target.subresource.empty() && target.subresource != "status") return answer_error(*responder, method_not_allowed());
  auto object = engine_.get(target);
  if (!object.ok()) return answer_error(*responder, object.error());
  answer_object(*responder, *target.kind, request, 200, (*object)->value, *object);
}

void HttpApi::list(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  const Kind& kind = *target.kind;
  auto query = list_query(kind, request, "");
  if (!query.ok()) return answer_error(*responder, query.error());
  auto form = output_form(request);
  if (!form.ok()) return answer_error(*responder, form.error());
  auto listing = engine_.list(target, *query);
  if (!listing.ok()) return answer_error(*responder, listing.error());
  if (form->table) {
    Array rows;
    for (const ObjectPtr& object : listing->items) rows.push_back(table_row(kind, *object, form->include));
    return answer_json(*responder, 200, to_text(make_table(kind, std::move(rows), std::move(listing->metadata), true)));
  }
  const std::string kind_name = form->metadata_only ? "PartialObjectMetadataList" : kind.list_kind();
  const std::string version = form->metadata_only ? "meta.k8s.io/v1" : kind.api_version();
  std::string body =
      fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{},"items":[)", kind_name, version, to_text(listing->metadata));
  for (std::size_t i = 0; i < listing->items.size(); ++i) {
    if (i > 0) body += ',';
    body += form->metadata_only ? to_text(metadata_only(listing->items[i]->value)) : listing->items[i]->text;
  }
  body += "]}\n";
  answer_json(*responder, 200, std::move(body));
}

namespace {

// One watch over HTTP: lives as long as both its watcher and its client.
struct WatchStream {
  std::unique_ptr<io::BodyStream> body;
  std::unique_ptr<WatchHub::Handle> handle;
  io::Loop::Timer timeout;
  KindPtr kind;
  OutputForm form;
  std::string first;  // what is due comes while the watch starts, before there is a body to write to
  bool columns_sent = false;
  std::size_t max_backlog = 0;

  std::string line(const WatchEvent& event) {
    const bool plain = !form.table && !form.metadata_only;
    const bool foreign = event.object && kind->custom && text_at(event.object->value, "apiVersion") != kind->api_version();
    if ((plain && !foreign) || !event.object) return *event.line;
    Json object = event.object->value;
    if (foreign) object.get_object()["apiVersion"] = boost::json::string(kind->api_version());
    if (form.metadata_only) object = metadata_only(object);
    if (form.table) {
      Object metadata{{"resourceVersion", std::to_string(event.revision)}};
      object = make_table(*kind, {table_row(*kind, *event.object, form.include)}, std::move(metadata), !std::exchange(columns_sent, true));
    }
    return to_text(Object{{"type", boost::json::string(to_string(event.type))}, {"object", std::move(object)}}) + "\n";
  }
};

std::string error_line(const ApiError& error) { return to_text(Object{{"type", "ERROR"}, {"object", error.to_status()}}) + "\n"; }

ApiResult<WatchQuery> watch_query(const Target& target, const io::ServerRequest& request) {
  const Kind& kind = *target.kind;
  FW_ASSIGN(ListQuery list, list_query(kind, request, target.name));
  WatchQuery query;
  query.collection = kind.collection();
  query.api_version = kind.api_version();
  query.kind = kind.kind;
  query.ns = target.ns;
  query.labels = std::move(list.labels);
  query.fields = std::move(list.fields);
  query.bookmarks = parse_bool(request.query_value("allowWatchBookmarks"));
  const bool send_initial = parse_bool(request.query_value("sendInitialEvents"));
  if (send_initial && (!query.bookmarks || list.version_match != "NotOlderThan")) {
    FieldErrors errors;
    if (!query.bookmarks) errors.forbidden("allowWatchBookmarks", "sendInitialEvents is forbidden unless allowWatchBookmarks is set");
    else errors.forbidden("resourceVersionMatch", "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan");
    return invalid("meta.k8s.io", "ListOptions", "", std::move(errors));
  }
  query.mark_initial_end = send_initial;
  const std::string_view version = list.resource_version;
  if (!version.empty() && version != "0" && !send_initial) {
    const auto number = to_int(version);
    if (!number || *number < 0) return bad_request(fmt::format("resourceVersion: Invalid value: {}: not a number", quoted(version)));
    query.since = static_cast<std::uint64_t>(*number);
  }
  return query;
}

}  // namespace

void HttpApi::watch(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  auto query = watch_query(target, request);
  if (!query.ok()) return answer_error(*responder, query.error());
  auto form = output_form(request);
  if (!form.ok()) return answer_error(*responder, form.error());
  if (faults_.expire > 0) {
    --faults_.expire;
    return answer_error(*responder, expired("too old resource version: by fault injection"));
  }
  const std::uint64_t current = engine_.store().revision();
  if (query->since && *query->since > current) query->since = current;
  const std::uint64_t since = query->since.value_or(0);

  auto stream = std::make_shared<WatchStream>();
  stream->kind = target.kind;
  stream->form = *form;
  stream->max_backlog = config_.max_watch_backlog_bytes;
  std::weak_ptr<WatchStream> weak = stream;
  stream->handle = engine_.hub().start(std::move(*query), [loop = &loop_, weak](const WatchEvent& event) {  // may outlive this object
    auto self = weak.lock();
    if (!self) return;
    const bool end = event.type == WatchEvent::Type::kError;
    std::string text = event.line ? self->line(event) : std::string();
    if (!self->body) {
      self->first += text;
      return;
    }
    if (!text.empty()) self->body->write(std::move(text));
    if (!end && self->body->pending_bytes() <= self->max_backlog) return;
    // Not inside the hub's call: the handle is its own.
    loop->post([self] {
      self->body.reset();
      self->handle.reset();
    });
  });
  io::Headers headers;
  headers.set("Content-Type", "application/json");
  headers.set("Cache-Control", "no-cache, private");
  if (!stream->handle) {
    auto body = responder->start_body(200, std::move(headers));
    body->write(error_line(expired(fmt::format("too old resource version: {} ({})", since, current))));
    return;
  }
  stream->body = responder->start_body(200, std::move(headers));
  if (!stream->first.empty()) stream->body->write(std::exchange(stream->first, {}));
  // The body's callback owns the stream: when the client goes, all of it goes.
  stream->body->on_closed([loop = &loop_, stream]() mutable {
    loop->post([gone = std::move(stream)] {
      gone->timeout.cancel();
      gone->handle.reset();
      gone->body.reset();
    });
  });
  const auto asked = to_int(request.query_value("timeoutSeconds")).value_or(0);
  const std::chrono::seconds seconds(asked > 0 ? std::min<std::int64_t>(asked, 86400) : 3600);
  stream->timeout = loop_.after(seconds, [weak] {
    if (auto self = weak.lock()) {
      self->handle.reset();
      self->body.reset();
    }
  });
}

void HttpApi::write(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  auto options = write_options(request);
  if (!options.ok()) return answer_error(*responder, options.error());
  options->user = authenticate(request);
  const bool patching = request.method == "PATCH";
  auto type = patching ? patch_type(request) : ApiResult<k8s::PatchType>(k8s::PatchType::kMerge);
  if (!type.ok()) return answer_error(*responder, type.error());
  const Message* message = target.kind->custom ? nullptr : target.kind->message;
  if (target.subresource == "scale") message = Schemas::builtin().find("Scale");
  if (target.subresource == "eviction") message = Schemas::builtin().find("Eviction");
  if (target.subresource == "binding") message = Schemas::builtin().find("Binding");
  auto body = read_body(request, patching ? nullptr : message);
  if (!body.ok()) return answer_error(*responder, body.error());
  options->duplicates = std::move(body->duplicates);
  if (patching && *type != k8s::PatchType::kApply) options->duplicates.clear();
  auto written = patching                   ? engine_.patch(target, *type, body->value, *options)
                 : request.method == "POST" ? engine_.create(target, std::move(body->value), *options)
                                            : engine_.update(target, std::move(body->value), *options);
  if (!written.ok()) return answer_error(*responder, written.error());
  const int status = written->created ? 201 : 200;
  // Scale, Status and the like have no columns.
  if (!written->stored && !written->object.as_object().contains("spec"))
    return answer_json(*responder, status, to_text(written->object), written->warnings);
  answer_object(*responder, *target.kind, request, status, written->object, written->stored, written->warnings);
}

void HttpApi::remove(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  auto options = delete_request(request);
  if (!options.ok()) return answer_error(*responder, options.error());
  auto deleted = engine_.remove(target, *options);
  if (!deleted.ok()) return answer_error(*responder, deleted.error());
  answer_json(*responder, 200, to_text(deleted->answer));
}

void HttpApi::remove_collection(const Target& target, const io::ServerRequest& request, ResponderPtr responder) {
  auto options = delete_request(request);
  if (!options.ok()) return answer_error(*responder, options.error());
  auto query = list_query(*target.kind, request, "");
  if (!query.ok()) return answer_error(*responder, query.error());
  query->resource_version.clear();
  auto listing = engine_.list(target, *query);
  if (!listing.ok()) return answer_error(*responder, listing.error());
  for (const ObjectPtr& object : listing->items) {
    auto deleted = engine_.remove({target.kind, object->ns, object->name, ""}, *options);
    if (!deleted.ok() && deleted.error().code != 404) return answer_error(*responder, deleted.error());
  }
  answer_json(*responder, 200, to_text(Object{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Object()}, {"status", "Success"}}));
}

}  // namespace fairway::apiserver
