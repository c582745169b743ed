// One stream to a node's runtime (docs/architecture.md, "The node runtime's socket"): a line of JSON, the answer's
// line, then frames `u8 channel, u32 length, payload` both ways.
//
// Frames of data come in any cut; those of control (Status, resize, end of channel) come whole, 64 KiB at most.
#pragma once

#include <boost/json/fwd.hpp>
#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "apiserver/api_error.h"
#include "io/http_client.h"
#include "io/loop.h"

namespace fairway::apiserver {

enum Channel : std::uint8_t { kStdin = 0, kStdout = 1, kStderr = 2, kStatus = 3, kResize = 4, kEndOf = 255 };

class RuntimeStream : public std::enable_shared_from_this<RuntimeStream> {
 public:
  struct Callbacks {                           // all but on_drained have to be there
    std::function<void()> on_open;             // reading is paused until resume()
    std::function<void(ApiError)> on_refused;  // instead of on_open
    std::function<void(std::uint8_t channel, std::string_view payload)> on_frame;
    std::function<void()> on_end;  // after on_open, once: the runtime has closed the stream
    std::function<void()> on_drained;
  };
  static std::shared_ptr<RuntimeStream> open(io::Loop& loop, const std::string& socket_path, const boost::json::object& request,
                                             Callbacks callbacks);
  ~RuntimeStream();

  void pause(bool paused);
  void send(std::uint8_t channel, std::string_view payload);
  std::size_t pending_bytes() const;
  void close();  // no callback afterwards

 private:
  RuntimeStream(io::Loop& loop, Callbacks callbacks);
  void on_connected(Result<std::unique_ptr<io::Duplex>> made, std::string line);
  void on_bytes(std::string_view bytes);
  void on_answer(std::string_view line);
  void take_frames(std::string_view bytes);
  void refuse(ApiError error);
  void end();

  io::Loop& loop_;
  std::shared_ptr<Callbacks> callbacks_;  // gone once the stream is over
  std::unique_ptr<io::Pending> dialing_;
  std::unique_ptr<io::Duplex> duplex_;
  io::Loop::Timer deadline_;
  std::string head_;  // the answer's line, then the head of the frame at hand
  std::string control_;
  std::size_t left_ = 0;
  std::uint8_t channel_ = 0;
  bool open_ = false, in_payload_ = false, over_ = false, paused_ = false, ended_early_ = false;
  std::string early_;  // frames that came before the caller was ready
};

}  // namespace fairway::apiserver
