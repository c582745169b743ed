// One connection of the HTTP server: handshake, then request after request. Private to src/io.
//
// A session reads one request at a time; while its answer is owed, what else the client sends waits (pipelining),
// and the end of the connection is still noticed.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "io/conn.h"
#include "io/http_parser.h"
#include "io/http_server.h"

namespace fairway::io {

class HttpSession;

// What the sessions share; owned by the server.
struct ServerCore {
  Loop& loop;
  HttpServerConfig config;
  HttpServer::Handler handler;
  SslContext tls;
  std::function<void(HttpSession*)> forget;  // drops the server's reference
};

class HttpSession : public Conn::User, public std::enable_shared_from_this<HttpSession> {
 public:
  HttpSession(std::shared_ptr<ServerCore> core, std::shared_ptr<Conn> conn, Peer peer);
  void start();
  void abort();
  bool idle() const { return state_ == State::kIdle; }
  std::chrono::steady_clock::time_point idle_since() const { return idle_since_; }

  std::size_t on_data(std::string_view data) override;
  void on_end(Status status) override;
  void on_drained() override;

  // For the Responder and the BodyStream.
  void respond(HttpResponse response);
  bool begin_body(int status, Headers headers);
  void write_body(std::string data);
  void end_body();
  void accept_websocket(std::string subprotocol, std::function<void(Result<std::unique_ptr<Duplex>>)> ready);
  void upgrade(Headers headers, std::function<void(Result<std::unique_ptr<Duplex>>)> ready);
  void set_client_gone(std::function<void()> task);
  void set_body_drained(std::function<void()> task) { drained_ = std::move(task); }
  std::size_t pending_bytes() const { return conn_ ? conn_->pending_bytes() : 0; }

 private:
  enum class State { kHandshake, kIdle, kReading, kOwed, kBody, kOver };
  void on_handshake(Status status);
  void become_idle();
  void arm(std::chrono::milliseconds timeout, void (HttpSession::*then)());
  void on_request_timeout();
  void on_idle_timeout();
  std::size_t read_request(std::string_view data);
  void refuse(int status, const std::string& text);
  void dispatch();
  void finish_response();
  std::string head_of(int status, const Headers& headers, std::string_view framing) const;
  std::shared_ptr<Conn> hand_over();
  void over();
  void tell_gone();

  std::shared_ptr<ServerCore> core_;
  std::shared_ptr<Conn> conn_;
  Peer peer_;
  State state_ = State::kHandshake;
  std::unique_ptr<RequestParser> parser_;
  bool keep_alive_ = false, http11_ = true, head_only_ = false, chunked_ = false, continue_sent_ = false, gone_ = false,
       waits_for_reader_ = false;
  HttpRequest upgrade_request_;  // kept for the WebSocket handshake, without its body
  std::function<void()> client_gone_, drained_;
  Loop::Timer timer_;
  std::chrono::steady_clock::time_point idle_since_;
};

Result<ServerRequest> make_server_request(HttpRequest request, const Peer& peer, bool http11);
std::unique_ptr<Responder> make_responder(const std::shared_ptr<HttpSession>& session);

}  // namespace fairway::io
