// Worker: threads for what blocks (making images, removing trees), so that the loop does not.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "io/loop.h"

namespace fairway::runtime {

class Worker {
 public:
  // Threads are started at the first task. `netns`: the namespace they live in, or empty for the process's own.
  Worker(io::Loop& loop, unsigned threads, std::string netns = "");
  ~Worker();  // waits for the tasks that run; those that wait are dropped
  Worker(const Worker&) = delete;
  Worker& operator=(const Worker&) = delete;

  // `work` on a thread, then `done` on the loop.
  void run(std::function<void()> work, std::function<void()> done);

 private:
  struct Task {
    std::function<void()> work, done;
  };
  void thread_main();

  io::Loop& loop_;
  unsigned limit_;
  std::string netns_;
  std::mutex mutex_;
  std::condition_variable ready_;
  std::deque<Task> tasks_;
  unsigned idle_ = 0;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);  // touched on the loop alone
};

}  // namespace fairway::runtime
