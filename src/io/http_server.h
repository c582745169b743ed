// HttpServer: HTTP/1.1 (TLS or plain, TCP or unix socket), streaming bodies, WebSocket and raw upgrades.
//
// The handler runs on the loop and must not block. Limits hold before parsing: header bytes, body bytes,
// connections, and a deadline for the TLS handshake and for each request's head and body.
#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/http.h"
#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::io {

// Who is at the other end: from a verified client certificate (CN, O...), or, on a unix socket, SO_PEERCRED.
struct Peer {
  std::string common_name;
  std::vector<std::string> organizations;
  std::optional<std::uint32_t> unix_uid;
};

struct ServerRequest : HttpRequest {
  std::string path;                                        // percent-decoded, without query
  std::vector<std::pair<std::string, std::string>> query;  // decoded, in order
  Peer peer;
  std::string_view query_value(std::string_view name) const;  // first, or empty
  bool has_query(std::string_view name) const;
};

// The body of a response that is being written piece by piece (chunked): watches, `logs -f`.
class BodyStream {
 public:
  virtual ~BodyStream() = default;  // destroying it ends the body
  virtual void write(std::string data) = 0;
  virtual std::size_t pending_bytes() const = 0;
  virtual void on_drained(std::function<void()> task) = 0;
  virtual void on_closed(std::function<void()> task) = 0;  // the client went away
};

// Answers one request; exactly one of the calls, now or later. Destroyed unused: answers 500.
class Responder {
 public:
  virtual ~Responder() = default;
  virtual void respond(HttpResponse response) = 0;
  virtual std::unique_ptr<BodyStream> start_body(int status, Headers headers) = 0;
  // Answers 101 and speaks WebSocket with this subprotocol (RFC 6455). Pings are answered by the server.
  virtual void accept_websocket(std::string subprotocol, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) = 0;
  // Answers 101 with these headers; then raw bytes both ways.
  virtual void upgrade(Headers headers, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) = 0;
  virtual void on_client_gone(std::function<void()> task) = 0;  // while the answer is still owed
};

struct ServerTls {
  std::string certificate_pem;  // chain
  std::string key_pem;
  std::string client_ca_pem;  // empty: client certificates are not asked for; else asked for, not required
};

struct HttpServerConfig {
  std::optional<ServerTls> tls;
  std::size_t max_header_bytes = 64 << 10;
  std::size_t max_body_bytes = 3 << 20;  // etcd's own limit on a request is 1.5 MiB
  std::size_t max_connections = 8192;
  std::chrono::milliseconds handshake_timeout{10'000};
  std::chrono::milliseconds request_timeout{30'000};  // head and body, once the first byte is there
  std::chrono::milliseconds idle_timeout{300'000};
};

class HttpServer {
 public:
  using Handler = std::function<void(ServerRequest, std::unique_ptr<Responder>)>;
  // Listening sockets are made by the caller (below), perhaps in another network namespace.
  static Result<std::unique_ptr<HttpServer>> create(Loop& loop, HttpServerConfig config, Handler handler);
  virtual ~HttpServer() = default;
  virtual Status serve(sys::Fd listener) = 0;  // may be called several times
};

// Listening sockets in the calling thread's network namespace. port 0 picks one.
Result<sys::Fd> listen_tcp(const std::string& ip, std::uint16_t port);
Result<sys::Fd> listen_unix(const std::string& path, unsigned mode = 0600);  // replaces a stale socket file
Result<std::uint16_t> local_port(const sys::Fd& listener);

}  // namespace fairway::io
