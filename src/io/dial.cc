#include "io/dial.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <boost/asio/io_context.hpp>
#include <boost/asio/ip/tcp.hpp>
#include <cerrno>
#include <cstring>
#include <vector>

#include "io/raw_duplex.h"
#include "io/socket_address.h"
#include "io/waiter.h"

namespace fairway::io {
namespace {

namespace asio = boost::asio;
using Resolver = asio::ip::tcp::resolver;

class Dialing : public std::enable_shared_from_this<Dialing> {
 public:
  Dialing(Loop& loop, Endpoint endpoint, std::function<void(Result<sys::Fd>)> done)
      : loop_(loop), endpoint_(std::move(endpoint)), done_(std::move(done)) {}

  void start(std::chrono::milliseconds timeout) {
    timer_ = loop_.after(timeout, [weak = weak_from_this()] {
      if (const auto self = weak.lock()) self->finish(make_error(Code::kTimeout, "connect to " + self->name() + ": timed out"));
    });
    loop_.post([self = shared_from_this()] { self->find_addresses(); });
  }
  void cancel() {
    done_ = nullptr;
    timer_.cancel();
    resolver_.reset();
    waiter_.reset();
  }

 private:
  std::string name() const {
    return endpoint_.unix_path.empty() ? endpoint_.host + " port " + std::to_string(endpoint_.port) : endpoint_.unix_path;
  }
  void find_addresses();
  void resolve();
  void try_next();
  void on_connected();
  void finish(Result<sys::Fd> result) {
    const auto done = std::move(done_);
    cancel();
    if (done) done(std::move(result));
  }

  Loop& loop_;
  Endpoint endpoint_;
  std::function<void(Result<sys::Fd>)> done_;
  std::unique_ptr<Resolver> resolver_;
  std::vector<SocketAddress> addresses_;
  std::size_t next_ = 0;
  std::unique_ptr<Waiter> waiter_;
  Error last_ = make_error(Code::kUnavailable, "no address");
  Loop::Timer timer_;
};

void Dialing::find_addresses() {
  if (!done_) return;
  Result<SocketAddress> one = endpoint_.unix_path.empty() ? ip_address(endpoint_.host, endpoint_.port) : unix_address(endpoint_.unix_path);
  if (one.ok()) {
    addresses_.push_back(*one);
    return try_next();
  }
  if (!endpoint_.unix_path.empty()) return finish(one.error());
  resolve();
}

void Dialing::resolve() {
  resolver_ = std::make_unique<Resolver>(*static_cast<asio::io_context*>(loop_.native()));
  resolver_->async_resolve(endpoint_.host, std::to_string(endpoint_.port), Resolver::numeric_service,
                           [weak = weak_from_this()](boost::system::error_code ec, const Resolver::results_type& results) {
                             const auto self = weak.lock();
                             if (!self || !self->done_) return;
                             if (ec)
                               return self->finish(make_error(Code::kUnavailable, "resolve " + self->endpoint_.host + ": " + ec.message()));
                             for (const auto& result : results) {
                               SocketAddress address;
                               address.length = static_cast<socklen_t>(result.endpoint().size());
                               std::memcpy(&address.storage, result.endpoint().data(), address.length);
                               self->addresses_.push_back(address);
                             }
                             self->try_next();
                           });
}

void Dialing::try_next() {
  while (next_ < addresses_.size()) {
    const SocketAddress& address = addresses_[next_++];
    sys::Fd fd(::socket(address.storage.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!fd) {
      last_ = errno_error(errno, "socket");
      continue;
    }
    const int rc = ::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address.storage), address.length);
    if (rc < 0 && errno != EINPROGRESS) {
      // A unix socket whose queue is full says EAGAIN; there is nothing to wait on, so the caller tries again.
      last_ = errno_error(errno, "connect to " + name());
      continue;
    }
    waiter_ = std::make_unique<Waiter>(loop_, std::move(fd));
    return waiter_->wait(Loop::Ready::kWrite, [self = shared_from_this()] { self->on_connected(); });
  }
  finish(last_);
}

void Dialing::on_connected() {
  if (!done_ || !waiter_) return;
  int error = 0;
  socklen_t length = sizeof error;
  if (::getsockopt(waiter_->fd(), SOL_SOCKET, SO_ERROR, &error, &length) < 0) error = errno;
  if (error != 0) {
    last_ = errno_error(error, "connect to " + name());
    waiter_.reset();
    return try_next();
  }
  sys::Fd fd = waiter_->release();
  if (endpoint_.unix_path.empty()) {
    const int on = 1, idle_seconds = 30, interval_seconds = 10, probes = 3;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  }
  finish(std::move(fd));
}

class DialHandle : public Pending {
 public:
  explicit DialHandle(std::shared_ptr<Dialing> dialing) : dialing_(std::move(dialing)) {}
  ~DialHandle() override { dialing_->cancel(); }

 private:
  std::shared_ptr<Dialing> dialing_;
};

constexpr std::chrono::seconds kUnixTimeout{10};

}  // namespace

std::unique_ptr<Pending> dial(Loop& loop, const Endpoint& endpoint, std::chrono::milliseconds timeout,
                              std::function<void(Result<sys::Fd>)> done) {
  auto dialing = std::make_shared<Dialing>(loop, endpoint, std::move(done));
  dialing->start(timeout);
  return std::make_unique<DialHandle>(std::move(dialing));
}

std::unique_ptr<Pending> connect_unix(Loop& loop, const std::string& path, std::function<void(Result<std::unique_ptr<Duplex>>)> done) {
  return dial(loop, Endpoint{.unix_path = path}, kUnixTimeout, [&loop, done = std::move(done)](Result<sys::Fd> fd) {
    if (!fd.ok()) return done(fd.error());
    done(make_raw_duplex(Conn::create(loop, std::move(*fd), nullptr)));
  });
}

}  // namespace fairway::io
