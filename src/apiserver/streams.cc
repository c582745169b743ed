#include "apiserver/streams.h"

#include <algorithm>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <chrono>
#include <utility>

#include "apiserver/exec_client.h"
#include "apiserver/runtime_stream.h"
#include "apiserver/stream_query.h"

namespace fairway::apiserver {
namespace {

namespace json = boost::json;

constexpr std::size_t kMaxPendingBytes = 1 << 20;  // then the other side is not read from
constexpr std::chrono::seconds kProbeClient{1};    // while it is not

// exec and attach: the client's channels against the runtime's frames.
// Keeps itself alive by its callbacks; finish() lets go of both ends.
class ExecSession : public std::enable_shared_from_this<ExecSession> {
 public:
  ExecSession(io::Loop& loop, ExecOptions options, std::unique_ptr<io::Responder> responder)
      : loop_(loop), options_(options), responder_(std::move(responder)) {}

  // `accept` answers the request with an upgrade, once the runtime has agreed: until then an error is a Status.
  void start(const std::string& socket_path, const json::object& request, AcceptExec accept) {
    const auto self = shared_from_this();
    responder_->on_client_gone([weak = weak_from_this()] {
      if (const auto locked = weak.lock()) locked->finish();
    });
    runtime_ =
        RuntimeStream::open(loop_, socket_path, request,
                            {.on_open = [self, accept = std::move(accept)] { self->accept(accept); },
                             .on_refused =
                                 [self](const ApiError& error) {
                                   respond_error(*std::exchange(self->responder_, nullptr), error);
                                   self->finish();
                                 },
                             .on_frame = [self](std::uint8_t channel, std::string_view payload) { self->to_client(channel, payload); },
                             .on_end = [self] { self->on_runtime_end(); },
                             .on_drained =
                                 [self] {
                                   self->probe_.cancel();
                                   if (self->client_) self->client_->pause_reading(false);
                                 }});
  }

 private:
  void accept(const AcceptExec& accept);
  void pause_client();
  void to_client(std::uint8_t channel, std::string_view payload);
  void to_runtime(std::uint8_t channel, std::string_view payload);
  void on_runtime_end();
  void finish() {
    probe_.cancel();
    if (runtime_) std::exchange(runtime_, nullptr)->close();
    responder_.reset();
    if (client_) loop_.post([client = std::exchange(client_, nullptr)] {});  // one of its callbacks may be running
  }

  io::Loop& loop_;
  ExecOptions options_;
  std::unique_ptr<io::Responder> responder_;
  std::shared_ptr<RuntimeStream> runtime_;
  std::shared_ptr<ExecClient> client_;
  io::Loop::Timer probe_;
  bool status_sent_ = false;
};

void ExecSession::accept(const AcceptExec& accept) {
  const auto responder = std::exchange(responder_, nullptr);
  const auto self = shared_from_this();
  ExecClient::Callbacks callbacks{
      .on_frame = [self](std::uint8_t channel, std::string_view payload) { self->to_runtime(channel, payload); },
      .on_end = [self] { self->finish(); },
      .on_drained =
          [weak = weak_from_this()] {
            const auto locked = weak.lock();  // the handshake's own bytes drain as well: nobody can take output before `client_`
            if (locked && locked->runtime_ && locked->client_) locked->runtime_->pause(false);
          }};
  accept(*responder, options_, std::move(callbacks), [self](std::shared_ptr<ExecClient> client) {
    self->client_ = std::move(client);
    if (!self->client_ || !self->runtime_) return self->finish();
    self->runtime_->pause(false);
  });
}

void ExecSession::to_runtime(std::uint8_t channel, std::string_view payload) {
  if (!runtime_) return;
  const bool end_of_stdin = channel == kEndOf && payload.size() == 1 && payload[0] == kStdin;
  if (channel == kStdin || end_of_stdin) {
    if (!options_.input || payload.empty()) return;
  } else if (channel != kResize || !options_.tty) {
    return;
  }
  runtime_->send(channel, payload);
  if (client_ && runtime_->pending_bytes() > kMaxPendingBytes) pause_client();
}

// The FIN of a client that has gone lies behind all that it had sent, and is not seen while nobody reads. Its kernel answers a
// write with a reset. An empty piece of output is nothing to a client that lives.
void ExecSession::pause_client() {
  client_->pause_reading(true);
  if (probe_.pending() || !(options_.output || options_.error)) return;
  probe_ = loop_.every(kProbeClient, [weak = weak_from_this(), channel = options_.output ? kStdout : kStderr] {
    const auto self = weak.lock();
    if (self && self->client_ && !self->status_sent_ && self->client_->pending_bytes() == 0) self->client_->write(channel, {});
  });
}

void ExecSession::to_client(std::uint8_t channel, std::string_view payload) {
  if (!client_ || status_sent_) return;
  if ((channel == kStdout && !options_.output) || (channel == kStderr && !options_.error)) return;
  if (channel == kStatus) {
    status_sent_ = true;
    client_->finish(payload);  // its end comes back through on_end
  } else if (channel == kStdout || channel == kStderr) {
    client_->write(channel, payload);
    if (client_->pending_bytes() > kMaxPendingBytes) runtime_->pause(true);
  }
}

void ExecSession::on_runtime_end() {
  if (!status_sent_) to_client(kStatus, json::serialize(internal_error("the node's runtime ended the stream").to_status()));
  runtime_ = nullptr;
}

void serve_interactive(io::Loop& loop, const io::ServerRequest& request, std::unique_ptr<io::Responder> responder,
                       const StreamTarget& target, const char* op) {
  ApiResult<AcceptExec> accept = choose_exec_protocol(request);
  if (!accept.ok()) return respond_error(*responder, accept.error());
  ApiResult<ExecOptions> options = parse_exec_options(request);
  if (!options.ok()) return respond_error(*responder, options.error());
  ApiResult<json::object> asked = make_exec_request(request, target, *options, op);
  if (!asked.ok()) return respond_error(*responder, asked.error());
  std::make_shared<ExecSession>(loop, *options, std::move(responder))->start(target.socket_path, *asked, std::move(*accept));
}

class LogSession : public std::enable_shared_from_this<LogSession> {
 public:
  LogSession(io::Loop& loop, std::unique_ptr<io::Responder> responder) : loop_(loop), responder_(std::move(responder)) {}

  void start(const std::string& socket_path, const json::object& request) {
    const auto self = shared_from_this();
    const auto gone = [weak = weak_from_this()] {
      if (const auto locked = weak.lock()) locked->finish();
    };
    responder_->on_client_gone(gone);
    runtime_ =
        RuntimeStream::open(loop_, socket_path, request,
                            {.on_open = [self, gone] { self->begin(gone); },
                             .on_refused =
                                 [self](const ApiError& error) {
                                   respond_error(*std::exchange(self->responder_, nullptr), error);
                                   self->finish();
                                 },
                             .on_frame = [self](std::uint8_t channel, std::string_view payload) { self->on_frame(channel, payload); },
                             .on_end = [self] { self->finish(); }});
  }

 private:
  void begin(const std::function<void()>& gone) {
    io::Headers headers;
    headers.set("Content-Type", "text/plain");
    body_ = std::exchange(responder_, nullptr)->start_body(200, std::move(headers));
    body_->on_closed(gone);
    body_->on_drained([weak = weak_from_this()] {
      const auto locked = weak.lock();
      if (locked && locked->runtime_) locked->runtime_->pause(false);
    });
    runtime_->pause(false);
  }
  void on_frame(std::uint8_t channel, std::string_view payload) {
    if (channel != kStdout || !body_) return;
    body_->write(std::string(payload));
    if (body_->pending_bytes() > kMaxPendingBytes) runtime_->pause(true);
  }
  void finish() {
    if (runtime_) std::exchange(runtime_, nullptr)->close();
    body_.reset();
    responder_.reset();
  }

  io::Loop& loop_;
  std::unique_ptr<io::Responder> responder_;
  std::unique_ptr<io::BodyStream> body_;
  std::shared_ptr<RuntimeStream> runtime_;
};

}  // namespace

void serve_exec(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target) {
  serve_interactive(loop, request, std::move(responder), target, "exec");
}

void serve_attach(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target) {
  serve_interactive(loop, request, std::move(responder), target, "attach");
}

void serve_log(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target) {
  ApiResult<json::object> asked = make_log_request(request, target);
  if (!asked.ok()) return respond_error(*responder, asked.error());
  std::make_shared<LogSession>(loop, std::move(responder))->start(target.socket_path, *asked);
}

}  // namespace fairway::apiserver
