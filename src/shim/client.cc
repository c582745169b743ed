#include "shim/client.h"

#include <arpa/inet.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "shim/util.h"

namespace fairway::shim {

void Client::open(int fd) {
  close();
  fd_ = fd;
  set_nonblocking(fd);
}

void Client::close() {
  if (fd_ >= 0) ::close(fd_);
  fd_ = -1;
  sent_ = 0;
  std::string().swap(backlog_);
  std::string().swap(input_);
}

void Client::send(std::uint8_t channel, const char* data, std::size_t size) {
  if (fd_ < 0) return;
  char head[5];
  head[0] = static_cast<char>(channel);
  const std::uint32_t length = htonl(static_cast<std::uint32_t>(size));
  std::memcpy(head + 1, &length, 4);
  backlog_.append(head, 5).append(data, size);
  flush();
}

void Client::flush() {
  while (fd_ >= 0 && sent_ < backlog_.size()) {
    const ssize_t n = ::send(fd_, backlog_.data() + sent_, backlog_.size() - sent_, MSG_NOSIGNAL);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) return;
    if (n < 0) {
      close();
      return;
    }
    sent_ += static_cast<std::size_t>(n);
  }
  backlog_.clear();
  sent_ = 0;
}

void Client::flush_all(int timeout_ms) {
  flush();
  while (wants_write()) {
    pollfd p{fd_, POLLOUT, 0};
    if (::poll(&p, 1, timeout_ms) <= 0) return;
    flush();
  }
}

void Client::dispatch(std::uint8_t channel, const char* data, std::size_t size, Sink& sink) {
  if (channel == kStdin) sink.input(data, size);
  if (channel == kEnd && size >= 1 && data[0] == kStdin) sink.input_end();
  if (channel != kResize) return;
  const std::string text(data, size);  // {"Width":90,"Height":30}, at times with a newline
  const char* width = std::strstr(text.c_str(), "\"Width\":");
  const char* height = std::strstr(text.c_str(), "\"Height\":");
  if (width && height)
    sink.resize(static_cast<unsigned>(std::strtoul(width + 8, nullptr, 10)), static_cast<unsigned>(std::strtoul(height + 9, nullptr, 10)));
}

bool Client::receive(Sink& sink) {
  char chunk[16384];
  const ssize_t n = ::recv(fd_, chunk, sizeof chunk, 0);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) return false;
  input_.append(chunk, static_cast<std::size_t>(n));
  std::size_t at = 0;
  while (input_.size() - at >= 5) {
    std::uint32_t length;
    std::memcpy(&length, input_.data() + at + 1, 4);
    length = ntohl(length);
    if (length > kMaxFrame) return false;
    if (input_.size() - at - 5 < length) break;
    dispatch(static_cast<std::uint8_t>(input_[at]), input_.data() + at + 5, length, sink);
    at += 5 + length;
  }
  input_.erase(0, at);
  return true;
}

}  // namespace fairway::shim
