// HTTP/1.1 messages and byte streams: what the server (http_server.h) and the client (http_client.h) share.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fairway::io {

// Ordered; names compare without case.
class Headers {
 public:
  void set(std::string_view name, std::string value);  // replaces
  void add(std::string_view name, std::string value);  // appends
  std::string_view get(std::string_view name) const;   // first value, or empty
  const std::vector<std::pair<std::string, std::string>>& items() const { return items_; }

 private:
  std::vector<std::pair<std::string, std::string>> items_;
};

struct HttpRequest {
  std::string method = "GET";
  std::string target = "/";  // path and query, percent-encoded
  Headers headers;
  std::string body;
};

struct HttpResponse {
  int status = 200;
  Headers headers;
  std::string body;
};

// A duplex byte stream after an upgrade, or a WebSocket reduced to messages. All calls and callbacks on the loop.
// Writing after the end is ignored. `on_end` is called exactly once, unless the object is destroyed first.
class Duplex {
 public:
  virtual ~Duplex() = default;
  // Set both at once, right after receiving the object. ByteStream: any cut of the stream; WebSocket: one message.
  virtual void start(std::function<void(std::string_view data)> on_data, std::function<void(Status)> on_end) = 0;
  virtual void write(std::string data) = 0;                 // one message on a WebSocket (binary)
  virtual std::size_t pending_bytes() const = 0;            // accepted by write() and not yet sent: bound it
  virtual void on_drained(std::function<void()> task) = 0;  // called each time pending_bytes() falls to 0
  virtual void pause_reading(bool paused) = 0;              // back-pressure towards the peer
  virtual void close() = 0;                                 // sends what is pending (WebSocket: Close 1000), then ends
};

std::string percent_decode(std::string_view text);  // also '+' as space is NOT done: paths
std::string percent_encode(std::string_view text);  // leaves RFC 3986 unreserved characters

}  // namespace fairway::io
