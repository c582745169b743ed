#include "runtime/stream_sessions.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <unistd.h>

#include "sys/netns.h"

namespace fairway::runtime {

constexpr std::size_t kHighWater = 256 << 10;

LogSession::LogSession(io::Loop& loop, sys::Fd client, LogReader reader, std::string dir, bool follow, std::function<void()> end)
    : loop_(loop),
      stream_(loop, std::move(client)),
      reader_(std::move(reader)),
      dir_(std::move(dir)),
      follow_(follow),
      end_(std::move(end)) {}

void LogSession::start() {
  stream_.start({}, [this] { finish(); });
  stream_.on_drained([this] {
    if (!finished_) pump();
  });
  if (follow_) {
    inotify_ = sys::Fd(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    ::inotify_add_watch(inotify_.get(), dir_.c_str(), IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_DELETE_SELF);
    watch_ = loop_.watch(inotify_.get(), io::Loop::Ready::kRead, [this] {
      char events[4096];
      while (::read(inotify_.get(), events, sizeof events) > 0) {}
      pump();
    });
  }
  pump();
}

void LogSession::pump() {
  // Looked at before reading: what was written before the exit was recorded is then read for certain.
  const bool over = !follow_ || ::access((dir_ + "/exit").c_str(), F_OK) == 0 || ::access(dir_.c_str(), F_OK) != 0;
  while (!finished_ && stream_.pending() < kHighWater) {
    const std::string piece = reader_.next();
    if (!piece.empty()) {
      stream_.send(FrameStream::kOutput, piece);
      continue;
    }
    if (over || reader_.limit_reached()) {
      stream_.send(FrameStream::kStatus, R"({"metadata":{},"status":"Success"})");
      if (stream_.pending() == 0) finish();
      else stream_.on_drained([this] { finish(); });
    }
    return;
  }
}

void LogSession::finish() {
  if (finished_) return;
  finished_ = true;
  watch_.cancel();
  end_();
}

Result<sys::Fd> dial_in_netns(const std::string& netns, std::uint16_t port) {
  FW_ASSIGN(const sys::Fd ns, sys::open_netns(netns));
  sys::Fd out;
  std::string why;
  FW_TRY(sys::in_netns(ns, [&]() -> Status {
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    v4.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    sockaddr_in6 v6{};
    v6.sin6_family = AF_INET6;
    v6.sin6_port = htons(port);
    v6.sin6_addr = in6addr_loopback;
    const std::pair<const sockaddr*, socklen_t> addresses[] = {{reinterpret_cast<sockaddr*>(&v4), sizeof v4},
                                                               {reinterpret_cast<sockaddr*>(&v6), sizeof v6}};
    for (const auto& [address, size] : addresses) {
      sys::Fd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
      int error = fd && ::connect(fd.get(), address, size) == 0 ? 0 : errno;
      pollfd p{fd.get(), POLLOUT, 0};
      socklen_t length = sizeof error;
      // Loopback answers at once, if not within the call; a listener with a full backlog may be waited for later.
      if (fd && error == EINPROGRESS && ::poll(&p, 1, 100) > 0) ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length);
      if (error == 0 || error == EINPROGRESS) {
        out = std::move(fd);
        return {};
      }
      why += std::string(why.empty() ? "" : ", ") +
             (address->sa_family == AF_INET ? "IPv4: dial tcp4 127.0.0.1:" : "IPv6: dial tcp6 [::1]:") + std::to_string(port) + ": " +
             errno_error(error, "connect").message;
    }
    return make_error(Code::kUnavailable, "failed to connect to localhost:" + std::to_string(port) + " inside namespace, " + why);
  }));
  return out;
}

ForwardSession::ForwardSession(io::Loop& loop, sys::Fd client, sys::Fd server, std::function<void()> end)
    : loop_(loop), stream_(loop, std::move(client)), server_(std::move(server)), end_(std::move(end)) {}

void ForwardSession::start() {
  stream_.start(
      [this](std::uint8_t channel, std::string_view payload) {
        if (channel == FrameStream::kInput) pending_ += payload;
        if (channel == FrameStream::kEnd && !payload.empty() && payload[0] == FrameStream::kInput) client_ended_ = true;
        to_server();
        if (pending_.size() > kHighWater) stream_.pause(true);
      },
      [this] { finish(); });
  stream_.on_drained([this] {
    if (!read_armed_ && !server_ended_ && !finished_) arm_read();
  });
  arm_read();
}

void ForwardSession::arm_read() {
  read_armed_ = true;
  read_ = loop_.watch(server_.get(), io::Loop::Ready::kRead, [this] { from_server(); });
}

void ForwardSession::from_server() {
  char chunk[32768];
  const ssize_t n = ::recv(server_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  if (n <= 0) {
    server_ended_ = true;
    read_.cancel();
    const char which = FrameStream::kOutput;
    stream_.send(FrameStream::kEnd, std::string_view(&which, 1));
    // The server has said all: whoever wants to write to it yet would only get a reset.
    if (stream_.pending() == 0) finish();
    else stream_.on_drained([this] { finish(); });
    return;
  }
  stream_.send(FrameStream::kOutput, std::string_view(chunk, static_cast<std::size_t>(n)));
  if (stream_.pending() > kHighWater) {
    read_.cancel();
    read_armed_ = false;
  }
}

void ForwardSession::to_server() {
  while (!pending_.empty()) {
    const ssize_t n = ::send(server_.get(), pending_.data(), pending_.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && errno == EAGAIN) {
      if (!write_armed_) write_ = loop_.watch(server_.get(), io::Loop::Ready::kWrite, [this] { to_server(); });
      write_armed_ = true;
      return;
    }
    if (n < 0) {
      pending_.clear();
      break;
    }
    pending_.erase(0, static_cast<std::size_t>(n));
  }
  if (write_armed_) stream_.pause(false);
  write_.cancel();
  write_armed_ = false;
  if (client_ended_) ::shutdown(server_.get(), SHUT_WR);
}

void ForwardSession::finish() {
  if (finished_) return;
  finished_ = true;
  read_.cancel();
  write_.cancel();
  end_();
}

}  // namespace fairway::runtime
