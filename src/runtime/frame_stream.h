// FrameStream: the frames of docs/architecture.md over a connection, on the loop: u8 channel, u32 length, payload.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::runtime {

class FrameStream {
 public:
  enum Channel : std::uint8_t { kInput = 0, kOutput = 1, kStatus = 3, kEnd = 255 };
  FrameStream(io::Loop& loop, sys::Fd fd);

  // `on_frame` may be empty. `on_gone`: the peer left. Neither runs inside a call to this object but from the loop.
  void start(std::function<void(std::uint8_t channel, std::string_view payload)> on_frame, std::function<void()> on_gone);
  void send(std::uint8_t channel, std::string_view payload);
  std::size_t pending() const { return out_.size(); }
  void on_drained(std::function<void()> task) { on_drained_ = std::move(task); }
  void pause(bool paused);

 private:
  void readable();
  void flush();
  void post(std::function<void()> task);

  io::Loop& loop_;
  sys::Fd fd_;
  std::string in_, out_;
  std::function<void(std::uint8_t, std::string_view)> on_frame_;
  std::function<void()> on_gone_, on_drained_;
  io::Loop::Watch read_watch_, write_watch_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // what is posted must not outlive us
};

}  // namespace fairway::runtime
