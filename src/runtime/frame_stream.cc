#include "runtime/frame_stream.h"

#include <arpa/inet.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <memory>

namespace fairway::runtime {

constexpr std::size_t kMaxFrame = 1 << 20;

FrameStream::FrameStream(io::Loop& loop, sys::Fd fd) : loop_(loop), fd_(std::move(fd)) {}

void FrameStream::start(std::function<void(std::uint8_t, std::string_view)> on_frame, std::function<void()> on_gone) {
  on_frame_ = std::move(on_frame);
  on_gone_ = std::move(on_gone);
  pause(false);
}

void FrameStream::pause(bool paused) {
  if (paused) read_watch_.cancel();
  else read_watch_ = loop_.watch(fd_.get(), io::Loop::Ready::kRead, [this] { readable(); });
}

void FrameStream::post(std::function<void()> task) {
  loop_.post([alive = std::weak_ptr<bool>(alive_), task = std::move(task)] {
    if (!alive.expired()) task();
  });
}

void FrameStream::readable() {
  char chunk[16384];
  const ssize_t n = ::recv(fd_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n > 0) in_.append(chunk, static_cast<std::size_t>(n));
  std::string input = std::move(in_);
  in_.clear();
  std::size_t at = 0;
  bool bad = n <= 0;
  std::uint32_t length = 0;
  for (; input.size() - at >= 5; at += 5 + length) {
    std::memcpy(&length, input.data() + at + 1, 4);
    length = ntohl(length);
    if (length > kMaxFrame) {
      bad = true;
      break;
    }
    if (input.size() - at - 5 < length) break;
    if (on_frame_) on_frame_(static_cast<std::uint8_t>(input[at]), std::string_view(input).substr(at + 5, length));
  }
  in_.insert(0, input, at, std::string::npos);
  if (!bad) return;
  read_watch_.cancel();
  if (on_gone_) post(std::exchange(on_gone_, nullptr));
}

void FrameStream::send(std::uint8_t channel, std::string_view payload) {
  char head[5] = {static_cast<char>(channel)};
  const std::uint32_t length = htonl(static_cast<std::uint32_t>(payload.size()));
  std::memcpy(head + 1, &length, 4);
  out_.append(head, 5).append(payload);
  flush();
}

void FrameStream::flush() {
  while (!out_.empty()) {
    const ssize_t n = ::send(fd_.get(), out_.data(), out_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      write_watch_ = loop_.watch(fd_.get(), io::Loop::Ready::kWrite, [this] { flush(); });
      return;
    }
    if (n < 0) {
      out_.clear();
      break;
    }  // the reading side will see that the peer has gone
    out_.erase(0, static_cast<std::size_t>(n));
  }
  write_watch_.cancel();
  if (on_drained_) post(on_drained_);
}

}  // namespace fairway::runtime
