#include "dns/upstream_sockets.h"

#include <sys/random.h>
#include <sys/socket.h>

#include <cerrno>
#include <vector>

#include "base/check.h"
#include "dns/socket_address.h"

namespace fairway::dns {

class UpstreamSockets::Socket : public Handler {
 public:
  Socket(sys::Fd fd, std::uint64_t attempt, UpstreamSockets& owner) : fd_(std::move(fd)), attempt_(attempt), owner_(owner) {}
  int fd() const { return fd_.get(); }

 protected:
  void deliver(Bytes message) { owner_.forwarder_->on_message(attempt_, message, std::chrono::steady_clock::now()); }
  void fail() { owner_.forwarder_->on_error(attempt_, std::chrono::steady_clock::now()); }

  sys::Fd fd_;
  std::uint64_t attempt_;
  UpstreamSockets& owner_;
};

class UpstreamSockets::UdpSocket : public Socket {
 public:
  using Socket::Socket;
  void on_ready(std::uint32_t) override {
    static thread_local std::array<std::uint8_t, 65535> buffer;
    while (!dead) {  // any delivery may end the attempt
      ssize_t n = recv(fd_.get(), buffer.data(), buffer.size(), MSG_DONTWAIT);
      if (n >= 0) {
        deliver(Bytes(buffer.data(), static_cast<std::size_t>(n)));
      } else if (errno == EAGAIN || errno == EINTR) {
        return;
      } else {
        return fail();  // ICMP said that nobody is there
      }
    }
  }
};

class UpstreamSockets::TcpSocket : public Socket {
 public:
  TcpSocket(sys::Fd fd, std::uint64_t attempt, UpstreamSockets& owner, Bytes query) : Socket(std::move(fd), attempt, owner) {
    out_ = {static_cast<std::uint8_t>(query.size() >> 8), static_cast<std::uint8_t>(query.size())};
    out_.insert(out_.end(), query.begin(), query.end());
  }

  void on_ready(std::uint32_t events) override {
    if (events & EPOLLERR) return fail();
    if ((events & EPOLLOUT) && !out_.empty()) {
      ssize_t n = ::send(fd_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0 && errno != EAGAIN && errno != EINTR) return fail();
      if (n > 0) out_.erase(out_.begin(), out_.begin() + n);
      if (out_.empty()) owner_.poller_.change(fd_.get(), EPOLLIN, this);
    }
    if (events & (EPOLLIN | EPOLLHUP)) read();
  }

 private:
  void read() {
    std::uint8_t chunk[4096];
    while (!dead) {
      ssize_t n = recv(fd_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
      if (n == 0) return fail();
      if (n < 0) {
        if (errno != EAGAIN && errno != EINTR) fail();
        return;
      }
      in_.insert(in_.end(), chunk, chunk + n);
      if (in_.size() < 2) continue;
      std::size_t size = get_u16(in_, 0);
      if (in_.size() < 2 + size) continue;
      deliver(Bytes(in_.data() + 2, size));
      if (!dead) fail();  // one query, one answer: what does not fit it here is a fault of that upstream
    }
  }

  std::vector<std::uint8_t> out_, in_;
};

UpstreamSockets::UpstreamSockets(Poller& poller) : poller_(poller) {}
UpstreamSockets::~UpstreamSockets() = default;

bool UpstreamSockets::send(std::uint64_t attempt, const net::SocketAddr& upstream, Bytes query, bool tcp) {
  RawAddr to = to_raw(upstream);
  sys::Fd fd(::socket(to.storage.ss_family, (tcp ? SOCK_STREAM : SOCK_DGRAM) | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
  if (!fd) return false;
  if (::connect(fd.get(), to.get(), to.size) != 0 && errno != EINPROGRESS) return false;
  if (!tcp && ::send(fd.get(), query.data(), query.size(), MSG_NOSIGNAL) != static_cast<ssize_t>(query.size())) return false;
  std::unique_ptr<Socket> socket;
  if (tcp) socket = std::make_unique<TcpSocket>(std::move(fd), attempt, *this, query);
  else socket = std::make_unique<UdpSocket>(std::move(fd), attempt, *this);
  if (!poller_.add(socket->fd(), tcp ? EPOLLIN | EPOLLOUT : EPOLLIN, socket.get()).ok()) return false;
  sockets_.emplace(attempt, std::move(socket));
  return true;
}

void UpstreamSockets::cancel(std::uint64_t attempt) {
  auto found = sockets_.find(attempt);
  if (found == sockets_.end()) return;
  poller_.remove(found->second->fd());
  poller_.retire(std::move(found->second));
  sockets_.erase(found);
}

std::uint16_t UpstreamSockets::random_id() {
  if (random_left_ == 0) {
    FW_CHECK(getrandom(random_.data(), sizeof random_, 0) == sizeof random_);  // up to 256 bytes never fails nor is cut (getrandom(2))
    random_left_ = random_.size();
  }
  return random_[--random_left_];
}

}  // namespace fairway::dns
