// Process: a program run from the loop, without blocking it. For the CNI plugin, runc and the shims.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::runtime {

struct ProcessSpec {
  std::vector<std::string> argv;
  std::vector<std::string> env;  // whole environment, NAME=value; empty: our own
  std::string input;             // to stdin
  std::chrono::milliseconds deadline{60'000};
};

struct ProcessResult {
  int exit_code = -1;  // 128 + signal where one ended it
  bool timed_out = false;
  std::string out, err;  // the first MiB of each
};

// Destroying it kills the process (its group) and calls nobody.
class Process {
 public:
  static Result<std::unique_ptr<Process>> start(io::Loop& loop, ProcessSpec spec, std::function<void(ProcessResult)> done);
  ~Process();
  bool running() const;
  // Lets it end by itself for so long, then kills it; nobody is told.
  static void let_end(std::unique_ptr<Process> process, std::chrono::milliseconds deadline);
  Process(const Process&) = delete;
  Process& operator=(const Process&) = delete;

 private:
  struct State;
  explicit Process(std::shared_ptr<State> state) : state_(std::move(state)) {}
  std::shared_ptr<State> state_;
};

// A process that is to outlive us: a session of its own, stdio at /dev/null or `log_fd`, and fd 3 where given.
struct Detached {
  pid_t pid = -1;
  sys::Fd pidfd;
};
Result<Detached> start_detached(const std::vector<std::string>& argv, int fd3, int log_fd);

// Readable once the process has ended; for processes that are not our children too.
Result<sys::Fd> open_pidfd(pid_t pid);
// Collects a child that has ended, so that no zombie stays. Nothing for others' children.
void reap(const sys::Fd& pidfd);

}  // namespace fairway::runtime
