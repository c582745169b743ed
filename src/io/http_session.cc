#include "io/http_session.h"

#include <ctime>
#include <utility>

#include "base/check.h"
#include "io/http_text.h"
#include "io/raw_duplex.h"
#include "io/websocket.h"

namespace fairway::io {
namespace {

constexpr std::size_t kRestSlackBytes = 16 << 10;  // beyond the largest head, so that the parser sees the excess and says so
constexpr std::size_t kMaxQueuedBytes = 1 << 20;

std::string http_date() {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[40];
  return std::string(text, std::strftime(text, sizeof text, "%a, %d %b %Y %H:%M:%S GMT", &parts));
}

bool forbids_body(int status) { return status == 204 || status == 304 || status < 200; }

}  // namespace

HttpSession::HttpSession(std::shared_ptr<ServerCore> core, std::shared_ptr<Conn> conn, Peer peer)
    : core_(std::move(core)), conn_(std::move(conn)), peer_(std::move(peer)) {
  conn_->set_rest_limit(core_->config.max_header_bytes + kRestSlackBytes);
}

void HttpSession::start() {
  conn_->set_user(weak_from_this());
  arm(core_->config.handshake_timeout, &HttpSession::on_idle_timeout);
  conn_->handshake([weak = weak_from_this()](Status status) {
    if (const auto self = weak.lock()) self->on_handshake(std::move(status));
  });
}

void HttpSession::on_handshake(Status status) {
  if (!status.ok()) return over();
  if (conn_->ssl()) peer_ = peer_of(conn_->ssl());
  become_idle();
}

void HttpSession::arm(std::chrono::milliseconds timeout, void (HttpSession::*then)()) {
  timer_ = core_->loop.after(timeout, [weak = weak_from_this(), then] {
    if (const auto self = weak.lock()) (self.get()->*then)();
  });
}

void HttpSession::become_idle() {
  state_ = State::kIdle;
  idle_since_ = std::chrono::steady_clock::now();
  parser_.reset();
  arm(core_->config.idle_timeout, &HttpSession::on_idle_timeout);
  if (conn_->at_end() && !conn_->has_rest()) return over();
  // A client that sends requests and reads no answers is not served on: on_drained() goes on.
  waits_for_reader_ = conn_->pending_bytes() > kMaxQueuedBytes;
  if (!waits_for_reader_) conn_->resume();
}

void HttpSession::on_idle_timeout() { over(); }
void HttpSession::on_request_timeout() { refuse(408, "the request was not complete in time"); }

void HttpSession::abort() {
  state_ = State::kOver;
  timer_.cancel();
  client_gone_ = nullptr;
  drained_ = nullptr;
  if (conn_) conn_->abort();
  conn_.reset();
}

void HttpSession::over() {
  if (state_ == State::kOver) return;
  const auto self = shared_from_this();  // the server's reference goes
  state_ = State::kOver;
  timer_.cancel();
  if (conn_) conn_->close();
  conn_.reset();
  core_->forget(this);
}

// ---- reading

std::size_t HttpSession::on_data(std::string_view data) {
  if ((state_ != State::kIdle && state_ != State::kReading) || waits_for_reader_) return 0;
  std::size_t skipped = 0;
  if (state_ == State::kIdle) {
    // RFC 9112 2.2: empty lines before a request are ignored.
    while (skipped < data.size() && (data[skipped] == '\r' || data[skipped] == '\n')) ++skipped;
    if (skipped == data.size()) return skipped;
    state_ = State::kReading;
    continue_sent_ = false;
    parser_ = std::make_unique<RequestParser>(core_->config.max_header_bytes, core_->config.max_body_bytes);
    arm(core_->config.request_timeout, &HttpSession::on_request_timeout);
  }
  return skipped + read_request(data.substr(skipped));
}

std::size_t HttpSession::read_request(std::string_view data) {
  const auto keep = shared_from_this();
  const ParseProgress progress = parser_->feed(data);
  if (progress.error_status != 0) {
    refuse(progress.error_status, progress.error);
    return data.size();
  }
  if (parser_->done()) {
    dispatch();
  } else if (parser_->head_done() && !continue_sent_) {
    continue_sent_ = true;
    if (parser_->http11() && equal_no_case(parser_->headers().get("Expect"), "100-continue")) conn_->write("HTTP/1.1 100 Continue\r\n\r\n");
  }
  return progress.consumed;
}

void HttpSession::on_end(Status status) {
  const auto keep = shared_from_this();
  gone_ = true;
  if (status.ok() && (state_ == State::kOwed || state_ == State::kBody)) return tell_gone();  // it may still read the answer
  tell_gone();
  over();
}

void HttpSession::on_drained() {
  if (std::exchange(waits_for_reader_, false) && state_ == State::kIdle) conn_->resume();
  if (const auto task = drained_; task && state_ == State::kBody) task();
}

void HttpSession::tell_gone() {
  if (const auto task = std::exchange(client_gone_, nullptr)) task();
}

void HttpSession::set_client_gone(std::function<void()> task) {
  client_gone_ = std::move(task);
  if (!gone_ || !client_gone_) return;
  core_->loop.post([weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->tell_gone();
  });
}

void HttpSession::dispatch() {
  timer_.cancel();
  state_ = State::kOwed;
  http11_ = parser_->http11();
  keep_alive_ = parser_->keep_alive();
  head_only_ = parser_->request().method == "HEAD";
  Result<ServerRequest> request = make_server_request(std::move(parser_->request()), peer_, http11_);
  parser_.reset();
  if (!request.ok()) return refuse(400, request.error().message);
  upgrade_request_ = {};
  if (!request->headers.get("Upgrade").empty()) { upgrade_request_ = HttpRequest{request->method, request->target, request->headers, {}}; }
  core_->handler(std::move(*request), make_responder(shared_from_this()));
}

// ---- answering

std::string HttpSession::head_of(int status, const Headers& headers, std::string_view framing) const {
  std::string head = "HTTP/1.1 " + std::to_string(status) + " ";
  head += reason_of(status);
  head += "\r\n";
  if (headers.get("Date").empty()) head += "Date: " + http_date() + "\r\n";
  append_headers(head, headers);
  head += framing;
  if (status != 101) head += keep_alive_ ? (http11_ ? "" : "Connection: keep-alive\r\n") : "Connection: close\r\n";
  head += "\r\n";
  return head;
}

void HttpSession::refuse(int status, const std::string& text) {
  keep_alive_ = false;
  state_ = State::kOwed;
  HttpResponse response{status, {}, text + "\n"};
  response.headers.set("Content-Type", "text/plain; charset=utf-8");
  respond(std::move(response));
}

void HttpSession::respond(HttpResponse response) {
  if (state_ != State::kOwed) return;
  if (const Status checked = check_headers(response.headers); !checked.ok()) {
    response = HttpResponse{500, {}, checked.error().message + "\n"};
  }
  std::string framing;
  if (!forbids_body(response.status)) framing = "Content-Length: " + std::to_string(response.body.size()) + "\r\n";
  conn_->set_stall_limit(core_->config.request_timeout);
  conn_->write(head_of(response.status, response.headers, framing));
  if (!head_only_ && !forbids_body(response.status)) conn_->write(std::move(response.body));
  finish_response();
}

void HttpSession::finish_response() {
  client_gone_ = nullptr;
  drained_ = nullptr;
  if (keep_alive_) return become_idle();
  over();
}

bool HttpSession::begin_body(int status, Headers headers) {
  if (state_ != State::kOwed) return false;
  if (const Status checked = check_headers(headers); !checked.ok()) {
    respond(HttpResponse{500, {}, checked.error().message + "\n"});
    return false;
  }
  chunked_ = http11_ && !forbids_body(status);
  if (!chunked_) keep_alive_ = false;
  state_ = State::kBody;
  client_gone_ = nullptr;
  conn_->set_stall_limit({});  // who pauses `logs -f` for a minute is not to be cut off
  conn_->write(head_of(status, headers, chunked_ ? "Transfer-Encoding: chunked\r\n" : ""));
  return true;
}

void HttpSession::write_body(std::string data) {
  if (state_ != State::kBody || head_only_ || data.empty()) return;
  if (!chunked_) return conn_->write(std::move(data));
  char size[24];
  std::snprintf(size, sizeof size, "%zx\r\n", data.size());
  conn_->write(size);
  conn_->write(std::move(data));
  conn_->write("\r\n");
}

void HttpSession::end_body() {
  if (state_ != State::kBody) return;
  if (chunked_ && !head_only_) conn_->write("0\r\n\r\n");
  finish_response();
}

// ---- upgrades

std::shared_ptr<Conn> HttpSession::hand_over() {
  FW_CHECK(state_ == State::kOwed);
  const auto keep = shared_from_this();
  conn_->pause();
  conn_->set_user({});
  auto conn = std::move(conn_);
  client_gone_ = nullptr;
  over();
  return conn;
}

void HttpSession::accept_websocket(std::string subprotocol, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) {
  if (state_ != State::kOwed) return;
  const HttpRequest request = std::move(upgrade_request_);
  accept_websocket_on(hand_over(), request, std::move(subprotocol), std::move(ready));
}

void HttpSession::upgrade(Headers headers, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) {
  if (state_ != State::kOwed) return;
  headers.set("Connection", "Upgrade");
  const Status checked = check_headers(headers);
  if (!checked.ok()) {
    respond(HttpResponse{500, {}, checked.error().message + "\n"});
    return core_->loop.post([ready = std::move(ready), error = checked.error()] { ready(error); });
  }
  const std::string head = head_of(101, headers, "");
  const auto core = core_;
  const auto conn = hand_over();
  conn->write(head);
  core->loop.post([conn, ready = std::move(ready)] { ready(make_raw_duplex(conn)); });
}

}  // namespace fairway::io
