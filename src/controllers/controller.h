// Controller: a keyed work queue and the workers that reconcile its keys.
//
// A key is on the queue at most once and never reconciled twice at the same time; one enqueued meanwhile runs
// again afterwards. A reconcile that fails is tried again with a growing delay per key (50 ms to 30 s).
#pragma once

#include <chrono>
#include <deque>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <unordered_set>

#include "controllers/context.h"
#include "controllers/task.h"

namespace fairway::controllers {

class Controller {
 public:
  using Key = std::string;
  Controller(Context& context, std::string name, int workers = 4);
  virtual ~Controller() = default;
  Controller(const Controller&) = delete;
  Controller& operator=(const Controller&) = delete;

  void start();  // keys that came before are kept until now
  void enqueue(const Key& key);
  void enqueue_after(const Key& key, std::chrono::milliseconds delay);  // the earliest of several holds

 protected:
  virtual Task<Status> reconcile(Key key) = 0;
  virtual void on_start() {}
  bool started() const { return started_; }

  Context& context_;
  Api& api_;
  Stores& stores_;

 private:
  void pump();
  void finish(const Key& key);
  void retry(const Key& key, const Error& error);

  const std::string name_;
  const std::size_t workers_;
  bool started_ = false;
  std::deque<Key> queue_;
  std::unordered_set<Key> queued_;
  std::unordered_set<Key> again_;  // came while it was being reconciled
  std::unordered_map<Key, Task<Status>> running_;
  struct Delayed {
    std::chrono::steady_clock::time_point at;
    io::Loop::Timer timer;
  };
  std::unordered_map<Key, Delayed> delayed_;
  std::unordered_map<Key, int> failures_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

}  // namespace fairway::controllers
