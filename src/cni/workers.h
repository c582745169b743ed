// Threads for the kernel's slow work: Workers make and check interfaces, the Reaper removes them.
// Each thread has an rtnetlink socket in the namespace of the thread that started it: the node's.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "io/netlink.h"

namespace fairway::cni {

class Workers {
 public:
  using Job = std::function<void(io::Netlink& node)>;
  static Result<std::unique_ptr<Workers>> start(unsigned threads);
  ~Workers();  // finishes what was posted
  void post(Job job);

 private:
  Workers() = default;
  void run(io::Netlink node);
  std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<Job> jobs_;
  bool stopping_ = false;
  std::vector<std::thread> threads_;
};

// Removing a veth waits for RCU (28 ms) under the rtnl lock. What comes while one removal runs goes together with the
// next: 100 deletions cost two waits, and ADDs are not held up by each.
class Reaper {
 public:
  // Called on the reaper's thread.
  using Done = std::function<void(const std::vector<std::string>& host_ifnames, Status status)>;
  static Result<std::unique_ptr<Reaper>> start(Done done);
  ~Reaper();  // finishes what was given to it
  void reap(std::string host_ifname);

 private:
  explicit Reaper(Done done) : done_(std::move(done)) {}
  void run(io::Netlink node);
  Done done_;
  std::mutex mutex_;
  std::condition_variable changed_;
  std::vector<std::string> names_;
  bool stopping_ = false;
  std::thread thread_;
};

}  // namespace fairway::cni
