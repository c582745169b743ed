// Loop: the one event loop of a thread. Everything on it runs in turn on that thread, so
// what lives on a loop needs no lock. Built on Boost.Asio, which does not show here (compile time).
#pragma once

#include <chrono>
#include <functional>
#include <memory>

namespace fairway::io {

class Loop {
 public:
  using Task = std::function<void()>;
  Loop();  // also takes the sting out of SIGPIPE, for this process alone: a peer that goes away is an error of write()
  ~Loop();
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;

  void run();            // until stop()
  void stop();           // any thread; also safe from a signal watcher
  void post(Task task);  // any thread; runs `task` on the loop, in order
  bool on_loop_thread() const;

  // Owns a pending timer; destroying or cancel() means the task never runs afterwards.
  class Timer {
   public:
    Timer() = default;
    void cancel() { state_.reset(); }
    bool pending() const;  // armed, and (but for every()) not yet run
   private:
    friend class Loop;
    std::shared_ptr<void> state_;
  };
  [[nodiscard]] Timer after(std::chrono::nanoseconds delay, Task task);
  [[nodiscard]] Timer every(std::chrono::nanoseconds period, Task task);  // first run after one period

  enum class Ready { kRead, kWrite };
  // Calls `task` each time `fd` is ready (level-triggered). Makes the fd non-blocking. Does not own it: the watch keeps a
  // duplicate, so destroy the watch before closing the fd. Several watches of one fd are fine.
  class Watch {
   public:
    Watch() = default;
    void cancel() { state_.reset(); }

   private:
    friend class Loop;
    std::shared_ptr<void> state_;
  };
  [[nodiscard]] Watch watch(int fd, Ready ready, Task task);
  // Calls `task` on SIGINT, SIGTERM, SIGHUP ... (signalfd semantics: delivered on the loop).
  [[nodiscard]] Watch on_signal(int signal, Task task);

  void* native();  // boost::asio::io_context&, for the .cc files of src/io alone

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::io
