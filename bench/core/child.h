// Child: a function in a process of its own: in a network namespace, on a core, in a cgroup. Its numbers come back
// through a pipe. The benchmark's own process stays single-threaded, so that forking it is safe.
#pragma once

#include <sys/types.h>

#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::bench {

struct Place {
  std::string netns;  // path; empty: stay
  std::optional<unsigned> cpu;
  std::string cgroup;  // cgroup2 folder; empty: stay
};

class Child {
 public:
  using Numbers = std::vector<double>;
  // `body` runs in the child; what it returns, ends the child.
  static Result<Child> start(const Place& place, std::function<Result<Numbers>()> body);
  Child(Child&&) noexcept;
  Child& operator=(Child&&) = delete;
  ~Child();  // ends it

  Result<Numbers> wait();  // for its end, and its numbers
  pid_t pid() const { return pid_; }

 private:
  Child(pid_t pid, sys::Fd pipe) : pid_(pid), pipe_(std::move(pipe)) {}
  pid_t pid_;
  sys::Fd pipe_;
};

}  // namespace fairway::bench
