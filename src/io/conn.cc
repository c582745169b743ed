#include "io/conn.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <cerrno>

namespace fairway::io {
namespace {

constexpr std::size_t kScratchBytes = 128 << 10;
constexpr int kReadRounds = 4;  // then others on the loop get their turn
constexpr std::size_t kTlsRecordBytes = 16 << 10;
constexpr std::size_t kDirectBytes = 4 << 10;  // pieces from this size on are not worth joining
constexpr std::chrono::milliseconds kCloseStall{30'000};
constexpr std::chrono::seconds kLinger{2};
constexpr int kMaxIov = 64;

// Filled and handed on within one callback, so one for each thread is enough, whatever the number of connections.
char* scratch() {
  thread_local std::unique_ptr<char[]> buffer(new char[kScratchBytes]);
  return buffer.get();
}

}  // namespace

std::shared_ptr<Conn> Conn::create(Loop& loop, sys::Fd fd, SslPtr ssl) {
  return std::shared_ptr<Conn>(new Conn(loop, std::move(fd), std::move(ssl)));
}

Conn::Conn(Loop& loop, sys::Fd fd, SslPtr ssl) : loop_(loop), waiter_(std::make_unique<Waiter>(loop, std::move(fd))), ssl_(std::move(ssl)) {
  if (ssl_) SSL_set_fd(ssl_.get(), waiter_->fd());
}

Conn::~Conn() = default;

Error Conn::io_error(const char* what) const {
  if (error_ != 0) {
    Error error = errno_error(error_, what);
    if (error.code == Code::kIo) error.code = Code::kUnavailable;
    return error;
  }
  return make_error(Code::kUnavailable, std::string(what) + ": " + tls_text_);
}

Conn::Io Conn::tls_result(int ssl_error) {
  const int err = errno;
  switch (ssl_error) {
    case SSL_ERROR_WANT_READ:
      return Io::kAgainRead;
    case SSL_ERROR_WANT_WRITE:
      return Io::kAgainWrite;
    case SSL_ERROR_ZERO_RETURN:
      return Io::kEnd;
    default:
      break;
  }
  broken_ = true;  // OpenSSL forbids further calls on the session
  error_ = ssl_error == SSL_ERROR_SYSCALL && err != 0 ? err : 0;
  if (error_ == 0) tls_text_ = ERR_peek_error() ? take_ssl_errors() : "the peer closed the connection";
  ERR_clear_error();
  return Io::kError;
}

void Conn::wait_for(Io io, void (Conn::*then)()) {
  if (!waiter_) return;
  waiter_->wait(io == Io::kAgainWrite ? Loop::Ready::kWrite : Loop::Ready::kRead, [self = shared_from_this(), then] {
    if (self->waiter_) (self.get()->*then)();
  });
}

void Conn::handshake(std::function<void(Status)> done) {
  handshake_done_ = std::move(done);
  loop_.post([self = shared_from_this()] { self->on_handshake_ready(); });
}

void Conn::on_handshake_ready() {
  if (!waiter_ || !handshake_done_) return;
  Status status;
  if (ssl_) {
    ERR_clear_error();
    errno = 0;
    const int rc = SSL_do_handshake(ssl_.get());
    if (rc != 1) {
      const Io io = tls_result(SSL_get_error(ssl_.get(), rc));
      if (io == Io::kAgainRead || io == Io::kAgainWrite) return wait_for(io, &Conn::on_handshake_ready);
      status = io == Io::kEnd ? make_error(Code::kUnavailable, "TLS handshake: the peer ended it") : io_error("TLS handshake");
    }
  }
  auto done = std::move(handshake_done_);
  handshake_done_ = nullptr;
  done(std::move(status));
}

// ---- reading

Conn::Io Conn::read_plain(char* to, std::size_t size, std::size_t& got) {
  while (true) {
    const ssize_t n = ::recv(waiter_->fd(), to, size, 0);
    if (n > 0) {
      got = static_cast<std::size_t>(n);
      return Io::kOk;
    }
    if (n == 0) return Io::kEnd;
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Io::kAgainRead;
    error_ = errno;
    return Io::kError;
  }
}

Conn::Io Conn::read_tls(char* to, std::size_t size, std::size_t& got) {
  // A record holds 16 KiB at most; joining several makes one callback of them.
  while (got < size) {
    ERR_clear_error();
    errno = 0;
    std::size_t n = 0;
    const int rc = SSL_read_ex(ssl_.get(), to + got, size - got, &n);
    if (rc == 1) {
      got += n;
      continue;
    }
    if (got > 0 && SSL_get_error(ssl_.get(), rc) == SSL_ERROR_WANT_READ) return Io::kOk;
    return tls_result(SSL_get_error(ssl_.get(), rc));
  }
  return Io::kOk;
}

Conn::Io Conn::read_some(char* to, std::size_t size, std::size_t& got) {
  got = 0;
  return ssl_ ? read_tls(to, size, got) : read_plain(to, size, got);
}

void Conn::resume() {
  paused_ = false;
  if (resume_posted_ || !waiter_) return;
  resume_posted_ = true;
  loop_.post([self = shared_from_this()] {
    self->resume_posted_ = false;
    self->offer_rest();
  });
}

void Conn::offer_rest() {
  if (!waiter_ || paused_) return;
  if (!rest_.empty() && !deliver({})) return;
  // TLS may hold decrypted bytes that no readiness of the socket will announce.
  if (!ended_ && !read_armed_ && rest_.size() < rest_limit_) on_readable();
}

bool Conn::deliver(std::string_view fresh) {
  const auto user = user_.lock();
  if (!user) return false;
  if (rest_.empty()) {
    const std::size_t taken = user->on_data(fresh);
    if (waiter_ && taken < fresh.size()) rest_.assign(fresh.substr(taken));
  } else {
    rest_.append(fresh);
    std::string all = std::move(rest_);  // the user may end or hand over this connection meanwhile
    rest_.clear();
    const std::size_t taken = user->on_data(all);
    all.erase(0, taken);
    if (waiter_ && !all.empty()) rest_ = std::move(all);
  }
  return waiter_ != nullptr;
}

void Conn::on_readable() {
  read_armed_ = false;
  for (int round = 0; round < kReadRounds; ++round) {
    if (!waiter_ || paused_ || ended_ || closing_) return;
    if (rest_.size() >= rest_limit_) return;  // until resume()
    std::size_t got = 0;
    const Io io = read_some(scratch(), kScratchBytes, got);
    if (got > 0 && !deliver({scratch(), got})) return;
    if (io == Io::kAgainRead || io == Io::kAgainWrite || (io == Io::kOk && !ssl_ && got < kScratchBytes)) {
      if (paused_ || ended_ || closing_ || rest_.size() >= rest_limit_) return;
      read_armed_ = true;
      return wait_for(io, &Conn::on_readable);
    }
    if (io == Io::kError) return fail(io_error("receive"));
    if (io == Io::kEnd) {
      ended_ = true;
      if (const auto user = user_.lock()) user->on_end({});
      return;
    }
  }
  if (waiter_ && !paused_ && !ended_ && !closing_) {
    read_armed_ = true;
    loop_.post([self = shared_from_this()] { self->on_readable(); });
  }
}

void Conn::fail(Error error) {
  broken_ = true;
  const bool tell = !ended_;
  const auto user = user_.lock();
  abort();
  if (user && tell) user->on_end(std::move(error));
}

// ---- writing

void Conn::write(std::string data) {
  if (!waiter_ || closing_ || write_dead_ || data.empty()) return;
  pending_ += data.size();
  queue_.push_back(std::move(data));
  schedule_flush();
}

void Conn::schedule_flush() {
  if (flush_posted_ || write_armed_) return;
  flush_posted_ = true;  // at the end of this turn, so that many small writes become one
  loop_.post([self = shared_from_this()] {
    self->flush_posted_ = false;
    if (self->waiter_ && !self->write_armed_) self->flush();
  });
}

void Conn::drop_sent(std::size_t sent) {
  pending_ -= sent;
  total_sent_ += sent;
  while (sent > 0) {
    const std::size_t left = queue_.front().size() - front_sent_;
    if (sent < left) {
      front_sent_ += sent;
      return;
    }
    sent -= left;
    front_sent_ = 0;
    queue_.pop_front();
  }
}

Conn::Io Conn::write_plain(std::size_t& sent) {
  iovec pieces[kMaxIov];
  int count = 0;
  for (auto piece = queue_.begin(); piece != queue_.end() && count < kMaxIov; ++piece, ++count) {
    const std::size_t skip = count == 0 ? front_sent_ : 0;
    pieces[count] = {piece->data() + skip, piece->size() - skip};
  }
  msghdr message{};
  message.msg_iov = pieces;
  message.msg_iovlen = static_cast<std::size_t>(count);
  while (true) {
    const ssize_t n = ::sendmsg(waiter_->fd(), &message, MSG_NOSIGNAL);
    if (n >= 0) {
      sent = static_cast<std::size_t>(n);
      return Io::kOk;
    }
    if (errno == EINTR) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) return Io::kAgainWrite;
    error_ = errno;
    return Io::kError;
  }
}

Conn::Io Conn::write_tls(std::size_t& sent) {
  // A write that could not be finished must be repeated with the same bytes: the stage stays until it is sent.
  if (stage_sent_ == stage_.size()) {
    stage_.clear();
    stage_sent_ = 0;
    if (queue_.front().size() - front_sent_ < kDirectBytes && queue_.size() > 1) {
      std::size_t skip = front_sent_;
      for (const std::string& piece : queue_) {
        const std::size_t room = kTlsRecordBytes - stage_.size();
        stage_.append(piece, skip, room);
        skip = 0;
        if (stage_.size() == kTlsRecordBytes) break;
      }
    }
  }
  const bool staged = !stage_.empty();
  const std::string& from = staged ? stage_ : queue_.front();
  const std::size_t begin = staged ? stage_sent_ : front_sent_;
  ERR_clear_error();
  errno = 0;
  const int rc = SSL_write_ex(ssl_.get(), from.data() + begin, from.size() - begin, &sent);
  if (rc != 1) {
    const Io io = tls_result(SSL_get_error(ssl_.get(), rc));
    return io == Io::kEnd ? Io::kError : io;
  }
  if (staged) stage_sent_ += sent;
  return Io::kOk;
}

Conn::Io Conn::write_some(std::size_t& sent) { return ssl_ ? write_tls(sent) : write_plain(sent); }

void Conn::flush() {
  write_armed_ = false;
  while (!queue_.empty()) {
    if (!waiter_) return;
    if (broken_) return fail(io_error("send"));
    std::size_t sent = 0;
    const Io io = write_some(sent);
    if (io == Io::kError) return on_write_error();
    if (io != Io::kOk) {
      write_armed_ = true;
      watch_stall();
      return wait_for(io, &Conn::flush);
    }
    drop_sent(sent);
  }
  stall_timer_.cancel();
  if (closing_) return finish_close();
  if (const auto user = user_.lock()) user->on_drained();
}

// A peer that has answered and closed takes no more, yet its last words may still lie in our receive buffer (a command
// that ends while its stdin is being sent). They are read first; reading then finds the end.
void Conn::on_write_error() {
  if (ssl_ || ended_ || closing_ || rest_.size() >= rest_limit_) return fail(io_error("send"));
  write_dead_ = true;
  queue_.clear();
  front_sent_ = 0;
  pending_ = 0;
  stall_timer_.cancel();
  if (const auto user = user_.lock()) user->on_drained();
}

void Conn::watch_stall() {
  if (!stall_limit_ || stall_timer_.pending()) return;
  stall_timer_ = loop_.after(*stall_limit_, [weak = weak_from_this(), before = total_sent_] {
    const auto self = weak.lock();
    if (!self || !self->waiter_ || !self->write_armed_ || !self->stall_limit_) return;
    if (self->total_sent_ != before) return self->watch_stall();
    self->fail(make_error(Code::kTimeout, "send: the peer takes no data"));
  });
}

// ---- the end

void Conn::close() {
  if (!waiter_ || closing_) return;
  closing_ = true;
  user_.reset();
  rest_.clear();
  stall_limit_ = kCloseStall;
  if (write_armed_) watch_stall();
  schedule_flush();
}

// Reads until the peer has closed as well: closing a socket that still holds unread data resets the
// connection, and the peer might lose the answer that it has not read yet.
void Conn::finish_close() {
  if (broken_ || write_dead_) return abort();
  if (ssl_) SSL_shutdown(ssl_.get());
  ::shutdown(waiter_->fd(), SHUT_WR);
  if (ended_) return abort();
  waiter_->cancel();
  linger_timer_ = loop_.after(kLinger, [weak = weak_from_this()] {
    if (const auto self = weak.lock()) self->abort();
  });
  discard();
}

void Conn::discard() {
  for (int round = 0; round < kReadRounds; ++round) {
    std::size_t got = 0;
    const Io io = read_plain(scratch(), kScratchBytes, got);
    if (io == Io::kOk) continue;
    if (io == Io::kAgainRead) break;
    return abort();
  }
  wait_for(Io::kAgainRead, &Conn::discard);
}

void Conn::abort() {
  user_.reset();
  handshake_done_ = nullptr;
  queue_.clear();
  rest_.clear();
  pending_ = 0;
  stall_timer_.cancel();
  linger_timer_.cancel();
  waiter_.reset();
  token_.reset();
}

}  // namespace fairway::io
