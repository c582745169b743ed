// Container: one container of a pod through all its attempts: image, config, shim, probes, hooks, exit.
// The pod decides when it runs (pod.h); this knows how. State on disk: pods/UID/containers/NAME/ATTEMPT/
// {meta.json, config.json, started, exit, log}, written so that a new runtime can adopt a running container.
#pragma once

#include <chrono>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/handlers.h"
#include "runtime/node.h"
#include "runtime/oci_spec.h"
#include "runtime/probe.h"
#include "runtime/process.h"
#include "sys/fd.h"

namespace fairway::runtime {

class Pod;

enum class ContainerKind { kInit, kSidecar, kRegular, kEphemeral };

struct Attempt {
  unsigned number = 0;  // 0 for the first: the restart count
  std::string id, dir, image_name, image_id;
  std::int64_t started_ns = 0, finished_ns = 0;
  int exit_code = 0, signal = 0;
  std::string reason, message;  // of the exit
};

class Container {
 public:
  enum class State { kWaiting, kRunning, kExited };

  Container(Node& node, Pod& pod, Json spec, ContainerKind kind);
  ~Container();
  Container(const Container&) = delete;
  Container& operator=(const Container&) = delete;

  const std::string& name() const { return name_; }
  const Json& spec() const { return spec_; }
  ContainerKind kind() const { return kind_; }
  State state() const { return state_; }
  bool busy() const { return busy_; }  // on its way to running
  bool idle() const { return state_ != State::kRunning && !busy_; }
  bool ready() const;
  bool started() const { return state_ == State::kRunning && started_; }  // its startup probe has succeeded
  bool succeeded() const { return state_ == State::kExited && attempt_->exit_code == 0; }
  bool has_run() const { return attempt_.has_value(); }
  const std::optional<Attempt>& attempt() const { return attempt_; }
  std::string previous_log() const;

  void adopt();  // from disk, at the runtime's start
  void start();  // if it is time; the pod is told by schedule_sync()
  // Again with less time: what is under way (preStop, the wait after the signal) is cut short.
  void stop(std::chrono::seconds grace, const std::string& why);
  void forget_sandbox();                         // its network namespace is gone: what ran there counts as ended
  void set_pod_initializing(bool initializing);  // ContainerCreating or PodInitializing while it waits
  Json status() const;
  HandlerTarget target() const;
  // Hands a connection to the shim's attach.
  Status attach(int client_fd) const;

 private:
  friend class ProbeSet;
  void wait_for(const std::string& reason, const std::string& message = "") {
    waiting_reason_ = reason;
    waiting_message_ = message;
    state_shows_waiting_ = true;
  }
  bool in_crash_backoff();
  // The way to running, one step each; every step ends by calling the next, or fail_start().
  void pull_image();
  bool in_image_backoff();
  void image_pulled(Result<Image> result, std::int64_t took_ns);
  void load_config(Image image);
  void create(Image image, ConfigObjects objects, StartLimiter::Slot slot);
  Result<std::string> target_pid_namespace() const;
  Status write_bundle(const Image& image, const ConfigObjects& objects, Attempt& next);
  Result<std::vector<BindMount>> bind_mounts(const Attempt& next, const std::vector<std::string>& env);
  Status spawn_shim(const Image& image, StartLimiter::Slot slot);
  void fail_start(const std::string& reason, const std::string& message, std::chrono::milliseconds retry);
  void shim_spoke();
  void became_running(std::int64_t started_ns);
  void run_post_start();
  void shim_ended();
  void shim_lost();
  void read_exit();
  void signal(int number);
  void stop_sooner(std::chrono::seconds grace);
  void run_pre_stop(const Json& hook, std::chrono::seconds grace);
  void cut_pre_stop();
  void pre_stop_ended(const Status& status);
  void stop_with_signal(std::chrono::seconds grace);
  std::string termination_message() const;
  void load_attempts();
  void prune_attempts() const;
  void event(const std::string& type, const std::string& reason, const std::string& message);
  std::string container_dir() const;
  Json terminated(const Attempt& attempt) const;
  // For the steps of a start: they end with the container, and with a start that was given up.
  template <typename F>
  auto of_this_start(F f) {
    return [this, alive = std::weak_ptr<bool>(alive_), start = start_number_, f = std::move(f)](auto&&... args) mutable {
      if (!alive.expired() && start == start_number_) f(std::forward<decltype(args)>(args)...);
    };
  }
  template <typename F>
  auto guarded(F f) {
    return [alive = std::weak_ptr<bool>(alive_), f = std::move(f)](auto&&... args) mutable {
      if (!alive.expired()) f(std::forward<decltype(args)>(args)...);
    };
  }

  Node& node_;
  Pod& pod_;
  Json spec_;
  std::string name_;
  ContainerKind kind_;
  State state_ = State::kWaiting;
  unsigned start_number_ = 0;  // of the way to running: an abandoned one finds another number
  bool busy_ = false, started_ = false, ready_ = false, stopping_ = false;
  bool state_shows_waiting_ = true;  // an exited container in back-off is shown as waiting
  std::string waiting_reason_ = "ContainerCreating", waiting_message_;
  std::optional<Attempt> attempt_, last_;
  std::chrono::milliseconds crash_backoff_{0}, image_backoff_{0};
  std::optional<unsigned> backed_off_for_;  // the attempt whose exit the back-off was counted for
  std::chrono::steady_clock::time_point crash_retry_, image_retry_, start_retry_, stop_deadline_;
  std::string image_error_;
  bool image_backoff_said_ = false;
  sys::Fd notify_, pidfd_;
  io::Loop::Watch notify_watch_, pid_watch_;
  io::Loop::Timer stop_timer_, adopt_timer_;  // stop_timer_: of preStop, then of the wait for the exit
  StartLimiter::Slot slot_;
  std::unique_ptr<Process> cleanup_;
  std::unique_ptr<HandlerRun> hook_;
  std::unique_ptr<ProbeSet> probes_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

}  // namespace fairway::runtime
