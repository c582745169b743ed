#include "k8s/http_api_client.h"

#include <boost/json.hpp>

namespace fairway::k8s {
namespace json = boost::json;
namespace {

constexpr std::size_t kMaxLine = 16 << 20;      // one watch event
constexpr std::chrono::seconds kSilence{90};    // bookmarks come every 30 s

class HttpCall : public Call {
 public:
  std::unique_ptr<io::Pending> pending;
};

Code code_of(int http_status, std::string_view reason) {
  switch (http_status) {
    case 400: case 422: return Code::kInvalid;
    case 401: return Code::kUnauthorized;
    case 403: return Code::kForbidden;
    case 404: return Code::kNotFound;
    case 409: return reason == "AlreadyExists" ? Code::kAlreadyExists : Code::kConflict;
    case 410: return Code::kGone;
    case 408: case 504: return Code::kTimeout;
    case 429: case 503: return Code::kUnavailable;
    default: return Code::kInternal;
  }
}

Error error_of_status(const json::object& status, int http_status) {
  const auto text = [&](const char* key) {
    const auto* value = status.if_contains(key);
    return value && value->is_string() ? std::string(value->as_string()) : std::string();
  };
  const auto* code = status.if_contains("code");
  if (code && code->is_int64()) http_status = static_cast<int>(code->as_int64());
  Error out = make_error(code_of(http_status, text("reason")), text("message"));
  out.reason = text("reason");
  if (out.message.empty()) out.message = "the API server answered " + std::to_string(http_status);
  return out;
}

void add_query(std::string& target, std::string_view key, const std::string& value) {
  if (value.empty()) return;
  target += target.find('?') == std::string::npos ? '?' : '&';
  target.append(key).append("=").append(io::percent_encode(value));
}

void add_selectors(std::string& target, const ListOptions& options) {
  add_query(target, "labelSelector", options.label_selector);
  add_query(target, "fieldSelector", options.field_selector);
  add_query(target, "resourceVersion", options.resource_version);
}

std::string_view content_type_of(PatchType type) {
  switch (type) {
    case PatchType::kJson: return "application/json-patch+json";
    case PatchType::kMerge: return "application/merge-patch+json";
    case PatchType::kStrategic: return "application/strategic-merge-patch+json";
    case PatchType::kApply: return "application/apply-patch+yaml";
  }
  return "application/json";
}

// One watch: cuts the stream into lines, each {"type":T,"object":O}.
class WatchCall : public Call {
 public:
  WatchCall(io::Loop& loop, WatchCallbacks callbacks) : loop_(loop), callbacks_(std::move(callbacks)) {}

  void start(io::HttpClient& http, std::string target) {
    io::HttpRequest request;
    request.target = std::move(target);
    request.headers.set("Accept", "application/json");
    listen();
    pending_ = http.stream(std::move(request), {.on_head = [this](int status, const io::Headers&) { status_ = status; },
                                                .on_data = [this](std::string_view data) { receive(data); },
                                                .on_end = [this](Status status) { finish(status_ >= 300 ? Status(error_of(status_, buffer_)) : std::move(status)); }});
  }

 private:
  void listen() { silence_ = loop_.after(kSilence, [this] { finish(make_error(Code::kTimeout, "the watch is silent")); }); }

  void receive(std::string_view data) {
    listen();
    const std::weak_ptr<bool> alive = alive_;
    buffer_.append(data);
    if (status_ >= 300) return;
    std::size_t begin = 0;
    for (std::size_t end; (end = buffer_.find('\n', begin)) != std::string::npos; begin = end + 1) {
      take_line(std::string_view(buffer_).substr(begin, end - begin));
      if (alive.expired()) return;   // the callback destroyed this call
      if (ended_) return;
    }
    buffer_.erase(0, begin);
    if (buffer_.size() > kMaxLine) finish(make_error(Code::kExhausted, "a watch event is larger than " + std::to_string(kMaxLine) + " bytes"));
  }

  void take_line(std::string_view line) {
    if (line.empty()) return;
    boost::system::error_code ec;
    auto value = json::parse(line, ec);
    auto* event = ec ? nullptr : value.if_object();
    auto* type = event ? event->if_contains("type") : nullptr;
    auto* object = event ? event->if_contains("object") : nullptr;
    if (!type || !type->is_string() || !object || !object->is_object()) return finish(make_error(Code::kInternal, "a watch event is not as it should be"));
    const auto& name = type->as_string();
    if (name == "ERROR") return finish(error_of_status(object->as_object(), 500));
    const auto kind = name == "ADDED" ? EventType::kAdded : name == "MODIFIED" ? EventType::kModified : name == "DELETED" ? EventType::kDeleted : EventType::kBookmark;
    callbacks_.on_event(kind, std::move(*object));
  }

  void finish(Status status) {
    if (std::exchange(ended_, true)) return;
    silence_.cancel();
    // Moved out, as the callback may destroy this call.
    const auto on_end = std::move(callbacks_.on_end);
    on_end(std::move(status));
  }

  io::Loop& loop_;
  WatchCallbacks callbacks_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
  std::string buffer_;
  int status_ = 0;
  bool ended_ = false;
  io::Loop::Timer silence_;
  std::unique_ptr<io::Pending> pending_;
};

}  // namespace

std::string path_of(const ResourceRef& ref) {
  std::string out = (ref.group.empty() ? "/api/" : "/apis/" + io::percent_encode(ref.group) + "/") + io::percent_encode(ref.version);
  if (!ref.ns.empty()) out += "/namespaces/" + io::percent_encode(ref.ns);
  out += "/" + io::percent_encode(ref.resource);
  if (!ref.name.empty()) out += "/" + io::percent_encode(ref.name);
  if (!ref.subresource.empty()) out += "/" + io::percent_encode(ref.subresource);
  return out;
}

Error error_of(int http_status, std::string_view body) {
  boost::system::error_code ec;
  const auto value = json::parse(body, ec);
  return error_of_status(!ec && value.is_object() ? value.as_object() : json::object{}, http_status);
}

HttpApiClient::HttpApiClient(io::Loop& loop, std::unique_ptr<io::HttpClient> http) : loop_(loop), http_(std::move(http)) {}
HttpApiClient::~HttpApiClient() = default;

Result<std::unique_ptr<HttpApiClient>> HttpApiClient::create(io::Loop& loop, const KubeConfig& config) {
  FW_ASSIGN(auto http, io::HttpClient::create(loop, config.origin));
  return std::unique_ptr<HttpApiClient>(new HttpApiClient(loop, std::move(http)));
}

CallPtr HttpApiClient::send(std::string method, std::string target, const Json* body, std::string_view content_type, Done done) {
  io::HttpRequest request;
  request.method = std::move(method);
  request.target = std::move(target);
  request.headers.set("Accept", "application/json");
  if (body) {
    request.headers.set("Content-Type", std::string(content_type));
    request.body = json::serialize(*body);
  }
  auto call = std::make_unique<HttpCall>();
  call->pending = http_->request(std::move(request), [done = std::move(done)](Result<io::HttpResponse> result) {
    if (!result.ok()) return done(std::move(result).error());
    if (result->status >= 300) return done(error_of(result->status, result->body));
    boost::system::error_code ec;
    auto value = json::parse(result->body, ec);
    if (ec) return done(make_error(Code::kInternal, "the API server's answer is no JSON: " + ec.message()));
    done(std::move(value));
  });
  return call;
}

CallPtr HttpApiClient::get(const ResourceRef& ref, Done done) { return send("GET", path_of(ref), nullptr, "", std::move(done)); }

CallPtr HttpApiClient::list(const ResourceRef& ref, const ListOptions& options, Done done) {
  std::string target = path_of(ref);
  add_selectors(target, options);
  return send("GET", std::move(target), nullptr, "", std::move(done));
}

CallPtr HttpApiClient::create(const ResourceRef& ref, Json object, Done done) {
  ResourceRef collection = ref;
  if (collection.subresource.empty()) collection.name.clear();
  return send("POST", path_of(collection), &object, "application/json", std::move(done));
}

CallPtr HttpApiClient::update(const ResourceRef& ref, Json object, Done done) { return send("PUT", path_of(ref), &object, "application/json", std::move(done)); }

CallPtr HttpApiClient::patch(const ResourceRef& ref, PatchType type, Json patch, Done done) {
  std::string target = path_of(ref);
  if (type == PatchType::kApply) target += "?fieldManager=fairway&force=true";
  return send("PATCH", std::move(target), &patch, content_type_of(type), std::move(done));
}

CallPtr HttpApiClient::remove(const ResourceRef& ref, const DeleteOptions& options, Done done) {
  json::object body = {{"kind", "DeleteOptions"}, {"apiVersion", "v1"}};
  if (options.grace_period_seconds >= 0) body["gracePeriodSeconds"] = options.grace_period_seconds;
  if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
  if (!options.precondition_uid.empty()) body["preconditions"] = {{"uid", options.precondition_uid}};
  const Json value = std::move(body);
  return send("DELETE", path_of(ref), &value, "application/json", std::move(done));
}

CallPtr HttpApiClient::watch(const ResourceRef& ref, const ListOptions& options, WatchCallbacks callbacks) {
  std::string target = path_of(ref) + "?watch=true&allowWatchBookmarks=true";
  add_selectors(target, options);
  auto call = std::make_unique<WatchCall>(loop_, std::move(callbacks));
  call->start(*http_, std::move(target));
  return call;
}

}  // namespace fairway::k8s
