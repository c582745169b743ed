#include "io/loop.h"

#include <fcntl.h>

#include <atomic>
#include <boost/asio/executor_work_guard.hpp>
#include <boost/asio/io_context.hpp>
#include <boost/asio/posix/stream_descriptor.hpp>
#include <boost/asio/post.hpp>
#include <boost/asio/signal_set.hpp>
#include <boost/asio/steady_timer.hpp>
#include <csignal>
#include <optional>
#include <thread>
#include <utility>

#include "base/check.h"
#include "io/waiter.h"

namespace fairway::io {

namespace asio = boost::asio;
using boost::system::error_code;

struct Loop::Impl {
  asio::io_context context{1};
  std::atomic<std::thread::id> thread;
};

// A handler that does nothing, not SIG_IGN: exec() would hand an ignored signal on to every program that we start,
// and `yes | head` in a container would no longer end.
Loop::Loop() : impl_(std::make_unique<Impl>()) {
  struct sigaction nothing {};
  nothing.sa_handler = [](int) {};
  nothing.sa_flags = SA_RESTART;
  ::sigaction(SIGPIPE, &nothing, nullptr);
}
Loop::~Loop() = default;

void Loop::run() {
  auto work = asio::make_work_guard(impl_->context);
  impl_->thread = std::this_thread::get_id();
  impl_->context.run();
  work.reset();              // the last work that goes stops the context once more
  impl_->context.restart();  // after, not before: a stop() that came ahead of run() must not be lost
  impl_->thread = std::thread::id();
}

void Loop::stop() { impl_->context.stop(); }
void Loop::post(Task task) { asio::post(impl_->context, std::move(task)); }
bool Loop::on_loop_thread() const { return impl_->thread == std::this_thread::get_id(); }
void* Loop::native() { return &impl_->context; }

namespace {

struct TimerState {
  TimerState(asio::io_context& context, std::chrono::nanoseconds p, Loop::Task t) : timer(context), period(p), task(std::move(t)) {}
  asio::steady_timer timer;
  std::chrono::nanoseconds period;  // 0: once
  Loop::Task task;
  bool done = false;
};

// The handler holds no reference that keeps the state alive: destroying the Timer is enough to end it.
void arm(const std::shared_ptr<TimerState>& state) {
  state->timer.async_wait([weak = std::weak_ptr(state)](error_code ec) {
    auto self = weak.lock();
    if (!self || ec) return;
    if (self->period.count() == 0) {
      self->done = true;
      auto task = std::move(self->task);
      task();
      return;
    }
    self->task();
    if (weak.use_count() == 1) return;  // cancelled by its own task
    auto next = self->timer.expiry() + self->period;
    auto now = std::chrono::steady_clock::now();
    self->timer.expires_at(next > now ? next : now + self->period);  // a late loop skips runs, never bunches them
    arm(self);
  });
}

}  // namespace

bool Loop::Timer::pending() const { return state_ && !static_cast<TimerState*>(state_.get())->done; }

Loop::Timer Loop::after(std::chrono::nanoseconds delay, Task task) {
  auto state = std::make_shared<TimerState>(impl_->context, std::chrono::nanoseconds(0), std::move(task));
  state->timer.expires_after(delay);
  arm(state);
  Timer timer;
  timer.state_ = std::move(state);
  return timer;
}

Loop::Timer Loop::every(std::chrono::nanoseconds period, Task task) {
  FW_CHECK(period.count() > 0);
  auto state = std::make_shared<TimerState>(impl_->context, period, std::move(task));
  state->timer.expires_after(period);
  arm(state);
  Timer timer;
  timer.state_ = std::move(state);
  return timer;
}

namespace {

asio::posix::descriptor_base::wait_type wait_type_of(Loop::Ready ready) {
  return ready == Loop::Ready::kRead ? asio::posix::descriptor_base::wait_read : asio::posix::descriptor_base::wait_write;
}

struct WatchState {
  WatchState(asio::io_context& context, Loop::Ready r, Loop::Task t) : descriptor(context), ready(r), task(std::move(t)) {}
  asio::posix::stream_descriptor descriptor;
  Loop::Ready ready;
  Loop::Task task;
};

void arm(const std::shared_ptr<WatchState>& state) {
  state->descriptor.async_wait(wait_type_of(state->ready), [weak = std::weak_ptr(state)](error_code ec) {
    auto self = weak.lock();
    if (!self || ec == asio::error::operation_aborted) return;
    self->task();
    if (weak.use_count() > 1) arm(self);
  });
}

struct SignalState {
  SignalState(asio::io_context& context, int signal, Loop::Task t) : signals(context, signal), task(std::move(t)) {}
  asio::signal_set signals;
  Loop::Task task;
};

void arm(const std::shared_ptr<SignalState>& state) {
  state->signals.async_wait([weak = std::weak_ptr(state)](error_code ec, int) {
    auto self = weak.lock();
    if (!self || ec) return;
    self->task();
    if (weak.use_count() > 1) arm(self);
  });
}

}  // namespace

Loop::Watch Loop::watch(int fd, Ready ready, Task task) {
  auto state = std::make_shared<WatchState>(impl_->context, ready, std::move(task));
  // epoll knows an fd once; a duplicate of our own lets read and write watches of one socket coexist.
  int own = ::fcntl(fd, F_DUPFD_CLOEXEC, 0);
  FW_CHECK(own >= 0);
  error_code ec;
  state->descriptor.assign(own, ec);
  if (ec) {
    ::close(own);
    FW_CHECK(!ec);
  }
  arm(state);
  Watch watch;
  watch.state_ = std::move(state);
  return watch;
}

Loop::Watch Loop::on_signal(int signal, Task task) {
  auto state = std::make_shared<SignalState>(impl_->context, signal, std::move(task));
  arm(state);
  Watch watch;
  watch.state_ = std::move(state);
  return watch;
}

struct Waiter::Impl {
  explicit Impl(asio::io_context& context) : descriptor(context) {}
  asio::posix::stream_descriptor descriptor;
};

Waiter::Waiter(Loop& loop, sys::Fd fd) : impl_(std::make_unique<Impl>(*static_cast<asio::io_context*>(loop.native()))) {
  error_code ec;
  int raw = fd.release();
  impl_->descriptor.assign(raw, ec);
  if (ec) ::close(raw);  // ENOMEM and the like: fd() is -1 then, and every call on it fails as the caller expects
  else impl_->descriptor.native_non_blocking(true, ec);
}

Waiter::~Waiter() = default;

int Waiter::fd() const { return impl_->descriptor.is_open() ? impl_->descriptor.native_handle() : -1; }

void Waiter::wait(Loop::Ready ready, Loop::Task task) {
  impl_->descriptor.async_wait(wait_type_of(ready), [task = std::move(task)](error_code ec) {
    if (ec != asio::error::operation_aborted) task();
  });
}

void Waiter::cancel() {
  error_code ec;
  impl_->descriptor.cancel(ec);
}

sys::Fd Waiter::release() { return sys::Fd(impl_->descriptor.is_open() ? impl_->descriptor.release() : -1); }

}  // namespace fairway::io
