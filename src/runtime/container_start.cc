// A container's way from "it should run" to its shim: back-off, image, configuration, config.json, fairway-shim.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "runtime/container.h"
#include "runtime/pod.h"
#include "runtime/pod_files.h"
#include "runtime/volumes.h"
#include "sys/file.h"
#include "sys/log.h"

namespace fairway::runtime {

namespace fs = std::filesystem;
using std::chrono::milliseconds;
using std::chrono::seconds;
using std::chrono::steady_clock;

namespace {

constexpr milliseconds kFirstBackoff = seconds(10), kMaxBackoff = seconds(300);  // kubelet's
constexpr auto kBackoffReset = seconds(600);
constexpr auto kConfigRetry = seconds(5);

milliseconds until(steady_clock::time_point when) { return std::chrono::ceil<milliseconds>(when - steady_clock::now()); }

std::string duration_text(milliseconds d) {
  const auto s = d.count() / 1000;
  if (s >= 60) return std::to_string(s / 60) + "m" + std::to_string(s % 60) + "s";
  if (s >= 1) return std::to_string(s) + "." + std::to_string(d.count() % 1000 / 100) + "s";
  return std::to_string(d.count()) + "ms";
}

std::string pull_policy(const Json& container) {
  if (const std::string policy = text(container, "imagePullPolicy"); !policy.empty()) return policy;
  auto ref = parse_image_reference(text(container, "image"));
  return ref.ok() && ref->tag == "latest" && ref->digest.empty() ? "Always" : "IfNotPresent";
}

}  // namespace

// The first restart is at once; then 10 s after the exit, doubling to 5 min; 10 min of running forgive.
bool Container::in_crash_backoff() {
  if (state_ != State::kExited) return false;
  const auto now = steady_clock::now();
  if (now < crash_retry_) return true;
  if (attempt_->finished_ns - attempt_->started_ns > std::chrono::nanoseconds(kBackoffReset).count()) crash_backoff_ = milliseconds(0);
  if (crash_backoff_.count() == 0 || backed_off_for_ == attempt_->number) return false;
  backed_off_for_ = attempt_->number;  // once for each exit
  const auto since = std::chrono::nanoseconds(now_unix_ns() - attempt_->finished_ns);
  if (since >= crash_backoff_) return false;
  crash_retry_ = now + std::chrono::duration_cast<milliseconds>(crash_backoff_ - since);
  const std::string what = " restarting failed container";
  event("Warning", "BackOff", "Back-off" + what + " " + name_ + " in pod " + pod_.full_name());
  const auto s = crash_backoff_.count() / 1000;
  wait_for("CrashLoopBackOff", "back-off " +
                                   (s >= 60 ? std::to_string(s / 60) + "m" + std::to_string(s % 60) + "s" : std::to_string(s) + "s") +
                                   what + "=" + name_ + " pod=" + pod_.full_name());
  return true;
}

void Container::start() {
  if (busy_ || state_ == State::kRunning) return;
  if (in_crash_backoff()) {
    pod_.schedule_sync(until(crash_retry_));
    return;
  }
  if (steady_clock::now() < start_retry_) {
    pod_.schedule_sync(until(start_retry_));
    return;
  }
  if (in_image_backoff()) {
    pod_.schedule_sync(until(image_retry_));
    return;
  }
  busy_ = true;
  stopping_ = false;
  pull_image();
}

bool Container::in_image_backoff() {
  if (steady_clock::now() >= image_retry_) return false;
  if (image_backoff_said_) return true;
  image_backoff_said_ = true;
  const std::string message = "Back-off pulling image \"" + text(spec_, "image") + "\"";
  event("Normal", "BackOff", message);
  event("Warning", "Failed", "Error: ImagePullBackOff");
  wait_for("ImagePullBackOff", message + ": ErrImagePull: " + image_error_);
  return true;
}

void Container::fail_start(const std::string& reason, const std::string& message, milliseconds retry) {
  busy_ = false;
  slot_.reset();
  wait_for(reason, message);
  start_retry_ = steady_clock::now() + retry;
  pod_.schedule_sync(retry);
  pod_.schedule_sync();
}

void Container::pull_image() {
  const std::string name = text(spec_, "image"), policy = pull_policy(spec_);
  if (auto ref = parse_image_reference(name); !ref.ok()) {
    event("Warning", "InspectFailed", "Failed to apply default image tag \"" + name + "\": " + ref.error().message);
    event("Warning", "Failed", "Error: InvalidImageName");
    return fail_start("InvalidImageName", "Failed to apply default image tag \"" + name + "\": " + ref.error().message, kMaxBackoff);
  }
  auto present = node_.images.find(name);
  if (present.ok() && policy != "Always") {
    event("Normal", "Pulled", "Container image \"" + name + "\" already present on machine (" + present->source + ")");
    return load_config(std::move(*present));
  }
  if (policy == "Never") {
    event("Warning", "ErrImageNeverPull", "Container image \"" + name + "\" is not present with pull policy of Never");
    event("Warning", "Failed", "Error: ErrImageNeverPull");
    return fail_start("ErrImageNeverPull", "Container image \"" + name + "\" is not present with pull policy of Never", kFirstBackoff);
  }
  event("Normal", "Pulling", "Pulling image \"" + name + "\"");
  auto result = std::make_shared<Result<Image>>(make_error(Code::kInternal, "not pulled"));
  const std::int64_t began = now_unix_ns();
  node_.image_worker.run([this_store = &node_.images, name, result] { *result = this_store->pull(name); },
                         of_this_start([this, result, began] { image_pulled(std::move(*result), now_unix_ns() - began); }));
}

void Container::image_pulled(Result<Image> result, std::int64_t took_ns) {
  const std::string name = text(spec_, "image");
  if (result.ok()) {
    image_backoff_ = milliseconds(0);
    event(
        "Normal", "Pulled",
        "Successfully pulled image \"" + name + "\" in " + duration_text(milliseconds(took_ns / 1'000'000)) + " (" + result->source + ")");
    return load_config(std::move(*result));
  }
  image_error_ = result.error().message;
  event("Warning", "Failed", "Failed to pull image \"" + name + "\": " + image_error_);
  event("Warning", "Failed", "Error: ErrImagePull");
  image_backoff_ = image_backoff_.count() == 0 ? kFirstBackoff : std::min(image_backoff_ * 2, kMaxBackoff);
  image_retry_ = steady_clock::now() + image_backoff_;
  image_backoff_said_ = false;
  fail_start("ErrImagePull", image_error_, seconds(1));  // then its waiting is called ImagePullBackOff
}

void Container::load_config(Image image) {
  const auto names = env_references(spec_);
  auto go_on = of_this_start([this, image](ConfigObjects objects) {
    node_.starts.acquire(of_this_start([this, image, objects](StartLimiter::Slot slot) { create(image, objects, std::move(slot)); }));
  });
  if (names.empty()) return go_on(ConfigObjects{});
  node_.fetch(pod_.ns(), names, of_this_start([this, names, go_on](Result<ConfigObjects> fetched) mutable {
                if (fetched.ok()) return go_on(std::move(*fetched));
                // The API server may be away: what the volumes of this pod know still serves.
                const ConfigObjects& known = pod_.config_objects();
                if (std::all_of(names.begin(), names.end(), [&](const auto& n) { return known.contains(n); })) return go_on(known);
                fail_start("CreateContainerConfigError", fetched.error().message, kConfigRetry);
              }));
}

Result<std::vector<BindMount>> Container::bind_mounts(const Attempt& next, const std::vector<std::string>& env) {
  std::vector<BindMount> out;
  std::map<std::string, std::string> variables;
  for (const auto& entry : env) variables[entry.substr(0, entry.find('='))] = entry.substr(entry.find('=') + 1);
  for (const auto& mount : array(spec_, "volumeMounts")) {
    const std::string volume_name = text(mount, "name");
    const Json* volume = nullptr;
    for (const auto& candidate : array(pod_.object(), "spec.volumes"))
      if (text(candidate, "name") == volume_name) volume = &candidate;
    if (!volume) return make_error(Code::kNotFound, "cannot find volume \"" + volume_name + "\" to mount into container \"" + name_ + "\"");
    std::string source = find(*volume, "hostPath") ? text(*volume, "hostPath.path") : pod_.dir() + "/volumes/" + volume_name;
    std::string sub_path = text(mount, "subPath");
    if (const std::string expression = text(mount, "subPathExpr"); !expression.empty()) sub_path = expand_variables(expression, variables);
    FW_ASSIGN(source, resolve_sub_path(source, sub_path));
    const std::string propagation = text(mount, "mountPropagation");
    out.push_back({source, text(mount, "mountPath"), flag(mount, "readOnly"),
                   propagation == "Bidirectional"     ? "rshared"
                   : propagation == "HostToContainer" ? "rslave"
                                                      : "rprivate"});
  }
  const auto mounted = [&](const std::string& path) {
    return std::any_of(out.begin(), out.end(), [&](const BindMount& m) { return m.destination == path; });
  };
  for (const auto& [path, file] :
       {std::pair{"/etc/hosts", "hosts"}, std::pair{"/etc/resolv.conf", "resolv.conf"}, std::pair{"/etc/hostname", "hostname"}})
    if (!mounted(path)) out.push_back({pod_.dir() + "/etc/" + file, path});
  const std::string message = text(spec_, "terminationMessagePath", "/dev/termination-log");
  if (!message.empty() && !mounted(message)) out.push_back({next.dir + "/termination-log", message});
  return out;
}

// `kubectl debug --target`: the debugger sees the processes of the container that it names.
Result<std::string> Container::target_pid_namespace() const {
  const std::string name = text(spec_, "targetContainerName");
  if (name.empty()) return std::string();
  const Container* target = pod_.find_container(name);
  if (!target || target->state() != State::kRunning)
    return make_error(Code::kUnavailable, "the target container \"" + name + "\" is not running");
  FW_ASSIGN(const Json state, parse_json_file(node_.runc_root() + "/" + target->attempt()->id + "/state.json"));
  const auto pid = number(state, "init_process_pid");
  if (pid <= 0) return make_error(Code::kUnavailable, "the target container \"" + name + "\" has no process");
  return "/proc/" + std::to_string(pid) + "/ns/pid";
}

Status Container::write_bundle(const Image& image, const ConfigObjects& objects, Attempt& next) {
  ContainerSetup setup{.pod = &pod_.object(),
                       .container = &spec_,
                       .image = &image,
                       .netns = pod_.netns(),
                       .hostname = text(spec_, "name"),
                       .machine_capabilities = node_.capabilities,
                       .machine_memory = node_.memory_bytes,
                       .pids_limit = node_.pids_limit};
  setup.cgroup = node_.config.cgroup_parent + "/" + pod_.uid() + "/" + name_;
  setup.hostname = pod_hostname(pod_.object(), node_.config.node_name);
  FW_ASSIGN(setup.pid_namespace, target_pid_namespace());
  FW_ASSIGN(setup.user, resolve_user(pod_.object(), spec_, image, node_.images.layers_dir()));
  const auto services = service_variables(node_.services(), pod_.ns(), flag(pod_.object(), "spec.enableServiceLinks", true));
  const PodFacts facts = pod_.facts();
  FW_ASSIGN(setup.env, container_env(facts, spec_, image.config.env, services, objects));
  const auto add_env = [&](const std::string& name, const std::string& value) {
    if (std::none_of(setup.env.begin(), setup.env.end(), [&](const auto& e) { return e.starts_with(name + "="); }))
      setup.env.push_back(name + "=" + value);
  };
  add_env("HOSTNAME", setup.hostname);
  add_env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
  add_env("HOME", setup.user.home);
  if (flag(spec_, "tty")) add_env("TERM", "xterm");
  std::error_code ec;
  for (const char* part : {"upper", "work", "rootfs"}) fs::create_directories(next.dir + "/" + part, ec);
  if (ec) return make_error(Code::kIo, "create " + next.dir + ": " + ec.message());
  FW_TRY(sys::write_file_atomic(next.dir + "/termination-log", "", 0666));
  FW_ASSIGN(setup.mounts, bind_mounts(next, setup.env));
  if (container_argv(setup).empty()) return make_error(Code::kInvalid, "no command specified");
  FW_TRY(write_json_file(next.dir + "/config.json", oci_config(setup)));
  return write_json_file(next.dir + "/meta.json", JsonObject{{"id", next.id},
                                                             {"image", next.image_name},
                                                             {"imageID", next.image_id},
                                                             {"stopSignal", image.config.stop_signal},
                                                             {"container", name_}});
}

void Container::create(Image image, ConfigObjects objects, StartLimiter::Slot slot) {
  if (stopping_ || pod_.terminating()) {
    busy_ = stopping_ = false;
    pod_.schedule_sync();
    return;
  }
  Attempt next{
      .number = attempt_ ? attempt_->number + 1 : 0, .id = random_hex(64), .dir = "", .image_name = image.name, .image_id = image.id};
  next.dir = container_dir() + "/" + std::to_string(next.number);
  std::error_code ec;
  fs::remove_all(next.dir, ec);  // of an attempt that never came to a start
  if (Status status = write_bundle(image, objects, next); !status.ok()) {
    fs::remove_all(next.dir, ec);
    event("Warning", "Failed", "Error: " + status.error().message);
    return fail_start(status.error().code == Code::kIo ? "CreateContainerError" : "CreateContainerConfigError", status.error().message,
                      kConfigRetry);
  }
  if (attempt_) {
    last_ = std::move(attempt_);
    crash_backoff_ = crash_backoff_.count() == 0 ? kFirstBackoff : std::min(crash_backoff_ * 2, kMaxBackoff);
  }
  attempt_ = std::move(next);
  prune_attempts();
  if (Status status = spawn_shim(image, std::move(slot)); !status.ok()) {
    event("Warning", "Failed", "Error: " + status.error().message);
    (void)write_json_file(
        attempt_->dir + "/exit",
        JsonObject{{"code", 128}, {"startedAt", now_unix_ns()}, {"finishedAt", now_unix_ns()}, {"error", status.error().message}})
        .ok();
    read_exit();
  }
}

Status Container::spawn_shim(const Image& image, StartLimiter::Slot slot) {
  std::string lower;
  for (const auto& layer : image.layers) lower += (lower.empty() ? "" : ":") + layer;
  const std::string cgroup = node_.config.cgroup_parent + "/" + pod_.uid() + "/" + name_;
  // clang-format off
  std::vector<std::string> argv{
      node_.config.shim, "run", "--runc", node_.config.runc, "--root", node_.runc_root(), "--id", attempt_->id,
      "--bundle", attempt_->dir, "--lower-dir", node_.images.layers_dir(), "--lower", lower, "--log", attempt_->dir + "/log",
      "--socket", node_.shim_socket(attempt_->id), "--memory-cgroup", "/sys/fs/cgroup/memory" + cgroup};
  // clang-format on
  if (flag(spec_, "tty")) argv.push_back("--tty");
  if (flag(spec_, "stdin")) argv.push_back("--stdin");
  if (flag(spec_, "stdinOnce")) argv.push_back("--stdin-once");
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return errno_error(errno, "pipe");
  notify_ = sys::Fd(ends[0]);
  const sys::Fd other(ends[1]);
  ::fcntl(notify_.get(), F_SETFL, O_NONBLOCK);
  event("Normal", "Created", "Created container: " + name_);
  FW_ASSIGN(Detached shim, start_detached(argv, other.get(), STDERR_FILENO));
  slot_ = std::move(slot);
  pidfd_ = std::move(shim.pidfd);
  pid_watch_ = node_.loop.watch(pidfd_.get(), io::Loop::Ready::kRead, [this] { shim_ended(); });
  notify_watch_ = node_.loop.watch(notify_.get(), io::Loop::Ready::kRead, [this] { shim_spoke(); });
  return {};
}

}  // namespace fairway::runtime
