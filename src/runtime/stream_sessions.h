// The streams that the runtime itself serves: logs and port-forward; and the wait for an exec's shim.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

#include "runtime/frame_stream.h"
#include "runtime/log_file.h"
#include "runtime/process.h"
#include "runtime/stream_server.h"

namespace fairway::runtime {

class ShimWait final : public StreamServer::Session {
 public:
  ShimWait(io::Loop& loop, sys::Fd pidfd, std::function<void()> end)
      : pidfd_(std::move(pidfd)), watch_(loop.watch(pidfd_.get(), io::Loop::Ready::kRead, [this, end = std::move(end)] {
          watch_.cancel();
          reap(pidfd_);
          end();
        })) {}

 private:
  sys::Fd pidfd_;
  io::Loop::Watch watch_;
};

class LogSession final : public StreamServer::Session {
 public:
  // `dir`: the attempt's folder; a follower ends once the container's exit is recorded in it.
  LogSession(io::Loop& loop, sys::Fd client, LogReader reader, std::string dir, bool follow, std::function<void()> end);
  void start();

 private:
  void pump();
  void finish();
  io::Loop& loop_;
  FrameStream stream_;
  LogReader reader_;
  std::string dir_;
  bool follow_, finished_ = false;
  std::function<void()> end_;
  sys::Fd inotify_;
  io::Loop::Watch watch_;
};

class ForwardSession final : public StreamServer::Session {
 public:
  ForwardSession(io::Loop& loop, sys::Fd client, sys::Fd server, std::function<void()> end);
  void start();

 private:
  void arm_read();
  void from_server();
  void to_server();
  void finish();
  io::Loop& loop_;
  FrameStream stream_;
  sys::Fd server_;
  std::string pending_;  // for the server
  bool client_ended_ = false, server_ended_ = false, finished_ = false, read_armed_ = false, write_armed_ = false;
  std::function<void()> end_;
  io::Loop::Watch read_, write_;
};

// Connects to 127.0.0.1:port, then to [::1]:port, inside a network namespace.
Result<sys::Fd> dial_in_netns(const std::string& netns, std::uint16_t port);

}  // namespace fairway::runtime
