// Task<T>: a lazy coroutine, so that a reconcile reads from top to bottom although each API call is asynchronous.
//
// One awaiter a task. Destroying a Task destroys the coroutine's frame with all it awaits: calls under way are
// cancelled, and nothing of it runs afterwards. On the loop's thread alone. Nothing in here throws; an exception that
// reaches the top is a mistake of ours and terminates.
//
// g++ 12 copies closures and aggregates that are temporaries of a co_await expression bit by bit into the frame:
// give such an argument a name first.
#pragma once

#include <coroutine>
#include <exception>
#include <functional>
#include <optional>
#include <utility>

namespace fairway::controllers {

template <typename T>
class [[nodiscard]] Task {
 public:
  struct promise_type {
    std::optional<T> value;
    std::coroutine_handle<> awaiting;
    std::function<void()> on_done;  // of a task that no coroutine awaits

    Task get_return_object() { return Task(std::coroutine_handle<promise_type>::from_promise(*this)); }
    std::suspend_always initial_suspend() noexcept { return {}; }
    auto final_suspend() noexcept {
      struct Resume {
        bool await_ready() noexcept { return false; }
        std::coroutine_handle<> await_suspend(std::coroutine_handle<promise_type> self) noexcept {
          promise_type& promise = self.promise();
          if (promise.awaiting) return promise.awaiting;
          if (promise.on_done) promise.on_done();
          return std::noop_coroutine();
        }
        void await_resume() noexcept {}
      };
      return Resume{};
    }
    void return_value(T result) { value = std::move(result); }
    void unhandled_exception() { std::terminate(); }
  };

  Task(Task&& other) noexcept : handle_(std::exchange(other.handle_, nullptr)) {}
  Task& operator=(Task&& other) noexcept {
    if (this != &other) {
      if (handle_) handle_.destroy();
      handle_ = std::exchange(other.handle_, nullptr);
    }
    return *this;
  }
  ~Task() {
    if (handle_) handle_.destroy();
  }

  bool await_ready() const noexcept { return false; }
  std::coroutine_handle<> await_suspend(std::coroutine_handle<> awaiting) noexcept {
    handle_.promise().awaiting = awaiting;
    return handle_;
  }
  T await_resume() { return std::move(*handle_.promise().value); }

  // Runs a task from outside of any coroutine. `on_done` must not destroy the task: it posts that.
  void start(std::function<void()> on_done) {
    handle_.promise().on_done = std::move(on_done);
    handle_.resume();
  }
  T take() { return std::move(*handle_.promise().value); }

 private:
  explicit Task(std::coroutine_handle<promise_type> handle) : handle_(handle) {}
  std::coroutine_handle<promise_type> handle_;
};

// co_return the error of a Status, or of a Result whose value is not needed. (`return` is no word of a coroutine.)
#define FW_CO_TRY(expr)                                                                            \
  do {                                                                                             \
    if (auto fw_co_result = (expr); !fw_co_result.ok()) co_return std::move(fw_co_result).error(); \
  } while (false)

}  // namespace fairway::controllers
