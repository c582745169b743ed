// Child: one process of the lab, started in a network namespace and a cgroup, restarted with backoff when it ends.
// Owned by the supervisor's loop. Standard output and error go to a log file of its own.
#pragma once

#include <sys/types.h>

#include <chrono>
#include <string>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/loop.h"

namespace fairway::lab {

struct ChildSpec {
  std::string name;  // "agent node-1": for logs and status
  std::vector<std::string> argv;
  std::string netns;   // path, or empty: the supervisor's own
  std::string cgroup;  // absolute cgroup2 folder; made if missing
  std::string log_path;
  std::vector<std::pair<std::string, int>> listen_fds;  // by the LISTEN_FDS protocol: name and fd
};

class Child {
 public:
  Child(io::Loop& loop, ChildSpec spec);
  ~Child();  // SIGKILL and reap
  Child(const Child&) = delete;
  Child& operator=(const Child&) = delete;

  void start();
  void terminate();  // SIGTERM, no restart
  const std::string& name() const { return spec_.name; }
  pid_t pid() const { return pid_; }
  unsigned restarts() const { return restarts_; }
  const std::string& last_end() const { return last_end_; }

 private:
  Status spawn();
  void ended();
  void schedule_restart();

  io::Loop& loop_;
  ChildSpec spec_;
  pid_t pid_ = -1;
  int pidfd_ = -1;
  unsigned restarts_ = 0;
  bool stopping_ = false;
  std::string last_end_;
  std::chrono::steady_clock::time_point started_;
  std::chrono::milliseconds backoff_{20};
  io::Loop::Watch watch_;
  io::Loop::Timer timer_;
};

}  // namespace fairway::lab
