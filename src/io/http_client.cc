#include "io/http_client.h"

#include <algorithm>
#include <cctype>
#include <deque>
#include <utility>

#include "io/conn.h"
#include "io/dial.h"
#include "io/http_parser.h"
#include "io/http_text.h"
#include "io/raw_duplex.h"

namespace fairway::io {
namespace {

constexpr std::size_t kMaxHeadBytes = 256 << 10;
constexpr std::size_t kMaxBodyBytes = 512 << 20;  // of request(): a list of a large cluster is 200 MB
constexpr std::size_t kMaxReserveBytes = 64 << 20;
constexpr std::size_t kMaxIdle = 16;
constexpr std::chrono::seconds kIdleTimeout{60}, kConnectTimeout{10}, kHeadTimeout{30};

// A connection that waits for its next request. It notices at once when the server closes it.
class IdleConn : public Conn::User {
 public:
  std::size_t on_data(std::string_view data) override {
    usable = false;  // an answer that nobody asked for
    return data.size();
  }
  void on_end(Status) override { usable = false; }
  void on_drained() override {}
  std::shared_ptr<Conn> conn;
  std::chrono::steady_clock::time_point since;
  bool usable = true;
};

struct ClientCore {
  Loop& loop;
  Origin origin;
  SslContext tls;
  std::deque<std::shared_ptr<IdleConn>> idle;  // oldest first
  bool over = false;

  std::shared_ptr<Conn> take_idle();
  void give_idle(std::shared_ptr<Conn> conn);
  void drop_old();
};

void ClientCore::drop_old() {
  const auto limit = std::chrono::steady_clock::now() - kIdleTimeout;
  std::erase_if(idle, [&](const auto& one) {
    const bool keep = one->usable && one->since > limit;
    if (!keep) one->conn->abort();
    return !keep;
  });
}

std::shared_ptr<Conn> ClientCore::take_idle() {
  drop_old();
  if (idle.empty()) return nullptr;
  auto conn = std::move(idle.back()->conn);
  idle.pop_back();
  return conn;
}

void ClientCore::give_idle(std::shared_ptr<Conn> conn) {
  if (over || conn->has_rest() || conn->at_end() || conn->pending_bytes() > 0) return conn->abort();
  drop_old();
  if (idle.size() >= kMaxIdle) {
    idle.front()->conn->abort();
    idle.pop_front();
  }
  auto one = std::make_shared<IdleConn>();
  conn->set_user(one);
  conn->resume();
  one->conn = std::move(conn);
  one->since = std::chrono::steady_clock::now();
  idle.push_back(std::move(one));
}

// One request from its connection to its answer's end.
class Exchange : public Conn::User, public std::enable_shared_from_this<Exchange> {
 public:
  enum class Kind { kRequest, kStream, kUpgrade };
  Exchange(std::shared_ptr<ClientCore> core, Kind kind, HttpRequest request)
      : core_(std::move(core)), kind_(kind), request_(std::move(request)) {}

  std::function<void(Result<HttpResponse>)> on_response;
  StreamCallbacks callbacks;
  std::function<void(Result<std::unique_ptr<Duplex>>)> on_upgraded;

  void start(std::chrono::milliseconds timeout);
  void cancel();

  std::size_t on_data(std::string_view data) override;
  void on_end(Status status) override;
  void on_drained() override {}

 private:
  void connect();
  void on_dialed(Result<sys::Fd> fd);
  void send(std::shared_ptr<Conn> conn, bool reused);
  std::string render_head() const;
  void on_body(std::string_view piece);
  void on_head();
  void complete();
  void fail(Error error);
  bool retry_on_fresh(const Error& error);
  std::string what() const { return request_.method + " " + request_.target.substr(0, request_.target.find('?')); }

  std::shared_ptr<ClientCore> core_;
  Kind kind_;
  HttpRequest request_;
  std::unique_ptr<Pending> dialing_;
  std::shared_ptr<Conn> conn_;
  std::unique_ptr<ResponseParser> parser_;
  HttpResponse response_;
  bool reused_ = false, head_told_ = false, over_ = false, cancelled_ = false, got_bytes_ = false;
  Loop::Timer timer_;
};

void Exchange::start(std::chrono::milliseconds timeout) {
  timer_ = core_->loop.after(timeout, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->fail(make_error(Code::kTimeout, self->what() + ": no answer in time"));
  });
  core_->loop.post([weak = weak_from_this()] {
    const auto self = weak.lock();
    if (!self || self->over_) return;
    if (const Status checked = check_headers(self->request_.headers); !checked.ok()) return self->fail(checked.error());
    const auto& target = self->request_.target;
    if (target.empty() || std::any_of(target.begin(), target.end(), [](char c) { return (c >= 0 && c <= 32) || c == 127; })) {
      return self->fail(make_error(Code::kInvalid, "request target \"" + percent_encode(target) + "\" holds spaces or control characters"));
    }
    self->connect();
  });
}

void Exchange::cancel() {
  over_ = true;
  cancelled_ = true;
  timer_.cancel();
  dialing_.reset();
  if (conn_) conn_->abort();
  conn_.reset();
}

void Exchange::connect() {
  if (kind_ != Kind::kUpgrade) {
    if (auto idle = core_->take_idle()) return send(std::move(idle), true);
  }
  const Origin& origin = core_->origin;
  dialing_ = dial(core_->loop, Endpoint{origin.host, origin.port, origin.unix_path}, kConnectTimeout,
                  [weak = weak_from_this()](Result<sys::Fd> fd) {
                    if (const auto self = weak.lock()) self->on_dialed(std::move(fd));
                  });
}

void Exchange::on_dialed(Result<sys::Fd> fd) {
  if (over_) return;
  if (!fd.ok()) return fail(std::move(fd).error());
  SslPtr ssl;
  if (core_->tls) {
    Result<SslPtr> made = new_client_ssl(core_->tls, *core_->origin.tls, core_->origin.host);
    if (!made.ok()) return fail(std::move(made).error());
    ssl = std::move(*made);
  }
  conn_ = Conn::create(core_->loop, std::move(*fd), std::move(ssl));
  conn_->handshake([weak = weak_from_this()](Status status) {
    const auto self = weak.lock();
    if (!self || self->over_) return;
    if (!status.ok()) return self->fail(std::move(status).error());
    self->send(self->conn_, false);
  });
}

std::string Exchange::render_head() const {
  const Origin& origin = core_->origin;
  std::string head = request_.method + " " + request_.target + " HTTP/1.1\r\n";
  if (request_.headers.get("Host").empty()) {
    std::string host = origin.unix_path.empty() ? origin.host : "localhost";
    if (host.find(':') != std::string::npos) host = "[" + host + "]";
    if (origin.unix_path.empty() && origin.port != (origin.tls ? 443 : 80)) host += ":" + std::to_string(origin.port);
    head += "Host: " + host + "\r\n";
  }
  if (!origin.bearer_token.empty() && request_.headers.get("Authorization").empty()) {
    head += "Authorization: Bearer " + origin.bearer_token + "\r\n";
  }
  append_headers(head, request_.headers);
  const bool has_body = request_.method == "POST" || request_.method == "PUT" || request_.method == "PATCH" || !request_.body.empty();
  if (has_body && request_.headers.get("Content-Length").empty())
    head += "Content-Length: " + std::to_string(request_.body.size()) + "\r\n";
  head += "\r\n";
  return head;
}

void Exchange::send(std::shared_ptr<Conn> conn, bool reused) {
  conn_ = std::move(conn);
  reused_ = reused;
  got_bytes_ = false;
  parser_ = std::make_unique<ResponseParser>(kMaxHeadBytes, request_.method == "HEAD", [this](std::string_view piece) { on_body(piece); });
  conn_->set_rest_limit(kMaxHeadBytes + (64 << 10));
  conn_->set_user(weak_from_this());
  conn_->write(render_head());
  conn_->write(request_.body);  // a copy: a connection that was closed meanwhile makes a second try necessary
  conn_->resume();
}

std::size_t Exchange::on_data(std::string_view data) {
  const auto keep = shared_from_this();
  got_bytes_ = true;
  std::size_t taken = 0;
  while (!over_ && taken < data.size() && !parser_->done()) {
    const ParseProgress progress = parser_->feed(data.substr(taken));
    taken += progress.consumed;
    if (over_) return taken;  // a callback has cancelled
    if (progress.error_status != 0) {
      fail(make_error(Code::kUnavailable, what() + ": malformed answer: " + progress.error));
      return taken;
    }
    if (!parser_->head_done()) return taken;
    // 100 Continue, 103 Early Hints: the real answer follows.
    if (parser_->status() < 200 && parser_->status() != 101) {
      parser_ =
          std::make_unique<ResponseParser>(kMaxHeadBytes, request_.method == "HEAD", [this](std::string_view piece) { on_body(piece); });
      continue;
    }
    on_head();
    if (progress.consumed == 0) break;
  }
  if (!over_ && parser_->done()) complete();
  return taken;
}

void Exchange::on_head() {
  if (head_told_) return;
  head_told_ = true;
  if (kind_ == Kind::kStream) {
    timer_.cancel();
    if (callbacks.on_head) callbacks.on_head(parser_->status(), parser_->headers());
  } else {
    response_.status = parser_->status();
    response_.headers = parser_->headers();
    response_.body.reserve(std::min<std::uint64_t>(parser_->length_hint(), kMaxReserveBytes));
  }
}

void Exchange::on_body(std::string_view piece) {
  if (over_) return;
  on_head();  // the parser goes on to the body in the same call
  if (over_) return;
  if (kind_ == Kind::kStream) {
    if (callbacks.on_data) callbacks.on_data(piece);
    return;
  }
  if (response_.body.size() + piece.size() > kMaxBodyBytes) {
    return fail(make_error(Code::kExhausted, what() + ": the answer is larger than " + std::to_string(kMaxBodyBytes) + " bytes"));
  }
  response_.body.append(piece);
}

void Exchange::complete() {
  on_head();
  if (over_) return;
  over_ = true;
  timer_.cancel();
  const auto conn = std::move(conn_);
  if (kind_ == Kind::kUpgrade && response_.status == 101) {
    conn->pause();
    conn->set_user({});
    return core_->loop.post([keep = shared_from_this(), conn] {
      if (keep->cancelled_) return conn->abort();
      std::exchange(keep->on_upgraded, nullptr)(make_raw_duplex(conn));
    });
  }
  // After this callback the Conn stores what was left of the data, so reuse is decided in a turn of its own.
  conn->pause();
  conn->set_user({});
  if (parser_->keep_alive() && response_.status != 101) {
    core_->loop.post([core = core_, conn] { core->give_idle(conn); });
  } else {
    conn->abort();
  }
  if (kind_ == Kind::kRequest) return std::exchange(on_response, nullptr)(std::move(response_));
  if (kind_ == Kind::kStream) {
    if (auto end = std::exchange(callbacks.on_end, nullptr)) end({});
    return;
  }
  std::exchange(on_upgraded, nullptr)(make_error(Code::kUnavailable, what() + ": the server answered " + std::to_string(response_.status) +
                                                                         " instead of 101: " + response_.body.substr(0, 1024)));
}

void Exchange::on_end(Status status) {
  if (over_) return;
  const auto keep = shared_from_this();
  if (status.ok() && parser_->head_done() && !parser_->done() && parser_->feed_end().error_status == 0) return complete();
  Error error = status.ok() ? make_error(Code::kUnavailable, "the server closed the connection before the answer was complete")
                            : std::move(status).error();
  if (retry_on_fresh(error)) return;
  fail(std::move(error).with_context(what()));
}

// A kept connection may die while the request is under way. Repeating is safe where the method is idempotent.
bool Exchange::retry_on_fresh(const Error& error) {
  const bool idempotent = request_.method != "POST" && request_.method != "PATCH";
  if (!reused_ || got_bytes_ || !idempotent || error.code == Code::kTimeout) return false;
  conn_->abort();
  conn_.reset();
  for (auto& one : core_->idle) one->conn->abort();  // the server has gone or restarted: the others are dead too
  core_->idle.clear();
  connect();
  return true;
}

void Exchange::fail(Error error) {
  if (over_) return;
  const auto keep = shared_from_this();
  cancel();
  if (kind_ == Kind::kRequest) return std::exchange(on_response, nullptr)(std::move(error));
  if (kind_ == Kind::kUpgrade) return std::exchange(on_upgraded, nullptr)(std::move(error));
  if (auto end = std::exchange(callbacks.on_end, nullptr)) end(std::move(error));
}

class ExchangeHandle : public Pending {
 public:
  explicit ExchangeHandle(std::shared_ptr<Exchange> exchange) : exchange_(std::move(exchange)) {}
  ~ExchangeHandle() override { exchange_->cancel(); }

 private:
  std::shared_ptr<Exchange> exchange_;
};

class Client : public HttpClient {
 public:
  Client(Loop& loop, Origin origin, SslContext tls) : core_(std::make_shared<ClientCore>(loop, std::move(origin), std::move(tls))) {}
  ~Client() override {
    core_->over = true;
    for (auto& one : core_->idle) one->conn->abort();
    core_->idle.clear();
  }
  std::unique_ptr<Pending> request(HttpRequest request, std::function<void(Result<HttpResponse>)> done,
                                   std::chrono::milliseconds timeout) override {
    auto exchange = std::make_shared<Exchange>(core_, Exchange::Kind::kRequest, std::move(request));
    exchange->on_response = std::move(done);
    return begin(std::move(exchange), timeout);
  }
  std::unique_ptr<Pending> stream(HttpRequest request, StreamCallbacks callbacks) override {
    auto exchange = std::make_shared<Exchange>(core_, Exchange::Kind::kStream, std::move(request));
    exchange->callbacks = std::move(callbacks);
    return begin(std::move(exchange), kHeadTimeout);
  }
  std::unique_ptr<Pending> upgrade(HttpRequest request, std::function<void(Result<std::unique_ptr<Duplex>>)> done) override {
    auto exchange = std::make_shared<Exchange>(core_, Exchange::Kind::kUpgrade, std::move(request));
    exchange->on_upgraded = std::move(done);
    return begin(std::move(exchange), kHeadTimeout);
  }

 private:
  std::unique_ptr<Pending> begin(std::shared_ptr<Exchange> exchange, std::chrono::milliseconds timeout) {
    exchange->start(timeout);
    return std::make_unique<ExchangeHandle>(std::move(exchange));
  }
  std::shared_ptr<ClientCore> core_;
};

}  // namespace

Result<std::unique_ptr<HttpClient>> HttpClient::create(Loop& loop, Origin origin) {
  if (origin.unix_path.empty() && (origin.host.empty() || origin.port == 0)) {
    return make_error(Code::kInvalid, "HTTP client: no host and port, and no unix socket");
  }
  const auto bad = [](char c) { return (c >= 0 && c <= 32) || c == 127; };
  if (std::any_of(origin.bearer_token.begin(), origin.bearer_token.end(), bad)) {
    return make_error(Code::kInvalid, "HTTP client: the bearer token holds spaces or control characters");
  }
  SslContext tls;
  if (origin.tls) { FW_ASSIGN(tls, make_client_context(*origin.tls)); }
  return std::unique_ptr<HttpClient>(new Client(loop, std::move(origin), std::move(tls)));
}

}  // namespace fairway::io
