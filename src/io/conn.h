// Conn: one stream socket on a loop, plain or TLS, with a send queue and a reader that may leave bytes for later.
// Private to src/io: HTTP server and client, raw upgrades and WebSocket all stand on this one type, so that
// TCP, TLS and unix sockets share their code.
//
// Received bytes go from one buffer per thread straight to the user, with no copy but what the user leaves behind.
// No callback runs inside a call of the user's. A Conn lives while it is owned or its socket is being waited for;
// the owner ends it by close() or abort().
#pragma once

#include <chrono>
#include <deque>
#include <memory>
#include <optional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "io/loop.h"
#include "io/tls.h"
#include "io/waiter.h"
#include "sys/fd.h"

namespace fairway::io {

class Conn : public std::enable_shared_from_this<Conn> {
 public:
  class User {
   public:
    virtual ~User() = default;
    // Returns how many bytes it took. The rest comes again, with what follows it, when more has arrived or at resume().
    virtual std::size_t on_data(std::string_view data) = 0;
    // Nothing more will come: ok after the peer's regular end (writing may go on), an error when the connection broke.
    virtual void on_end(Status status) = 0;
    virtual void on_drained() = 0;  // the send queue has become empty
  };

  static std::shared_ptr<Conn> create(Loop& loop, sys::Fd fd, SslPtr ssl);
  ~Conn();
  Conn(const Conn&) = delete;
  Conn& operator=(const Conn&) = delete;

  void handshake(std::function<void(Status)> done);  // at once for plain sockets, yet never inside this call
  void set_user(std::weak_ptr<User> user) { user_ = std::move(user); }
  void set_rest_limit(std::size_t bytes) { rest_limit_ = bytes; }
  void set_stall_limit(std::optional<std::chrono::milliseconds> limit) { stall_limit_ = limit; }
  void hold(std::shared_ptr<void> token) { token_ = std::move(token); }  // kept as long as the socket
  const SSL* ssl() const { return ssl_.get(); }
  Loop& loop() const { return loop_; }
  int fd() const { return waiter_ ? waiter_->fd() : -1; }

  void resume();  // begins or goes on reading, and offers again what was left
  void pause() { paused_ = true; }
  bool has_rest() const { return !rest_.empty(); }
  bool at_end() const { return ended_; }

  void write(std::string data);
  std::size_t pending_bytes() const { return pending_; }

  void close();  // sends what is queued, then ends the connection
  void abort();  // at once

 private:
  enum class Io { kOk, kAgainRead, kAgainWrite, kEnd, kError };
  Conn(Loop& loop, sys::Fd fd, SslPtr ssl);

  Io read_some(char* to, std::size_t size, std::size_t& got);
  Io read_plain(char* to, std::size_t size, std::size_t& got);
  Io read_tls(char* to, std::size_t size, std::size_t& got);
  Io write_some(std::size_t& sent);
  Io write_plain(std::size_t& sent);
  Io write_tls(std::size_t& sent);
  Io tls_result(int ssl_error);
  void on_handshake_ready();
  void wait_for(Io io, void (Conn::*then)());
  void on_readable();
  bool deliver(std::string_view fresh);
  void offer_rest();
  void schedule_flush();
  void flush();
  void drop_sent(std::size_t sent);
  void finish_close();
  void discard();
  void fail(Error error);
  void on_write_error();
  void watch_stall();
  Error io_error(const char* what) const;

  Loop& loop_;
  std::unique_ptr<Waiter> waiter_;
  SslPtr ssl_;
  std::shared_ptr<void> token_;
  std::weak_ptr<User> user_;
  std::function<void(Status)> handshake_done_;

  std::string rest_;  // received and left by the user
  std::size_t rest_limit_ = 64 << 10;
  bool paused_ = true, read_armed_ = false, resume_posted_ = false, ended_ = false, broken_ = false;

  std::deque<std::string> queue_;
  std::size_t front_sent_ = 0;  // of queue_.front()
  std::size_t pending_ = 0;
  std::string stage_;  // small writes joined into one TLS record
  std::size_t stage_sent_ = 0;
  std::uint64_t total_sent_ = 0;
  bool flush_posted_ = false, write_armed_ = false, write_dead_ = false, closing_ = false;
  std::optional<std::chrono::milliseconds> stall_limit_;
  Loop::Timer stall_timer_, linger_timer_;
  int error_ = 0;  // errno of the last failed call, 0: TLS
  std::string tls_text_;
};

}  // namespace fairway::io
