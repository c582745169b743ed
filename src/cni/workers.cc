#include "cni/workers.h"

#include <algorithm>

#include "hostnet/pod_link.h"

namespace fairway::cni {

Result<std::unique_ptr<Workers>> Workers::start(unsigned threads) {
  std::unique_ptr<Workers> out(new Workers);
  for (unsigned i = 0; i < std::max(threads, 1U); ++i) {
    FW_ASSIGN(io::Netlink node, io::Netlink::open());
    out->threads_.emplace_back([self = out.get(), socket = std::move(node)]() mutable { self->run(std::move(socket)); });
  }
  return out;
}

Workers::~Workers() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  for (auto& thread : threads_) thread.join();
}

void Workers::post(Job job) {
  {
    const std::lock_guard lock(mutex_);
    jobs_.push_back(std::move(job));
  }
  changed_.notify_one();
}

void Workers::run(io::Netlink node) {
  for (;;) {
    Job job;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !jobs_.empty(); });
      if (jobs_.empty()) return;
      job = std::move(jobs_.front());
      jobs_.pop_front();
    }
    job(node);
  }
}

Result<std::unique_ptr<Reaper>> Reaper::start(Done done) {
  std::unique_ptr<Reaper> out(new Reaper(std::move(done)));
  FW_ASSIGN(io::Netlink node, io::Netlink::open());
  out->thread_ = std::thread([self = out.get(), socket = std::move(node)]() mutable { self->run(std::move(socket)); });
  return out;
}

Reaper::~Reaper() {
  {
    const std::lock_guard lock(mutex_);
    stopping_ = true;
  }
  changed_.notify_all();
  if (thread_.joinable()) thread_.join();
}

void Reaper::reap(std::string host_ifname) {
  {
    const std::lock_guard lock(mutex_);
    names_.push_back(std::move(host_ifname));
  }
  changed_.notify_one();
}

void Reaper::run(io::Netlink node) {
  for (;;) {
    std::vector<std::string> names;
    {
      std::unique_lock lock(mutex_);
      changed_.wait(lock, [this] { return stopping_ || !names_.empty(); });
      if (names_.empty()) return;
      names.swap(names_);
    }
    Status status = hostnet::delete_pod_links(node, names);
    done_(names, std::move(status));
  }
}

}  // namespace fairway::cni
