#include "controllers/controller.h"

#include <algorithm>

#include "sys/log.h"

namespace fairway::controllers {
namespace {
constexpr std::chrono::milliseconds kFirstRetry{50};
constexpr std::chrono::milliseconds kLastRetry{30'000};
}  // namespace

Controller::Controller(Context& context, std::string name, int workers)
    : context_(context), api_(context.api), stores_(context.stores), name_(std::move(name)), workers_(workers) {}

void Controller::start() {
  started_ = true;
  on_start();
  pump();
}

void Controller::enqueue(const Key& key) {
  if (running_.contains(key)) {
    again_.insert(key);
    return;
  }
  if (!queued_.insert(key).second) return;
  queue_.push_back(key);
  // Not at once: the caller may be in the middle of an informer's callback, and more keys may follow.
  if (started_ && queue_.size() == 1) {
    api_.loop().post([this, alive = std::weak_ptr<int>(alive_)] {
      if (!alive.expired()) pump();
    });
  }
}

void Controller::enqueue_after(const Key& key, std::chrono::milliseconds delay) {
  if (delay <= std::chrono::milliseconds(0)) return enqueue(key);
  const auto when = std::chrono::steady_clock::now() + delay;
  auto found = delayed_.find(key);
  if (found != delayed_.end() && found->second.at <= when) return;
  delayed_[key] = {when, api_.loop().after(delay, [this, key] {
                     const Key due = key;  // erasing the timer destroys this closure, `this` with it
                     Controller* const self = this;
                     self->delayed_.erase(due);
                     self->enqueue(due);
                   })};
}

void Controller::pump() {
  while (started_ && !queue_.empty() && running_.size() < workers_) {
    const Key key = std::move(queue_.front());
    queue_.pop_front();
    queued_.erase(key);
    auto& task = running_.emplace(key, reconcile(key)).first->second;
    // The frame still stands on the stack when it ends: clear it away from the loop.
    task.start([this, key] {
      api_.loop().post([this, key, alive = std::weak_ptr<int>(alive_)] {
        if (!alive.expired()) finish(key);
      });
    });
  }
}

void Controller::finish(const Key& key) {
  auto found = running_.find(key);
  const Status status = found->second.take();
  running_.erase(found);
  if (status.ok()) {
    failures_.erase(key);
  } else {
    retry(key, status.error());
  }
  if (again_.erase(key) > 0) enqueue(key);
  pump();
}

void Controller::retry(const Key& key, const Error& error) {
  const int failures = failures_[key]++;
  const auto delay = std::min(kLastRetry, kFirstRetry * (1 << std::min(failures, 10)));
  // A conflict says only that the copy was older than the object: the next round sees the newer one.
  if (error.code == Code::kConflict && failures < 5) {
    log::debug("controllers", "{} {}: {}", name_, key, error.message);
  } else {
    log::warn("controllers", "{} {}: {}; again in {} ms", name_, key, error.message, delay.count());
  }
  enqueue_after(key, delay);
}

}  // namespace fairway::controllers
