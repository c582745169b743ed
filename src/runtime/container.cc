#include "runtime/container.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <filesystem>

#include "runtime/pod.h"
#include "sys/file.h"
#include "sys/log.h"

namespace fairway::runtime {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

constexpr std::size_t kMaxTerminationMessage = 4096;
constexpr seconds kLeastWait(2);  // after the signal, however long preStop took: kubelet's

sys::Fd connect_shim(const std::string& path) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  if (path.size() >= sizeof addr.sun_path) return {};
  std::copy(path.begin(), path.end(), addr.sun_path);
  sys::Fd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (fd && ::connect(fd.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr) < 0) fd.reset();
  return fd;
}

}  // namespace

Container::Container(Node& node, Pod& pod, Json spec, ContainerKind kind)
    : node_(node), pod_(pod), spec_(std::move(spec)), name_(text(spec_, "name")), kind_(kind) {}
Container::~Container() = default;

bool Container::ready() const { return state_ == State::kRunning && ready_; }
std::string Container::container_dir() const { return pod_.dir() + "/containers/" + name_; }

void Container::event(const std::string& type, const std::string& reason, const std::string& message) {
  const char* list = kind_ == ContainerKind::kRegular     ? "spec.containers{"
                     : kind_ == ContainerKind::kEphemeral ? "spec.ephemeralContainers{"
                                                          : "spec.initContainers{";
  pod_.event(type, reason, message, list + name_ + "}");
}

void Container::set_pod_initializing(bool initializing) {
  if (state_ == State::kWaiting && !busy_ && (waiting_reason_ == "ContainerCreating" || waiting_reason_ == "PodInitializing"))
    waiting_reason_ = initializing ? "PodInitializing" : "ContainerCreating";
}

HandlerTarget Container::target() const {
  const auto& ips = pod_.host_network() ? node_.config.node_ips : pod_.sandbox().ips;
  return {.container_id = attempt_ ? attempt_->id : "",
          .bundle = attempt_ ? attempt_->dir : "",
          .pod_ip = ips.empty() ? "127.0.0.1" : ips.front(),
          .container = &spec_};
}

// --- running ---------------------------------------------------------------------------------------------------

void Container::became_running(std::int64_t started_ns) {
  busy_ = false;
  slot_.reset();
  state_ = State::kRunning;
  state_shows_waiting_ = false;
  waiting_message_.clear();
  attempt_->started_ns = started_ns;
  started_ = ready_ = false;
  start_retry_ = {};
  probes_ = std::make_unique<ProbeSet>(node_, *this);
  if (stopping_) {
    stopping_ = false;
    stop(seconds(0), "Stopping container " + name_);
  }
}

// The runtime's child told us over fd 3 how the start went.
void Container::shim_spoke() {
  char line[64];
  const ssize_t n = ::read(notify_.get(), line, sizeof line - 1);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  notify_watch_.cancel();
  notify_.reset();
  if (n <= 0 || std::string_view(line, static_cast<std::size_t>(n)).substr(0, 7) != "started")
    return;  // its end will be seen, with the reason
  event("Normal", "Started", "Started container " + name_);
  became_running(now_unix_ns());
  run_post_start();
  pod_.schedule_sync();
}

void Container::run_post_start() {
  const Json* hook = find(spec_, "lifecycle.postStart");
  if (!hook) return probes_->begin();
  hook_ = run_handler(node_, target(), *hook, seconds(60), guarded([this](Status status) {
                        node_.loop.post([old = std::shared_ptr<HandlerRun>(std::move(hook_))] {});
                        if (state_ != State::kRunning || stopping_) return;
                        if (status.ok()) {
                          probes_->begin();
                          pod_.schedule_sync();
                          return;
                        }
                        event("Warning", "FailedPostStartHook", "PostStartHook failed");
                        stop(seconds(pod_.grace_seconds()), "FailedPostStartHook");
                      }));
}

void Container::shim_ended() {
  pid_watch_.cancel();
  reap(pidfd_);
  pidfd_.reset();
  notify_watch_.cancel();
  notify_.reset();
  if (::access((attempt_->dir + "/exit").c_str(), F_OK) != 0) return shim_lost();
  read_exit();
}

// Without its shim a container has lost its log and its exit code: it is ended.
void Container::shim_lost() {
  auto process = Process::start(node_.loop, {.argv = {node_.config.runc, "--root", node_.runc_root(), "delete", "--force", attempt_->id}},
                                guarded([this](ProcessResult) {
                                  auto keep = std::move(cleanup_);
                                  (void)write_json_file(
                                      attempt_->dir + "/exit",
                                      JsonObject{{"code", 137},
                                                 {"signal", SIGKILL},
                                                 {"oom", false},
                                                 {"startedAt", attempt_->started_ns},
                                                 {"finishedAt", now_unix_ns()},
                                                 {"error", ""},
                                                 {"reason", "ContainerStatusUnknown"},
                                                 {"message", "The container could not be located when the node's runtime came back"}})
                                      .ok();
                                  read_exit();
                                }));
  if (process.ok()) cleanup_ = std::move(*process);
  else log::error("runtime", "pod {}: {}", pod_.full_name(), process.error().message);
}

void Container::read_exit() {
  probes_.reset();
  hook_.reset();
  stop_timer_.cancel();
  slot_.reset();
  auto exit = parse_json_file(attempt_->dir + "/exit");
  const Json none(JsonObject{});
  const Json& e = exit.ok() ? *exit : none;
  Attempt& a = *attempt_;
  a.exit_code = static_cast<int>(number(e, "code", 255));
  a.signal = static_cast<int>(number(e, "signal"));
  a.started_ns = number(e, "startedAt", a.started_ns);
  a.finished_ns = number(e, "finishedAt", now_unix_ns());
  const std::string error = text(e, "error");
  a.reason = text(e, "reason", !error.empty() ? "StartError" : flag(e, "oom") ? "OOMKilled" : a.exit_code == 0 ? "Completed" : "Error");
  a.message = text(e, "message",
                   !error.empty()
                       ? "failed to create containerd task: failed to create shim task: OCI runtime create failed: " + error + ": unknown"
                       : "");
  if (a.message.empty()) a.message = termination_message();
  const bool start_failed = !error.empty() && busy_;
  busy_ = started_ = ready_ = stopping_ = false;
  state_ = State::kExited;
  state_shows_waiting_ = false;
  std::error_code ec;
  fs::remove_all(a.dir + "/work", ec);
  if (start_failed) {
    event("Warning", "Failed", "Error: " + a.message);
    wait_for("RunContainerError", a.message);
  }
  pod_.schedule_sync();
}

std::string Container::termination_message() const {
  auto said = sys::read_file(attempt_->dir + "/termination-log", 1 << 20);
  if (said.ok() && !said->empty()) return said->substr(0, kMaxTerminationMessage);
  if (attempt_->exit_code == 0 || text(spec_, "terminationMessagePolicy") != "FallbackToLogsOnError") return "";
  auto log = sys::read_file(attempt_->dir + "/log", 16 << 20);
  if (!log.ok()) return "";
  std::vector<std::string> lines;
  for (std::size_t at = 0; at < log->size();) {
    const auto end = std::min(log->find('\n', at), log->size());
    const std::string line = log->substr(at, end - at);
    std::size_t text_at = 0;
    for (int i = 0; i < 3 && text_at != std::string::npos; ++i) text_at = line.find(' ', text_at + (i > 0));
    if (text_at != std::string::npos) lines.push_back(line.substr(text_at + 1));
    at = end + 1;
  }
  std::string out;
  for (std::size_t i = lines.size() > 80 ? lines.size() - 80 : 0; i < lines.size(); ++i) out += lines[i] + "\n";
  return out.size() > 2048 ? out.substr(out.size() - 2048) : out;
}

// --- stopping --------------------------------------------------------------------------------------------------

void Container::signal(int number) {
  const char message[2] = {'K', static_cast<char>(number)};
  if (const sys::Fd fd = connect_shim(node_.shim_socket(attempt_->id))) {
    (void)!::send(fd.get(), message, sizeof message, MSG_NOSIGNAL);
    return;
  }
  log::warn("runtime", "container {} of {}: its shim does not listen", name_, pod_.full_name());
}

void Container::stop(seconds grace, const std::string& why) {
  if (busy_ && !pidfd_ && !cleanup_) {  // on its way, and nothing runs yet: a pull may take minutes
    ++start_number_;
    busy_ = false;
    pod_.schedule_sync();
    return;
  }
  if (busy_) {
    stopping_ = true;
    return;
  }
  if (state_ != State::kRunning) return;
  if (stopping_) return stop_sooner(grace);
  stopping_ = true;
  stop_deadline_ = steady_clock::now() + grace;
  event("Normal", "Killing", why);
  probes_->container_stops();
  hook_.reset();  // a postStart that still runs
  const Json* hook = find(spec_, "lifecycle.preStop");
  if (hook && grace > seconds(0)) run_pre_stop(*hook, grace);
  else stop_with_signal(grace);
}

// The pod says at each of its syncs how much time is left, in whole seconds: only what is clearly less counts.
void Container::stop_sooner(seconds grace) {
  if (grace == seconds(0)) {
    hook_.reset();
    return signal(SIGKILL);
  }
  const auto deadline = steady_clock::now() + grace;
  if (deadline + seconds(1) > stop_deadline_) return;
  stop_deadline_ = deadline;
  if (hook_) stop_timer_ = node_.loop.after(grace, [this] { cut_pre_stop(); });
  else stop_timer_ = node_.loop.after(grace, [this] { signal(SIGKILL); });
}

void Container::run_pre_stop(const Json& hook, seconds grace) {
  stop_timer_ = node_.loop.after(grace, [this] { cut_pre_stop(); });
  hook_ = run_handler(node_, target(), hook, grace, guarded([this](Status status) { pre_stop_ended(status); }));
}

void Container::cut_pre_stop() {
  hook_.reset();
  pre_stop_ended(make_error(Code::kTimeout, "its time is over"));
}

void Container::pre_stop_ended(const Status& status) {
  node_.loop.post([old = std::shared_ptr<HandlerRun>(std::move(hook_))] {});  // it may be what calls us
  if (!status.ok()) event("Warning", "FailedPreStopHook", "PreStopHook failed");
  const auto left = std::chrono::ceil<seconds>(stop_deadline_ - steady_clock::now());
  if (state_ == State::kRunning) stop_with_signal(std::max(left, kLeastWait));
}

void Container::stop_with_signal(seconds grace) {
  if (grace <= seconds(0)) return signal(SIGKILL);
  std::string name;
  if (auto image = parse_json_file(attempt_->dir + "/meta.json"); image.ok()) name = text(*image, "stopSignal");
  signal(name.empty() ? SIGTERM : signal_number(name));
  stop_timer_ = node_.loop.after(grace, [this] { signal(SIGKILL); });
}

void Container::forget_sandbox() {
  if (state_ == State::kRunning) stop(seconds(0), "Pod sandbox changed, it will be killed and re-created.");
}

Status Container::attach(int client_fd) const {
  const sys::Fd fd = state_ == State::kRunning ? connect_shim(node_.shim_socket(attempt_->id)) : sys::Fd();
  if (!fd) return make_error(Code::kUnavailable, "container " + name_ + " is not running");
  char command = 'A';
  iovec iov{&command, 1};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))] = {};
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof control;
  cmsghdr* c = CMSG_FIRSTHDR(&msg);
  c->cmsg_level = SOL_SOCKET;
  c->cmsg_type = SCM_RIGHTS;
  c->cmsg_len = CMSG_LEN(sizeof(int));
  std::copy_n(reinterpret_cast<const char*>(&client_fd), sizeof client_fd, reinterpret_cast<char*>(CMSG_DATA(c)));
  if (::sendmsg(fd.get(), &msg, MSG_NOSIGNAL) < 0) return errno_error(errno, "attach to container " + name_);
  return {};
}

// --- from disk -------------------------------------------------------------------------------------------------

void Container::load_attempts() {
  std::vector<unsigned> numbers;
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(container_dir(), ec))
    if (const std::string name = entry.path().filename().string();
        !name.empty() && name.find_first_not_of("0123456789") == std::string::npos && name.size() < 9)
      numbers.push_back(static_cast<unsigned>(std::stoul(name)));
  std::sort(numbers.rbegin(), numbers.rend());
  for (const unsigned number_on_disk : numbers) {
    const std::string dir = container_dir() + "/" + std::to_string(number_on_disk);
    auto meta = parse_json_file(dir + "/meta.json");
    if (!meta.ok()) continue;
    Attempt attempt{.number = number_on_disk,
                    .id = text(*meta, "id"),
                    .dir = dir,
                    .image_name = text(*meta, "image"),
                    .image_id = text(*meta, "imageID")};
    if (!attempt_) attempt_ = std::move(attempt);
    else {
      last_ = std::move(attempt);
      break;
    }
  }
}

void Container::adopt() {
  load_attempts();
  if (last_) {
    std::swap(attempt_, last_);
    read_exit();
    std::swap(attempt_, last_);
  }
  if (!attempt_) {
    state_ = State::kWaiting;
    state_shows_waiting_ = true;
    return;
  }
  if (::access((attempt_->dir + "/exit").c_str(), F_OK) == 0) return read_exit();
  busy_ = true;
  state_ = State::kWaiting;
  const sys::Fd shim = connect_shim(node_.shim_socket(attempt_->id));
  ucred peer{};
  socklen_t size = sizeof peer;
  if (!shim || ::getsockopt(shim.get(), SOL_SOCKET, SO_PEERCRED, &peer, &size) < 0) return shim_lost();
  auto pidfd = open_pidfd(peer.pid);
  if (!pidfd.ok()) return shim_lost();
  pidfd_ = std::move(*pidfd);
  pid_watch_ = node_.loop.watch(pidfd_.get(), io::Loop::Ready::kRead, [this] { shim_ended(); });
  const auto look = [this] {
    auto line = sys::read_file(attempt_->dir + "/started", 128);
    if (!line.ok() || !busy_) return;
    adopt_timer_.cancel();
    const auto space = line->find(' ');
    became_running(space == std::string::npos ? now_unix_ns() : std::atoll(line->c_str() + space));
    probes_->begin();
    pod_.schedule_sync();
  };
  adopt_timer_ = node_.loop.every(milliseconds(50), look);  // the former runtime may have died while it started
  look();
}

std::string Container::previous_log() const { return last_ ? last_->dir + "/log" : ""; }

// The current attempt and the one before: `kubectl logs --previous`.
void Container::prune_attempts() const {
  if (attempt_->number < 2) return;
  std::error_code ec;
  fs::remove_all(container_dir() + "/" + std::to_string(attempt_->number - 2), ec);
  for (const char* part : {"upper", "work", "rootfs"})
    fs::remove_all(container_dir() + "/" + std::to_string(attempt_->number - 1) + "/" + part, ec);
}

// --- status ----------------------------------------------------------------------------------------------------

Json Container::terminated(const Attempt& a) const {
  JsonObject out{{"exitCode", a.exit_code},
                 {"reason", a.reason},
                 {"startedAt", rfc3339(a.started_ns)},
                 {"finishedAt", rfc3339(a.finished_ns)},
                 {"containerID", "runc://" + a.id}};
  if (a.signal != 0 && a.reason != "Error" && a.reason != "OOMKilled") out["signal"] = a.signal;
  if (!a.message.empty()) out["message"] = a.message;
  return JsonObject{{"terminated", std::move(out)}};
}

Json Container::status() const {
  JsonObject waiting{{"reason", waiting_reason_}};
  if (!waiting_message_.empty()) waiting["message"] = waiting_message_;
  JsonObject state{{"waiting", std::move(waiting)}}, last;
  if (state_ == State::kRunning) state = {{"running", JsonObject{{"startedAt", rfc3339(attempt_->started_ns)}}}};
  if (state_ == State::kExited && !state_shows_waiting_) state = terminated(*attempt_).get_object();
  if (state_ == State::kExited && state_shows_waiting_) last = terminated(*attempt_).get_object();
  else if (last_) last = terminated(*last_).get_object();
  const bool done = kind_ == ContainerKind::kInit && succeeded();
  JsonObject out{{"name", name_},
                 {"image", text(spec_, "image")},
                 {"imageID", ""},
                 {"ready", (ready() && kind_ != ContainerKind::kEphemeral) || done},
                 {"started", started()},
                 {"restartCount", attempt_ ? attempt_->number : 0},
                 {"state", std::move(state)},
                 {"lastState", std::move(last)}};
  if (attempt_) {
    out["image"] = attempt_->image_name;
    out["imageID"] = attempt_->image_id;
    out["containerID"] = "runc://" + attempt_->id;
  }
  return out;
}

}  // namespace fairway::runtime
