#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "dns/listeners.h"

namespace fairway::dns {

namespace {

constexpr std::size_t kOutBytes = 256 << 10;  // answers not yet taken by the client: then its queries wait
constexpr unsigned kPending = 64;             // queries of one connection not yet answered: likewise
constexpr std::size_t kHeaderBytes = 12;

// Of a query that is too long, the header alone: to the resolver that is one with nothing in it, and FORMERR its answer.
std::size_t kept_bytes(std::size_t query_bytes) { return query_bytes > kMaxQueryBytes ? kHeaderBytes : query_bytes; }

}  // namespace

class TcpListener : public Handler {
 public:
  TcpListener(sys::Fd fd, TcpServer& server) : fd_(std::move(fd)), server_(server) {}
  int fd() const { return fd_.get(); }
  void on_ready(std::uint32_t) override { server_.accept_all(*this); }

 private:
  sys::Fd fd_;
  TcpServer& server_;
};

class TcpConnection : public Handler {
 public:
  TcpConnection(sys::Fd fd, net::IpAddr client, TcpServer& server) : fd_(std::move(fd)), client_(client), server_(server) {}
  int fd() const { return fd_.get(); }
  const net::IpAddr& client() const { return client_; }

  void on_ready(std::uint32_t events) override {
    if (events & (EPOLLERR | EPOLLHUP)) return server_.close(*this);
    if ((events & EPOLLOUT) && !flush()) return server_.close(*this);
    if ((events & EPOLLIN) && !read()) return server_.close(*this);
    take_queries();
  }

  Time last_active;
  std::list<std::unique_ptr<TcpConnection>>::iterator place;

 private:
  bool read() {
    std::uint8_t chunk[4096];
    ssize_t n = recv(fd_.get(), chunk, sizeof chunk, MSG_DONTWAIT);
    if (n < 0) return errno == EAGAIN || errno == EINTR;
    if (n == 0) {
      ended_ = true;  // answers may still be owed
      return pending_ > 0 || !out_.empty();
    }
    std::size_t skipped = std::min(skip_, static_cast<std::size_t>(n));
    skip_ -= skipped;
    in_.insert(in_.end(), chunk + skipped, chunk + n);
    return true;
  }

  // Queries in the buffer, one by one, as far as the limits go. May close the connection.
  void take_queries() {
    std::size_t at = 0;
    bool bad = false;
    while (!bad && pending_ < kPending && out_.size() < kOutBytes && in_.size() - at >= 2) {
      std::size_t size = get_u16(in_, at);
      if (size < kHeaderBytes || queries_ >= server_.limits_.tcp_queries) {
        bad = true;
        break;
      }
      std::size_t kept = kept_bytes(size);
      if (in_.size() - at - 2 < kept) break;
      std::vector<std::uint8_t> message(in_.begin() + static_cast<std::ptrdiff_t>(at + 2),
                                        in_.begin() + static_cast<std::ptrdiff_t>(at + 2 + kept));
      at += 2 + kept;
      skip_ = size - kept;
      std::size_t skipped = std::min(skip_, in_.size() - at);
      skip_ -= skipped;
      at += skipped;
      ++queries_;
      ++pending_;
      server_.touch(*this, std::chrono::steady_clock::now());
      server_.sink_.query(message, Resolver::Via::kTcp, [alive = std::weak_ptr<TcpConnection*>(self_)](std::vector<std::uint8_t> answer) {
        if (auto connection = alive.lock()) (*connection)->answer(answer);
      });
    }
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(at));
    if (bad || broken_ || (ended_ && pending_ == 0 && out_.empty())) return server_.close(*this);
    update();
  }

  void answer(const std::vector<std::uint8_t>& message) {
    if (pending_ > 0) --pending_;
    out_.push_back(static_cast<std::uint8_t>(message.size() >> 8));
    out_.push_back(static_cast<std::uint8_t>(message.size()));
    out_.insert(out_.end(), message.begin(), message.end());
    broken_ |= !flush();
    update();  // take_queries() or the next event goes on from here
  }

  bool flush() {
    while (!out_.empty()) {
      ssize_t n = send(fd_.get(), out_.data(), out_.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
      if (n < 0) return errno == EAGAIN || errno == EINTR;
      out_.erase(out_.begin(), out_.begin() + n);
      last_active = std::chrono::steady_clock::now();
    }
    return true;
  }

  void update() {
    bool room = pending_ < kPending && out_.size() < kOutBytes;
    std::uint32_t events = (room && !ended_ ? static_cast<std::uint32_t>(EPOLLIN) : 0u);
    // Whole queries wait in the buffer, or it is over: come back as soon as the socket takes data, which is at once.
    bool more = room && in_.size() >= 2 && in_.size() >= 2u + kept_bytes(get_u16(in_, 0));
    bool over = broken_ || (ended_ && pending_ == 0);
    if (!out_.empty() || more || over) events |= EPOLLOUT;
    if (events == events_) return;
    events_ = events;
    server_.poller_.change(fd_.get(), events, this);
  }

  sys::Fd fd_;
  net::IpAddr client_;
  TcpServer& server_;
  std::shared_ptr<TcpConnection*> self_ = std::make_shared<TcpConnection*>(this);
  std::vector<std::uint8_t> in_, out_;
  std::size_t skip_ = 0;  // what is still to come of a query that is not kept
  unsigned pending_ = 0, queries_ = 0;
  std::uint32_t events_ = EPOLLIN;
  bool ended_ = false, broken_ = false;
};

TcpServer::TcpServer(const DnsLimits& limits, Poller& poller, QuerySink& sink) : limits_(limits), poller_(poller), sink_(sink) {}
TcpServer::~TcpServer() = default;

Status TcpServer::listen(sys::Fd fd, bool shared) {
  auto listener = std::make_unique<TcpListener>(std::move(fd), *this);
  FW_TRY(poller_.add(listener->fd(), EPOLLIN, listener.get(), shared));
  listeners_.push_back(std::move(listener));
  return {};
}

void TcpServer::accept_all(TcpListener& listener) {
  for (int i = 0; i < 64; ++i) {
    sockaddr_storage from{};
    socklen_t size = sizeof from;
    sys::Fd fd(accept4(listener.fd(), reinterpret_cast<sockaddr*>(&from), &size, SOCK_NONBLOCK | SOCK_CLOEXEC));
    if (!fd) {
      if (errno == EMFILE || errno == ENFILE || errno == ENOMEM || errno == ENOBUFS) {
        if (connections_.empty()) {  // nothing of ours to close: look again at the next sweep
          poller_.remove(listener.fd());
          paused_.push_back(&listener);
          return;
        }
        ++refused_;
        close(*connections_.front());
        continue;
      }
      return;
    }
    net::IpAddr client = from_raw(from).addr;
    if (auto open = per_client_.find(client); open != per_client_.end() && open->second >= limits_.tcp_per_client) {
      ++refused_;
      continue;
    }
    if (connections_.size() >= limits_.tcp_connections) {  // a newcomer's query is worth more than an idle connection
      ++refused_;
      close(*connections_.front());
    }
    int one = 1;
    (void)setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    auto connection = std::make_unique<TcpConnection>(std::move(fd), client, *this);
    connection->last_active = std::chrono::steady_clock::now();
    if (!poller_.add(connection->fd(), EPOLLIN, connection.get()).ok()) continue;
    ++per_client_[client];
    connections_.push_back(std::move(connection));
    connections_.back()->place = std::prev(connections_.end());
  }
}

void TcpServer::touch(TcpConnection& connection, Time now) {
  connection.last_active = now;
  connections_.splice(connections_.end(), connections_, connection.place);
}

void TcpServer::close(TcpConnection& connection) {
  poller_.remove(connection.fd());
  auto count = per_client_.find(connection.client());
  if (--count->second == 0) per_client_.erase(count);
  auto place = connection.place;
  std::unique_ptr<TcpConnection> owned = std::move(*place);
  connections_.erase(place);
  poller_.retire(std::move(owned));
}

void TcpServer::sweep(Time now) {
  for (auto it = connections_.begin(); it != connections_.end();) {
    TcpConnection& connection = **it++;
    if (now - connection.last_active < milliseconds(limits_.tcp_idle_ms)) continue;
    ++expired_;
    close(connection);
  }
  for (TcpListener* listener : std::exchange(paused_, {})) (void)poller_.add(listener->fd(), EPOLLIN, listener);
}

}  // namespace fairway::dns
