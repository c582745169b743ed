#include "k8s/http_api_client.h"

#include <algorithm>
#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <random>
#include <utility>

#include "io/http_client.h"
#include "k8s/status_code.h"
#include "k8s/token_file.h"

namespace fairway::k8s {
namespace {

namespace json = boost::json;
using std::chrono::steady_clock;

constexpr std::size_t kMaxLineBytes = 16 << 20;  // one watch event; etcd stops objects at 1.5 MiB, a Table may be larger
constexpr std::size_t kMaxErrorBytes = 1 << 20;
constexpr std::size_t kMaxDepth = 128;
constexpr std::chrono::seconds kListTimeout{120}, kSilenceCheck{15};
constexpr std::chrono::seconds kSilence{150};  // bookmarks come every minute, from the lab's server every half of one

Result<Json> parse_json(std::string_view text) {
  json::parse_options options;
  options.max_depth = kMaxDepth;
  boost::system::error_code ec;
  Json value = json::parse(text, ec, {}, options);
  if (ec) return make_error(Code::kInvalid, "JSON: " + ec.message());
  return value;
}

std::string text_of(const json::object& object, std::string_view key) {
  const Json* value = object.if_contains(key);
  return value && value->is_string() ? std::string(value->get_string()) : std::string();
}

Error error_of_status(const Json& status) {
  const json::object* fields = status.if_object();
  if (!fields) return make_error(Code::kInternal, "the server answered with something that is no Status");
  int number = 0;
  if (const Json* code = fields->if_contains("code"); code && code->is_int64()) number = static_cast<int>(code->get_int64());
  const std::string reason = text_of(*fields, "reason");
  std::string message = text_of(*fields, "message");
  if (message.empty()) message = reason.empty() ? "the server answered " + std::to_string(number) : reason;
  Error error = make_error(code_of_status(number, reason), std::move(message));
  error.reason = reason;
  return error;
}

void add_query(std::string& path, bool& first, std::string_view name, const std::string& value) {
  if (value.empty()) return;
  path += std::exchange(first, false) ? '?' : '&';
  path += name;
  path += '=';
  path += io::percent_encode(value);
}

std::string_view content_type_of(PatchType type) {
  switch (type) {
    case PatchType::kJson:
      return "application/json-patch+json";
    case PatchType::kMerge:
      return "application/merge-patch+json";
    case PatchType::kStrategic:
      return "application/strategic-merge-patch+json";
    case PatchType::kApply:
      return "application/apply-patch+yaml";
  }
  return "application/json";
}

struct HttpCall : Call {
  std::unique_ptr<io::Pending> pending;
};

// A watch under way. The Call owns it; callbacks that end the Call meanwhile find `over` set.
class Watch : public std::enable_shared_from_this<Watch> {
 public:
  Watch(io::Loop& loop, WatchCallbacks callbacks) : loop_(loop), callbacks_(std::move(callbacks)), heard_(steady_clock::now()) {}

  void start(io::HttpClient& client, io::HttpRequest request) {
    silence_ = loop_.every(kSilenceCheck, [weak = weak_from_this()] {
      const auto self = weak.lock();
      if (self && steady_clock::now() - self->heard_ > kSilence) self->end(make_error(Code::kTimeout, "watch: the server fell silent"));
    });
    pending_ = client.stream(std::move(request), {.on_head =
                                                      [this](int status, const io::Headers&) {
                                                        status_ = status;
                                                        heard_ = steady_clock::now();
                                                      },
                                                  .on_data =
                                                      [this](std::string_view data) {
                                                        const auto keep = shared_from_this();
                                                        on_data(data);
                                                      },
                                                  .on_end =
                                                      [this](Status status) {
                                                        const auto keep = shared_from_this();
                                                        on_stream_end(std::move(status));
                                                      }});
  }
  void cancel() {
    over_ = true;
    silence_.cancel();
    pending_.reset();
  }

 private:
  void on_data(std::string_view data);
  void on_line(std::string_view line);
  void on_stream_end(Status status);
  void end(Result<void> result) {
    if (over_) return;
    const auto keep = shared_from_this();
    cancel();
    if (const auto done = std::exchange(callbacks_.on_end, nullptr)) done(std::move(result));
  }

  io::Loop& loop_;
  WatchCallbacks callbacks_;
  steady_clock::time_point heard_;
  std::unique_ptr<io::Pending> pending_;
  io::Loop::Timer silence_;
  std::string partial_;
  int status_ = 0;
  bool over_ = false;
};

void Watch::on_data(std::string_view data) {
  heard_ = steady_clock::now();
  if (status_ != 200) {
    partial_.append(data.substr(0, kMaxErrorBytes - std::min(partial_.size(), kMaxErrorBytes)));
    return;
  }
  while (!over_ && !data.empty()) {
    const std::size_t newline = data.find('\n');
    const std::string_view piece = data.substr(0, newline);
    if (partial_.size() + piece.size() > kMaxLineBytes) {
      return end(make_error(Code::kExhausted, "watch: an event is larger than " + std::to_string(kMaxLineBytes) + " bytes"));
    }
    if (newline == std::string_view::npos) {
      partial_.append(piece);
      return;
    }
    data.remove_prefix(newline + 1);
    if (partial_.empty()) {
      on_line(piece);  // whole in the receive buffer: no copy
    } else {
      partial_.append(piece);
      const std::string line = std::exchange(partial_, {});
      on_line(line);
    }
  }
}

void Watch::on_line(std::string_view line) {
  if (line.empty() || line == "\r") return;
  Result<Json> event = parse_json(line);
  if (!event.ok()) return end(std::move(event).error().with_context("watch event"));
  json::object* fields = event->if_object();
  Json* object = fields ? fields->if_contains("object") : nullptr;
  if (!object || !object->is_object()) return end(make_error(Code::kInvalid, "watch event: no object"));
  const std::string type = text_of(*fields, "type");
  if (type == "ERROR") return end(error_of_status(*object).with_context("watch"));
  EventType kind;
  if (type == "ADDED") kind = EventType::kAdded;
  else if (type == "MODIFIED") kind = EventType::kModified;
  else if (type == "DELETED") kind = EventType::kDeleted;
  else if (type == "BOOKMARK") kind = EventType::kBookmark;
  else return end(make_error(Code::kInvalid, "watch event: unknown type \"" + type.substr(0, 64) + "\""));
  if (callbacks_.on_event) callbacks_.on_event(kind, std::move(*object));
}

void Watch::on_stream_end(Status status) {
  if (!status.ok()) return end(std::move(status));
  if (status_ != 200) return end(error_of(status_, partial_).with_context("watch"));
  if (!partial_.empty()) return end(make_error(Code::kUnavailable, "watch: the stream ended within an event"));
  end({});
}

struct WatchCall : Call {
  explicit WatchCall(std::shared_ptr<Watch> w) : watch(std::move(w)) {}
  ~WatchCall() override { watch->cancel(); }
  std::shared_ptr<Watch> watch;
};

class Client : public HttpApiClient {
 public:
  using Dial = std::function<io::HttpClient&()>;
  Client(io::Loop& loop, KubeConfig config, std::string manager, Dial dial)
      : loop_(loop),
        config_(std::move(config)),
        manager_(std::move(manager)),
        dial_(std::move(dial)),
        random_(std::random_device{}()),
        token_(config_.token_file) {}

  CallPtr get(const ResourceRef& ref, Done done) override { return send("GET", path_of(ref), {}, std::move(done)); }
  CallPtr list(const ResourceRef& ref, const ListOptions& options, Done done) override {
    return send("GET", list_target(ref, options, {}), {}, std::move(done), kListTimeout);
  }
  CallPtr create(const ResourceRef& ref, Json object, Done done) override {
    ResourceRef at = ref;
    if (at.subresource.empty()) at.name.clear();  // the object's own name is in it
    return send("POST", managed(at), json::serialize(object), std::move(done));
  }
  CallPtr update(const ResourceRef& ref, Json object, Done done) override {
    return send("PUT", managed(ref), json::serialize(object), std::move(done));
  }
  CallPtr patch(const ResourceRef& ref, PatchType type, Json patch, Done done) override {
    std::string target = managed(ref);
    if (type == PatchType::kApply) target += "&force=true";
    return send("PATCH", std::move(target), json::serialize(patch), std::move(done), std::chrono::seconds(30), content_type_of(type));
  }
  CallPtr remove(const ResourceRef& ref, const DeleteOptions& options, Done done) override;
  CallPtr watch(const ResourceRef& ref, const ListOptions& options, WatchCallbacks callbacks) override;

 private:
  CallPtr send(std::string method, std::string target, std::string body, Done done, std::chrono::seconds timeout = std::chrono::seconds(30),
               std::string_view content_type = "application/json");
  io::HttpRequest make_request(std::string method, std::string target);
  std::string managed(const ResourceRef& ref) const { return path_of(ref) + "?fieldManager=" + io::percent_encode(manager_); }
  static std::string list_target(const ResourceRef& ref, const ListOptions& options, const std::string& watch_timeout);

  io::Loop& loop_;
  KubeConfig config_;
  std::string manager_;
  Dial dial_;
  std::mt19937_64 random_;
  TokenFile token_;
};

std::string Client::list_target(const ResourceRef& ref, const ListOptions& options, const std::string& watch_timeout) {
  std::string target = path_of(ref);
  bool first = true;
  if (!watch_timeout.empty()) {
    add_query(target, first, "watch", "true");
    add_query(target, first, "allowWatchBookmarks", "true");
    add_query(target, first, "timeoutSeconds", watch_timeout);
  }
  add_query(target, first, "labelSelector", options.label_selector);
  add_query(target, first, "fieldSelector", options.field_selector);
  add_query(target, first, "resourceVersion", options.resource_version);
  return target;
}

io::HttpRequest Client::make_request(std::string method, std::string target) {
  io::HttpRequest request;
  request.method = std::move(method);
  request.target = config_.path_prefix + target;
  request.headers.set("Accept", "application/json");
  request.headers.set("User-Agent", manager_);
  token_.authorize(request);
  return request;
}

CallPtr Client::send(std::string method, std::string target, std::string body, Done done, std::chrono::seconds timeout,
                     std::string_view content_type) {
  io::HttpRequest request = make_request(std::move(method), std::move(target));
  if (!body.empty()) request.headers.set("Content-Type", std::string(content_type));
  request.body = std::move(body);
  auto call = std::make_unique<HttpCall>();
  call->pending = dial_().request(
      std::move(request),
      [done = std::move(done)](Result<io::HttpResponse> answer) {
        if (!answer.ok()) return done(std::move(answer).error());
        if (answer->status < 200 || answer->status > 299) return done(error_of(answer->status, answer->body));
        if (answer->body.empty()) return done(Json(json::object()));
        done(parse_json(answer->body));
      },
      timeout);
  return call;
}

CallPtr Client::remove(const ResourceRef& ref, const DeleteOptions& options, Done done) {
  json::object body{{"apiVersion", "v1"}, {"kind", "DeleteOptions"}};
  if (options.grace_period_seconds >= 0) body["gracePeriodSeconds"] = options.grace_period_seconds;
  if (!options.propagation_policy.empty()) body["propagationPolicy"] = options.propagation_policy;
  if (!options.precondition_uid.empty()) body["preconditions"] = json::object{{"uid", options.precondition_uid}};
  return send("DELETE", path_of(ref), json::serialize(body), std::move(done));
}

CallPtr Client::watch(const ResourceRef& ref, const ListOptions& options, WatchCallbacks callbacks) {
  // Spread, so that the watches of many nodes do not end at the same time.
  const std::chrono::seconds timeout(300 + random_() % 300);
  auto watch = std::make_shared<Watch>(loop_, std::move(callbacks));
  watch->start(dial_(), make_request("GET", list_target(ref, options, std::to_string(timeout.count()))));
  return std::make_unique<WatchCall>(std::move(watch));
}

}  // namespace

std::string path_of(const ResourceRef& ref) {
  std::string path = ref.group.empty() ? "/api/" : "/apis/" + io::percent_encode(ref.group) + "/";
  path += io::percent_encode(ref.version);
  if (!ref.ns.empty()) path += "/namespaces/" + io::percent_encode(ref.ns);
  path += "/" + io::percent_encode(ref.resource);
  if (!ref.name.empty()) path += "/" + io::percent_encode(ref.name);
  if (!ref.subresource.empty()) path += "/" + io::percent_encode(ref.subresource);
  return path;
}

Error error_of(int http_status, std::string_view body) {
  if (Result<Json> parsed = parse_json(body.substr(0, kMaxErrorBytes)); parsed.ok() && parsed->is_object()) {
    if (text_of(parsed->get_object(), "kind") == "Status") {
      if (!parsed->get_object().contains("code")) parsed->get_object()["code"] = http_status;
      return error_of_status(*parsed);
    }
  }
  return make_error(code_of_status(http_status, ""),
                    "the server answered " + std::to_string(http_status) + (body.empty() ? "" : ": " + std::string(body.substr(0, 512))));
}

Result<std::unique_ptr<HttpApiClient>> HttpApiClient::create(io::Loop& loop, KubeConfig config, std::string field_manager) {
  FW_ASSIGN(std::unique_ptr<io::HttpClient> http, io::HttpClient::create(loop, config.origin));
  auto dial = [own = std::shared_ptr<io::HttpClient>(std::move(http))]() -> io::HttpClient& { return *own; };
  return create_over(loop, std::move(dial), std::move(config), std::move(field_manager));
}

std::unique_ptr<HttpApiClient> HttpApiClient::create_over(io::Loop& loop, std::function<io::HttpClient&()> dial, KubeConfig config,
                                                          std::string field_manager) {
  return std::make_unique<Client>(loop, std::move(config), std::move(field_manager), std::move(dial));
}

}  // namespace fairway::k8s
