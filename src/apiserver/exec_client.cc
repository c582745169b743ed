#include "apiserver/exec_client.h"

#include <array>
#include <map>
#include <utility>

#include "apiserver/runtime_stream.h"
#include "apiserver/spdy.h"
#include "sys/log.h"

namespace fairway::apiserver {
namespace {

using Ready = std::function<void(std::shared_ptr<ExecClient>)>;

// One message a frame; its first byte is the channel.
class WebSocketExec : public ExecClient {
 public:
  WebSocketExec(std::unique_ptr<io::Duplex> duplex, Callbacks callbacks) : duplex_(std::move(duplex)) {
    duplex_->on_drained(callbacks.on_drained);
    duplex_->start(
        [on_frame = callbacks.on_frame](std::string_view message) {
          if (!message.empty()) on_frame(static_cast<std::uint8_t>(message[0]), message.substr(1));
        },
        [on_end = callbacks.on_end](Status) { on_end(); });
  }
  void write(std::uint8_t channel, std::string_view payload) override {
    std::string message;
    message.reserve(payload.size() + 1);
    message += static_cast<char>(channel);
    message += payload;
    duplex_->write(std::move(message));
  }
  void finish(std::string_view status) override {
    write(kStatus, status);
    duplex_->close();
  }
  std::size_t pending_bytes() const override { return duplex_->pending_bytes(); }
  void pause_reading(bool paused) override { duplex_->pause_reading(paused); }

 private:
  std::unique_ptr<io::Duplex> duplex_;
};

void accept_websocket(const std::string& subprotocol, io::Responder& responder, const ExecOptions& options, ExecClient::Callbacks callbacks,
                      Ready ready) {
  responder.accept_websocket(
      subprotocol, [options, callbacks = std::move(callbacks), ready = std::move(ready)](Result<std::unique_ptr<io::Duplex>> made) {
        if (!made.ok()) return ready(nullptr);
        auto client = std::make_shared<WebSocketExec>(std::move(*made), callbacks);
        // As upstream does: an empty message on the first channel tells the client that the stream stands.
        if (options.output || options.error) client->write(options.output ? kStdout : kStderr, {});
        ready(std::move(client));
      });
}

// One SPDY stream a channel, opened by the client and told apart by the header `streamtype`.
class SpdyExec : public ExecClient, public std::enable_shared_from_this<SpdyExec> {
 public:
  SpdyExec(std::unique_ptr<io::Duplex> duplex, const ExecOptions& options, Callbacks callbacks)
      : duplex_(std::move(duplex)),
        options_(options),
        callbacks_(std::move(callbacks)),
        spdy_({.on_stream = [this](std::uint32_t stream, const SpdyHeaders& headers, bool) { on_stream(stream, headers); },
               .on_data = [this](std::uint32_t stream, std::string_view data, bool fin) { on_data(stream, data, fin); },
               .on_reset = [](std::uint32_t) {},
               .send = [this](std::string bytes) { duplex_->write(std::move(bytes)); }}) {}

  // `ready` is called once all the streams that the options ask for are there.
  void start(Ready ready) {
    ready_ = std::move(ready);
    duplex_->on_drained(callbacks_.on_drained);
    // Until `ready` has taken this over, the stream's own callbacks keep it.
    duplex_->start([self = shared_from_this()](std::string_view bytes) { self->on_bytes(bytes); },
                   [self = shared_from_this()](Status) { self->end(); });
  }
  void write(std::uint8_t channel, std::string_view payload) override {
    if (const std::uint32_t stream = streams_[channel]) spdy_.data(stream, payload, false);
  }
  void finish(std::string_view status) override {
    if (const std::uint32_t stream = streams_[kStatus]) spdy_.data(stream, status, true);
    for (const Channel channel : {kStdout, kStderr, kStdin}) {
      if (const std::uint32_t stream = streams_[channel]) spdy_.data(stream, {}, true);
    }
    duplex_->close();
  }
  std::size_t pending_bytes() const override { return duplex_->pending_bytes(); }
  void pause_reading(bool paused) override { duplex_->pause_reading(paused); }

 private:
  void on_bytes(std::string_view bytes) {
    const Status fed = spdy_.feed(bytes);
    if (fed.ok()) return;
    log::warn("exec", "{}", fed.error().message);
    duplex_->close();
  }
  void on_stream(std::uint32_t stream, const SpdyHeaders& headers);
  void on_data(std::uint32_t stream, std::string_view data, bool fin);
  void end() {
    if (auto ready = std::exchange(ready_, nullptr)) ready(nullptr);
    callbacks_.on_end();
  }

  std::unique_ptr<io::Duplex> duplex_;
  ExecOptions options_;
  Callbacks callbacks_;
  SpdyServer spdy_;
  Ready ready_;
  std::array<std::uint32_t, 5> streams_{};  // by channel; 0: not there
};

void SpdyExec::on_stream(std::uint32_t stream, const SpdyHeaders& headers) {
  static const std::map<std::string, Channel> kTypes = {
      {"stdin", kStdin}, {"stdout", kStdout}, {"stderr", kStderr}, {"error", kStatus}, {"resize", kResize}};
  auto type = kTypes.end();
  for (const auto& [name, value] : headers) {
    if (name == "streamtype") type = kTypes.find(value);
  }
  if (type == kTypes.end() || streams_[type->second] != 0 || stream == 0) return spdy_.reset(stream);
  streams_[type->second] = stream;
  spdy_.reply(stream);
  const bool complete = streams_[kStatus] && (!options_.input || streams_[kStdin]) && (!options_.output || streams_[kStdout]) &&
                        (!options_.error || streams_[kStderr]) && (!options_.tty || streams_[kResize]);
  if (!complete || !ready_) return;
  std::exchange(ready_, nullptr)(shared_from_this());
}

void SpdyExec::on_data(std::uint32_t stream, std::string_view data, bool fin) {
  if (stream == 0) return;
  if (stream == streams_[kStdin]) {
    if (!data.empty()) callbacks_.on_frame(kStdin, data);
    if (fin) callbacks_.on_frame(kEndOf, std::string_view("\0", 1));
  } else if (stream == streams_[kResize] && !data.empty()) {
    callbacks_.on_frame(kResize, data);
  }
}

void accept_spdy(io::Responder& responder, const ExecOptions& options, ExecClient::Callbacks callbacks, Ready ready) {
  io::Headers headers;
  headers.set("Upgrade", "SPDY/3.1");
  headers.set("X-Stream-Protocol-Version", "v4.channel.k8s.io");
  responder.upgrade(std::move(headers),
                    [options, callbacks = std::move(callbacks), ready = std::move(ready)](Result<std::unique_ptr<io::Duplex>> made) {
                      if (!made.ok()) return ready(nullptr);
                      std::make_shared<SpdyExec>(std::move(*made), options, callbacks)->start(ready);
                    });
}

}  // namespace

ApiResult<AcceptExec> choose_exec_protocol(const io::ServerRequest& request) {
  if (wants_websocket(request)) {
    const std::string chosen = choose_subprotocol(request.headers, "Sec-WebSocket-Protocol", {"v5.channel.k8s.io", "v4.channel.k8s.io"});
    if (chosen.empty()) return bad_request("the WebSocket subprotocol has to be v5.channel.k8s.io or v4.channel.k8s.io");
    return AcceptExec([chosen](io::Responder& responder, const ExecOptions& options, ExecClient::Callbacks callbacks, Ready ready) {
      accept_websocket(chosen, responder, options, std::move(callbacks), std::move(ready));
    });
  }
  if (choose_subprotocol(request.headers, "Upgrade", {"SPDY/3.1"}).empty())
    return bad_request("an upgrade to WebSocket or SPDY/3.1 is needed");
  if (choose_subprotocol(request.headers, "X-Stream-Protocol-Version", {"v4.channel.k8s.io"}).empty()) {
    return generic(403, "Forbidden", "X-Stream-Protocol-Version has to be v4.channel.k8s.io");
  }
  return AcceptExec(accept_spdy);
}

}  // namespace fairway::apiserver
