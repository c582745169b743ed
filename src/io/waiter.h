// Waiter: owns a socket and waits for its readiness, once per call. Private to src/io; keeps Asio out of its users.
#pragma once

#include <memory>

#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::io {

class Waiter {
 public:
  Waiter(Loop& loop, sys::Fd fd);  // makes the fd non-blocking
  ~Waiter();
  Waiter(const Waiter&) = delete;
  Waiter& operator=(const Waiter&) = delete;

  int fd() const;
  // Runs `task` once the fd is ready (or broken: the next system call says so). One wait per direction at a time.
  void wait(Loop::Ready ready, Loop::Task task);
  void cancel();  // the tasks waiting are destroyed, from the loop
  sys::Fd release();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::io
