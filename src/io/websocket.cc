#include "io/websocket.h"

#include <algorithm>
#include <boost/asio/io_context.hpp>
#include <boost/asio/post.hpp>
#include <boost/beast/core/flat_buffer.hpp>
#include <boost/beast/http/empty_body.hpp>
#include <boost/beast/http/message.hpp>
#include <boost/beast/websocket/error.hpp>
#include <boost/beast/websocket/stream.hpp>
#include <deque>
#include <utility>

namespace fairway::io {
namespace {

namespace asio = boost::asio;
namespace beast = boost::beast;
namespace websocket = beast::websocket;
using boost::system::error_code;

constexpr std::size_t kMaxMessage = 1 << 20;
constexpr std::size_t kMaxHeldBytes = 256 << 10;    // read ahead while paused, so that pings go on being answered
constexpr std::size_t kMaxQueuedBytes = 256 << 10;  // in the Conn, before a write counts as not yet done

class Completion {
 public:
  virtual ~Completion() = default;
  virtual void run(error_code ec, std::size_t bytes) = 0;
};

template <typename Handler>
class CompletionOf : public Completion {
 public:
  CompletionOf(asio::io_context& context, Handler handler) : context_(context), handler_(std::move(handler)) {}
  void run(error_code ec, std::size_t bytes) override {
    asio::post(context_, [handler = std::move(handler_), ec, bytes]() mutable { handler(ec, bytes); });
  }

 private:
  asio::io_context& context_;
  Handler handler_;
};

// Turns the Conn, which pushes, into the stream that Beast pulls from.
class Transport : public Conn::User {
 public:
  explicit Transport(std::shared_ptr<Conn> conn) : conn_(std::move(conn)) {}

  std::size_t on_data(std::string_view data) override {
    if (!read_) {
      conn_->pause();
      return 0;
    }
    const std::size_t taken = std::min(data.size(), target_.size());
    data.copy(static_cast<char*>(target_.data()), taken);
    conn_->pause();
    std::exchange(read_, nullptr)->run({}, taken);
    return taken;
  }
  void on_end(Status status) override {
    end_ = status.ok() ? error_code(asio::error::eof) : error_code(asio::error::connection_reset);
    if (read_) std::exchange(read_, nullptr)->run(end_, 0);
    if (write_ && !status.ok()) std::exchange(write_, nullptr)->run(end_, 0);
  }
  void on_drained() override {
    if (write_) std::exchange(write_, nullptr)->run({}, write_bytes_);
  }
  void read(asio::mutable_buffer target, std::unique_ptr<Completion> done) {
    if (end_) return done->run(end_, 0);
    if (target.size() == 0) return done->run({}, 0);
    target_ = target;
    read_ = std::move(done);
    conn_->resume();
  }
  void write(std::string data, std::unique_ptr<Completion> done) {
    if (end_ && end_ != asio::error::eof) return done->run(end_, 0);
    write_bytes_ = data.size();
    conn_->write(std::move(data));
    if (conn_->pending_bytes() <= kMaxQueuedBytes) return done->run({}, write_bytes_);
    write_ = std::move(done);
  }
  void close() {
    conn_->close();
    on_end(make_error(Code::kUnavailable, "closed"));
  }
  asio::io_context& context() const { return *static_cast<asio::io_context*>(conn_->loop().native()); }

 private:
  std::shared_ptr<Conn> conn_;
  asio::mutable_buffer target_;
  std::unique_ptr<Completion> read_, write_;
  std::size_t write_bytes_ = 0;
  error_code end_;
};

// Beast's AsyncStream over a Transport.
class Stream {
 public:
  using executor_type = asio::io_context::executor_type;
  explicit Stream(std::shared_ptr<Transport> transport) : transport_(std::move(transport)) {}
  executor_type get_executor() const noexcept { return transport_->context().get_executor(); }

  template <typename Buffers, typename Token>
  auto async_read_some(const Buffers& buffers, Token&& token) {
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [transport = transport_, target = first_of(buffers)](auto handler) {
          using Handler = std::decay_t<decltype(handler)>;
          transport->read(target, std::make_unique<CompletionOf<Handler>>(transport->context(), std::move(handler)));
        },
        token);
  }
  template <typename Buffers, typename Token>
  auto async_write_some(const Buffers& buffers, Token&& token) {
    std::string data;
    data.reserve(beast::buffer_bytes(buffers));
    for (const asio::const_buffer part : beast::buffers_range_ref(buffers)) {
      data.append(static_cast<const char*>(part.data()), part.size());
    }
    return asio::async_initiate<Token, void(error_code, std::size_t)>(
        [transport = transport_, text = std::move(data)](auto handler) mutable {
          using Handler = std::decay_t<decltype(handler)>;
          transport->write(std::move(text), std::make_unique<CompletionOf<Handler>>(transport->context(), std::move(handler)));
        },
        token);
  }
  std::shared_ptr<Transport> transport_;

 private:
  template <typename Buffers>
  static asio::mutable_buffer first_of(const Buffers& buffers) {
    for (const asio::mutable_buffer part : beast::buffers_range_ref(buffers)) {
      if (part.size() > 0) return part;
    }
    return {};
  }
};

template <typename Handler>
void async_teardown(beast::role_type, Stream& stream, Handler&& handler) {
  stream.transport_->close();
  asio::post(stream.get_executor(), [handler = std::forward<Handler>(handler)]() mutable { handler(error_code()); });
}

void beast_close_socket(Stream& stream) { stream.transport_->close(); }

class Session : public std::enable_shared_from_this<Session> {
 public:
  explicit Session(std::shared_ptr<Conn> conn)
      : conn_(std::move(conn)), transport_(std::make_shared<Transport>(conn_)), stream_(transport_) {
    conn_->pause();
    conn_->set_stall_limit({});
    conn_->set_user(transport_);
  }

  using Ready = std::function<void(Result<std::unique_ptr<Duplex>>)>;
  void accept(const HttpRequest& request, std::string subprotocol, Ready ready);

  void start(std::function<void(std::string_view)> on_data, std::function<void(Status)> on_end) {
    data_ = std::move(on_data);
    end_ = std::move(on_end);
    read();
  }
  void write(std::string data) {
    if (closing_ || over_) return;
    pending_ += data.size();
    queue_.push_back(std::move(data));
    if (queue_.size() == 1) send();
  }
  void pause(bool paused) {
    paused_ = paused;
    if (!paused && !held_.empty()) {
      conn_->loop().post([self = shared_from_this()] { self->release_held(); });
    }
  }
  void close() {
    if (closing_) return;
    closing_ = true;
    if (queue_.empty()) finish();
  }
  // The Duplex is gone: end the connection in good order, but tell nobody.
  void forget() {
    data_ = nullptr;
    end_ = nullptr;
    drained_ = nullptr;
    close();
  }
  std::size_t pending_bytes() const { return pending_; }
  std::function<void()> drained_;

 private:
  void read();
  void on_message();
  void release_held();
  void send();
  void finish();
  void end(Status status);

  std::shared_ptr<Conn> conn_;
  std::shared_ptr<Transport> transport_;
  websocket::stream<Stream> stream_;
  beast::flat_buffer buffer_;
  std::function<void(std::string_view)> data_;
  std::function<void(Status)> end_;
  std::deque<std::string> queue_;
  std::deque<std::string> held_;
  std::size_t pending_ = 0, held_bytes_ = 0;
  bool reading_ = false, paused_ = false, closing_ = false, over_ = false;
};

class WebSocketDuplex : public Duplex {
 public:
  explicit WebSocketDuplex(std::shared_ptr<Session> session) : session_(std::move(session)) {}
  ~WebSocketDuplex() override { session_->forget(); }
  void start(std::function<void(std::string_view)> on_data, std::function<void(Status)> on_end) override {
    session_->start(std::move(on_data), std::move(on_end));
  }
  void write(std::string data) override { session_->write(std::move(data)); }
  std::size_t pending_bytes() const override { return session_->pending_bytes(); }
  void on_drained(std::function<void()> task) override { session_->drained_ = std::move(task); }
  void pause_reading(bool paused) override { session_->pause(paused); }
  void close() override { session_->close(); }

 private:
  std::shared_ptr<Session> session_;
};

void Session::accept(const HttpRequest& request, std::string subprotocol, Ready ready) {
  namespace http = beast::http;
  auto message = std::make_shared<http::request<http::empty_body>>();
  message->method_string(request.method);
  message->target(request.target);
  for (const auto& [name, value] : request.headers.items()) message->insert(name, value);
  // Pings after half of the idle time tell a dead client from a silent one; the other limit holds for the closing as well.
  stream_.set_option(websocket::stream_base::timeout{std::chrono::seconds(10), std::chrono::seconds(300), true});
  stream_.set_option(websocket::stream_base::decorator([subprotocol](websocket::response_type& response) {
    if (!subprotocol.empty()) response.set(http::field::sec_websocket_protocol, subprotocol);
    response.erase(http::field::server);
  }));
  stream_.read_message_max(kMaxMessage);
  stream_.auto_fragment(false);
  stream_.async_accept(*message, [self = shared_from_this(), message, ready = std::move(ready)](error_code ec) {
    if (ec) {
      self->transport_->close();
      return ready(make_error(Code::kInvalid, "WebSocket handshake: " + ec.message()));
    }
    self->stream_.binary(true);
    ready(std::unique_ptr<Duplex>(new WebSocketDuplex(self)));
  });
}

void Session::read() {
  if (reading_ || over_ || held_bytes_ > kMaxHeldBytes) return;
  reading_ = true;
  stream_.async_read(buffer_, [self = shared_from_this()](error_code ec, std::size_t) {
    self->reading_ = false;
    if (ec == websocket::error::closed) return self->end({});
    if (ec) return self->end(make_error(Code::kUnavailable, "WebSocket: " + ec.message()));
    self->on_message();
  });
}

void Session::on_message() {
  const asio::const_buffer bytes = buffer_.cdata();
  const std::string_view message(static_cast<const char*>(bytes.data()), bytes.size());
  if (paused_ || !held_.empty()) {
    held_.emplace_back(message);
    held_bytes_ += message.size();
  } else if (data_) {
    const auto data = data_;  // the callback may end this Duplex and with it the function
    data(message);
  }
  buffer_.consume(buffer_.size());
  read();
}

void Session::release_held() {
  while (!paused_ && !held_.empty()) {
    const std::string message = std::move(held_.front());
    held_.pop_front();
    held_bytes_ -= message.size();
    if (const auto data = data_) data(message);
  }
  read();
}

void Session::send() {
  stream_.async_write(asio::buffer(queue_.front()), [self = shared_from_this()](error_code ec, std::size_t) {
    if (ec) {
      self->queue_.clear();
      self->pending_ = 0;
      return self->end(make_error(Code::kUnavailable, "WebSocket: " + ec.message()));
    }
    self->pending_ -= self->queue_.front().size();
    self->queue_.pop_front();
    if (!self->queue_.empty()) return self->send();
    if (const auto drained = self->drained_) drained();
    if (self->closing_ && self->queue_.empty()) self->finish();
  });
}

void Session::finish() {
  if (over_) return;
  stream_.async_close(websocket::close_code::normal, [self = shared_from_this()](error_code) { self->end({}); });
}

void Session::end(Status status) {
  if (!std::exchange(over_, true)) transport_->close();
  paused_ = false;
  release_held();  // what came before the end is seen before the end
  if (const auto end = std::exchange(end_, nullptr)) end(std::move(status));
}

}  // namespace

void accept_websocket_on(std::shared_ptr<Conn> conn, const HttpRequest& request, std::string subprotocol,
                         std::function<void(Result<std::unique_ptr<Duplex>>)> ready) {
  std::make_shared<Session>(std::move(conn))->accept(request, std::move(subprotocol), std::move(ready));
}

}  // namespace fairway::io
