// WebSocketClient: just enough of RFC 6455 to speak with the API server's exec endpoint as kubectl does:
// binary messages, masked as a client must, pings answered, Close understood. Over a raw upgraded stream.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "io/http_client.h"

namespace fairway::cli {

class WebSocketClient {
 public:
  explicit WebSocketClient(std::unique_ptr<io::Duplex> stream);
  void start(std::function<void(std::string_view message)> on_message, std::function<void(Status)> on_end);
  void send(std::string_view message);
  void close();

 private:
  void receive(std::string_view data);
  bool take_frame();  // true while there was a whole one
  void write_frame(unsigned opcode, std::string_view payload);

  std::unique_ptr<io::Duplex> stream_;
  std::string buffer_;   // received, not yet a whole frame
  std::string message_;  // fragments so far
  bool ended_ = false;
  std::function<void(std::string_view)> on_message_;
  std::function<void(Status)> on_end_;
};

// The request that opens one: GET with the upgrade headers.
io::HttpRequest websocket_request(std::string target, std::string_view subprotocol);

}  // namespace fairway::cli
