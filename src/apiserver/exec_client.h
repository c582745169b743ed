// The client's end of exec and attach, whichever protocol carries it: channels in, channels out.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "apiserver/api_error.h"
#include "apiserver/stream_query.h"
#include "io/http_server.h"

namespace fairway::apiserver {

class ExecClient {
 public:
  struct Callbacks {
    // Channels as in runtime_stream.h: stdin, resize, end of stdin.
    std::function<void(std::uint8_t channel, std::string_view payload)> on_frame;
    std::function<void()> on_end;  // the client has gone, or the stream has ended after finish()
    std::function<void()> on_drained;
  };
  virtual ~ExecClient() = default;
  virtual void write(std::uint8_t channel, std::string_view payload) = 0;
  virtual void finish(std::string_view status) = 0;  // the final Status, then the end
  virtual std::size_t pending_bytes() const = 0;
  virtual void pause_reading(bool paused) = 0;
};

// Answers with an upgrade; then `ready` gets the client, or null where the handshake failed.
using AcceptExec =
    std::function<void(io::Responder&, const ExecOptions&, ExecClient::Callbacks, std::function<void(std::shared_ptr<ExecClient>)> ready)>;

// What the request's headers ask for: WebSocket v5 or v4, or SPDY/3.1 v4. Anything else is an error.
ApiResult<AcceptExec> choose_exec_protocol(const io::ServerRequest& request);

}  // namespace fairway::apiserver
