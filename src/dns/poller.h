// Poller: epoll with handlers that may go away while events are being delivered.
#pragma once

#include <sys/epoll.h>

#include <cstdint>
#include <memory>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::dns {

class Handler {
 public:
  virtual ~Handler() = default;
  virtual void on_ready(std::uint32_t events) = 0;
  bool dead = false;  // retired: gets no more events
};

class Poller {
 public:
  static Result<Poller> create();
  // `shared`: other threads wait on the same descriptor, and one of them is enough to wake.
  Status add(int fd, std::uint32_t events, Handler* handler, bool shared = false);
  void change(int fd, std::uint32_t events, Handler* handler);
  void remove(int fd);
  // Destroys it once no event of the present round can still point to it.
  void retire(std::unique_ptr<Handler> handler);
  void wait(int timeout_ms);

 private:
  explicit Poller(sys::Fd fd) : fd_(std::move(fd)) {}
  sys::Fd fd_;
  std::vector<std::unique_ptr<Handler>> retired_;
};

}  // namespace fairway::dns
