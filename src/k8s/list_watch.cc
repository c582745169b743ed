#include "k8s/list_watch.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <random>

#include "k8s/decode.h"
#include "k8s/watch_stream.h"

namespace fairway::k8s {
namespace {

constexpr std::size_t kMaxPageBytes = 512 << 20;

std::mt19937& random_source() {
  static std::mt19937 source{std::random_device{}()};
  return source;
}

// Of an HTTP answer that is no success.
Error status_error(int status, std::string_view body) {
  const Code code = status == 410   ? Code::kGone
                    : status == 401 ? Code::kUnauthorized
                    : status == 403 ? Code::kForbidden
                    : status == 404 ? Code::kNotFound
                                    : Code::kUnavailable;
  std::string text(body.substr(0, 200));
  std::replace_if(
      text.begin(), text.end(), [](unsigned char c) { return c < 32 || c > 126; }, ' ');
  return make_error(code, "HTTP " + std::to_string(status) + ": " + text);
}

// Versions of one resource grow (KEP-5504); what is no number cannot be compared.
bool is_older(std::string_view version, std::string_view seen) {
  const auto number = [](std::string_view text) -> std::optional<std::uint64_t> {
    std::uint64_t out = 0;
    const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), out);
    return ec == std::errc() && end == text.data() + text.size() ? std::optional(out) : std::nullopt;
  };
  const auto a = number(version), b = number(seen);
  return a && b && *a < *b;
}

}  // namespace

struct ListWatch::Impl {
  Impl(io::Loop& l, ApiServers& s, Kind kind, std::string p, Callbacks c, ListWatchTiming t)
      : loop(l), servers(s), path(std::move(p)), callbacks(std::move(c)), timing(t), decoder(kind) {}

  io::Loop& loop;
  ApiServers& servers;
  std::string path;
  Callbacks callbacks;
  ListWatchTiming timing;
  State state;

  Decoder decoder;
  std::unique_ptr<WatchStream> stream;
  std::unique_ptr<io::Pending> pending;
  std::size_t server = 0;  // which one `pending` goes to
  io::Loop::Timer retry_timer, silence_timer;
  unsigned failures = 0, absent = 0;
  std::string continue_token;
  int watch_status = 0;
  std::chrono::steady_clock::time_point watch_began{};  // a new one has its time to speak, however long the last was silent
  std::string error_body;

  void list_page();
  void on_page(Result<io::HttpResponse> answer);
  void on_absent();
  void watch();
  void on_watch_data(std::string_view data);
  void on_watch_end(Status status);
  void on_event(const WatchEvent& event);
  void on_silence();
  void heard();
  void trouble(Error error, bool relist);
  void later(std::chrono::milliseconds delay, bool relist);
  Error watch_error = make_error(Code::kInternal, "");
  bool watch_failed = false;  // an event said so; the stream's end brings it up
};

void ListWatch::Impl::heard() { state.heard = std::chrono::steady_clock::now(); }

void ListWatch::Impl::later(std::chrono::milliseconds delay, bool relist) {
  // Ends what is under way only now: this may be called from within its callback.
  retry_timer = loop.after(delay, [this, relist] {
    pending.reset();
    stream.reset();
    if (relist || state.revision.empty()) {
      continue_token.clear();
      list_page();
    } else {
      watch();
    }
  });
}

void ListWatch::Impl::trouble(Error error, bool relist) {
  silence_timer.cancel();
  state.phase = "waiting";
  state.last_error = error.message;
  if (error.code != Code::kGone) servers.failed(server);
  const auto ceiling = std::min(timing.backoff_min * (1 << std::min(failures, 10U)), timing.backoff_max);
  ++failures;
  const auto half = ceiling.count() / 2;
  later(std::chrono::milliseconds(half + std::uniform_int_distribution<long>(0, std::max(half, 1L))(random_source())), relist);
}

void ListWatch::Impl::list_page() {
  state.phase = "listing";
  io::HttpRequest request;
  request.target = path + "?limit=" + std::to_string(timing.page_items);
  if (!continue_token.empty()) request.target += "&continue=" + io::percent_encode(continue_token);
  request.headers.set("Accept", "application/json");
  servers.authorize(request);
  const auto current = servers.current();
  server = current.number;
  pending = current.client->request(std::move(request), [this](Result<io::HttpResponse> answer) { on_page(std::move(answer)); });
}

void ListWatch::Impl::on_page(Result<io::HttpResponse> answer) {
  if (!answer.ok()) return trouble(std::move(answer).error().with_context("list " + path), true);
  heard();
  if (answer->status == 404 && callbacks.on_absent) return on_absent();
  if (answer->status != 200) return trouble(status_error(answer->status, answer->body).with_context("list " + path), true);
  std::string& body = answer->body;
  if (body.size() > kMaxPageBytes) return trouble(make_error(Code::kInvalid, "list " + path + ": a page of more than 512 MiB"), true);
  if (continue_token.empty()) callbacks.on_list_begin();
  body.reserve(body.size() + Decoder::kPadding);
  const auto meta = decoder.decode_list(body, [this] {
    ++state.events;
    callbacks.on_put(decoder.object());
  });
  if (!meta.ok()) return trouble(Error(meta.error()).with_context("list " + path), true);
  failures = absent = 0;
  state.last_error.clear();
  continue_token = meta->continue_token;
  if (continue_token.empty()) {
    ++state.lists;
    state.revision = meta->resource_version;
    state.synced = true;
    callbacks.on_list_end();
  }
  callbacks.on_batch();
  // The request's own callback must not replace it.
  retry_timer = loop.after(std::chrono::nanoseconds(0), [this] {
    pending.reset();
    if (continue_token.empty()) watch();
    else list_page();
  });
}

void ListWatch::Impl::on_absent() {
  constexpr unsigned kSoon = 3;
  state.phase = "absent";
  state.last_error.clear();
  failures = 0;
  absent = std::min(absent + 1, kSoon);
  later(absent < kSoon ? timing.backoff_min : timing.absent_retry, true);
  callbacks.on_absent(absent);
  callbacks.on_batch();
}

void ListWatch::Impl::watch() {
  state.phase = "watching";
  const auto third = timing.watch_lifetime.count() / 3;
  const auto seconds = timing.watch_lifetime.count() - std::uniform_int_distribution<long>(0, std::max(third, 1L))(random_source());
  io::HttpRequest request;
  request.target = path + "?watch=true&allowWatchBookmarks=true&resourceVersion=" + io::percent_encode(state.revision) +
                   "&timeoutSeconds=" + std::to_string(seconds);
  request.headers.set("Accept", "application/json");
  servers.authorize(request);
  stream = std::make_unique<WatchStream>(decoder, [this](const WatchEvent& event) { on_event(event); });
  watch_status = 0;
  watch_failed = false;
  error_body.clear();
  const auto current = servers.current();
  server = current.number;
  watch_began = std::chrono::steady_clock::now();
  silence_timer = loop.after(timing.silence, [this] { on_silence(); });
  pending = current.client->stream(std::move(request), {[this](int status, const io::Headers&) {
                                                          watch_status = status;
                                                          heard();
                                                          if (status != 200) return;
                                                          failures = 0;
                                                          state.last_error.clear();
                                                        },
                                                        [this](std::string_view data) { on_watch_data(data); },
                                                        [this](Status status) { on_watch_end(std::move(status)); }});
}

void ListWatch::Impl::on_silence() {
  const auto quiet = std::chrono::steady_clock::now() - std::max(state.heard, watch_began);
  if (quiet < timing.silence) {
    silence_timer = loop.after(timing.silence - quiet, [this] { on_silence(); });
    return;
  }
  ++state.reconnects;
  trouble(make_error(Code::kTimeout, "watch " + path + ": no word from the server"), false);
}

void ListWatch::Impl::on_watch_data(std::string_view data) {
  heard();
  if (watch_status != 200) {
    if (error_body.size() < 4096) error_body.append(data.substr(0, 4096));
    return;
  }
  if (watch_failed) return;
  const Status fed = stream->feed(data);
  callbacks.on_batch();
  if (fed.ok() || watch_failed) return;
  watch_failed = true;
  // What was missed cannot be known: list anew.
  ++state.reconnects;
  trouble(Error(fed.error()).with_context("watch " + path), true);
}

void ListWatch::Impl::on_event(const WatchEvent& event) {
  if (watch_failed) return;  // the rest of a piece whose order is broken
  ++state.events;
  if (is_older(event.resource_version, state.revision)) {
    // No row knows its version, so what this event may overwrite cannot be told: only a list tells the truth again.
    watch_failed = true;
    ++state.reconnects;
    return trouble(make_error(Code::kInvalid, "watch " + path + ": an event came out of order"), true);
  }
  switch (event.type) {
    case WatchType::kAdded:
    case WatchType::kModified:
      callbacks.on_put(decoder.object());
      break;
    case WatchType::kDeleted:
      callbacks.on_remove(decoder.object());
      break;
    case WatchType::kBookmark:
      break;
    case WatchType::kError:
      watch_failed = true;
      ++state.reconnects;
      return trouble(status_error(event.error_code, event.error_message).with_context("watch " + path), event.error_code == 410);
  }
  if (!event.resource_version.empty()) state.revision = event.resource_version;
}

void ListWatch::Impl::on_watch_end(Status status) {
  if (watch_failed) return;  // in hand already
  ++state.reconnects;
  if (!status.ok()) return trouble(std::move(status).error().with_context("watch " + path), false);
  if (watch_status != 200) {
    Error error = status_error(watch_status, error_body).with_context("watch " + path);
    // 400: the server does not know this revision; 404: it no longer knows this API.
    const bool relist = error.code == Code::kGone || watch_status == 400 || watch_status == 404;
    return trouble(std::move(error), relist);
  }
  silence_timer.cancel();
  later(std::chrono::milliseconds(std::uniform_int_distribution<int>(0, 50)(random_source())), false);
}

ListWatch::ListWatch(io::Loop& loop, ApiServers& servers, Kind kind, std::string path, Callbacks callbacks, ListWatchTiming timing)
    : impl_(std::make_unique<Impl>(loop, servers, kind, std::move(path), std::move(callbacks), timing)) {
  impl_->list_page();
}
ListWatch::~ListWatch() = default;
const ListWatch::State& ListWatch::state() const { return impl_->state; }

}  // namespace fairway::k8s
