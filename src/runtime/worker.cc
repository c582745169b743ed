#include "runtime/worker.h"

#include <sched.h>

#include <cerrno>
#include <cstring>

#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::runtime {

Worker::Worker(io::Loop& loop, unsigned threads, std::string netns) : loop_(loop), limit_(threads), netns_(std::move(netns)) {}

Worker::~Worker() {
  *alive_ = false;
  {
    std::lock_guard lock(mutex_);
    stopping_ = true;
    tasks_.clear();
  }
  ready_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Worker::run(std::function<void()> work, std::function<void()> done) {
  std::lock_guard lock(mutex_);
  tasks_.push_back({std::move(work), std::move(done)});
  if (idle_ < tasks_.size() && threads_.size() < limit_) threads_.emplace_back([this] { thread_main(); });
  ready_.notify_one();
}

void Worker::thread_main() {
  if (!netns_.empty()) {
    // Staying in the node's namespace costs the network, not the work: images are made all the same.
    auto netns = sys::open_netns(netns_);
    if (!netns.ok() || ::setns(netns->get(), CLONE_NEWNET) < 0)
      log::warn("runtime", "enter {}: {}", netns_, netns.ok() ? std::strerror(errno) : netns.error().message);
  }
  std::unique_lock lock(mutex_);
  for (;;) {
    ++idle_;
    ready_.wait(lock, [this] { return stopping_ || !tasks_.empty(); });
    --idle_;
    if (stopping_) return;
    Task task = std::move(tasks_.front());
    tasks_.pop_front();
    lock.unlock();
    task.work();
    loop_.post([alive = alive_, done = std::move(task.done)] {
      if (*alive) done();
    });
    lock.lock();
  }
}

}  // namespace fairway::runtime
