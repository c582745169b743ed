#include "runtime/process.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

extern char** environ;

namespace fairway::runtime {
namespace {

constexpr std::size_t kMaxOutput = 1 << 20;

std::vector<char*> pointers(const std::vector<std::string>& words) {
  std::vector<char*> out;
  for (const auto& word : words) out.push_back(const_cast<char*>(word.c_str()));
  out.push_back(nullptr);
  return out;
}

// fds: what becomes 0, 1, 2 (and 3, if it is not -1).
Result<pid_t> spawn(const std::vector<std::string>& argv, const std::vector<std::string>& env, const int (&fds)[4], bool new_session) {
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  ::posix_spawn_file_actions_init(&actions);
  ::posix_spawnattr_init(&attr);
  for (int i = 0; i < 4; ++i)
    if (fds[i] >= 0) ::posix_spawn_file_actions_adddup2(&actions, fds[i], i);
  sigset_t none, defaults;
  sigemptyset(&none);
  sigemptyset(&defaults);
  sigaddset(&defaults, SIGPIPE);
  ::posix_spawnattr_setsigmask(&attr, &none);
  ::posix_spawnattr_setsigdefault(&attr, &defaults);
  ::posix_spawnattr_setpgroup(&attr, 0);
  ::posix_spawnattr_setflags(&attr, static_cast<short>(POSIX_SPAWN_SETSIGMASK | POSIX_SPAWN_SETSIGDEF |
                                                       (new_session ? POSIX_SPAWN_SETSID : POSIX_SPAWN_SETPGROUP)));
  const auto args = pointers(argv);
  const auto variables = pointers(env);
  pid_t pid = -1;
  const int rc = ::posix_spawnp(&pid, args[0], &actions, &attr, args.data(), env.empty() ? environ : variables.data());
  ::posix_spawn_file_actions_destroy(&actions);
  ::posix_spawnattr_destroy(&attr);
  if (rc != 0) return errno_error(rc, "start " + argv[0]);
  return pid;
}

// dup2 to its own number would keep close-on-exec: fds for children lie above those numbers.
sys::Fd above_stdio(sys::Fd fd) {
  if (fd.get() > 3 || !fd) return fd;
  return sys::Fd(::fcntl(fd.get(), F_DUPFD_CLOEXEC, 4));
}

}  // namespace

Result<sys::Fd> open_pidfd(pid_t pid) {
  sys::Fd fd(static_cast<int>(::syscall(SYS_pidfd_open, pid, 0)));
  if (!fd) return errno_error(errno, "pidfd of " + std::to_string(pid));
  return fd;
}

void reap(const sys::Fd& pidfd) {
  siginfo_t info{};
  ::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG);
}

Result<Detached> start_detached(const std::vector<std::string>& argv, int fd3, int log_fd) {
  const sys::Fd null = above_stdio(sys::Fd(::open("/dev/null", O_RDWR | O_CLOEXEC)));
  const sys::Fd log = log_fd >= 0 ? sys::Fd(::fcntl(log_fd, F_DUPFD_CLOEXEC, 4)) : sys::Fd();
  const sys::Fd third = fd3 >= 0 ? sys::Fd(::fcntl(fd3, F_DUPFD_CLOEXEC, 4)) : sys::Fd();
  const int out = log ? log.get() : null.get();
  FW_ASSIGN(const pid_t pid, spawn(argv, {}, {null.get(), out, out, third.get()}, true));
  Detached detached{.pid = pid};
  FW_ASSIGN(detached.pidfd, open_pidfd(pid));
  return detached;
}

struct Process::State : std::enable_shared_from_this<State> {
  explicit State(io::Loop& l) : loop(l) {}
  io::Loop& loop;
  std::function<void(ProcessResult)> done;
  ProcessResult result;
  pid_t pid = -1;
  sys::Fd pidfd, in, out, err;
  std::string input;
  io::Loop::Watch watch_pid, watch_in, watch_out, watch_err;
  io::Loop::Timer timer;

  static bool drain(sys::Fd& fd, std::string& into) {
    char chunk[16384];
    for (;;) {
      const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return true;
      if (n <= 0) {
        fd.reset();
        return false;
      }
      if (into.size() < kMaxOutput) into.append(chunk, std::min(static_cast<std::size_t>(n), kMaxOutput - into.size()));
    }
  }
  void feed() {
    while (in && !input.empty()) {
      const ssize_t n = ::write(in.get(), input.data(), input.size());
      if (n < 0 && errno == EINTR) continue;
      if (n < 0 && errno == EAGAIN) return;
      if (n < 0) break;
      input.erase(0, static_cast<std::size_t>(n));
    }
    watch_in.cancel();
    in.reset();
  }
  // What a grandchild that keeps the pipes may still say is not waited for.
  void ended() {
    siginfo_t info{};
    if (::waitid(static_cast<idtype_t>(P_PIDFD), static_cast<id_t>(pidfd.get()), &info, WEXITED | WNOHANG) < 0 || info.si_pid == 0) return;
    result.exit_code = info.si_code == CLD_EXITED ? info.si_status : 128 + info.si_status;
    pid = -1;
    if (out) drain(out, result.out);
    if (err) drain(err, result.err);
    const auto self = shared_from_this();  // the watch that calls us is part of us
    watch_pid.cancel(), watch_in.cancel(), watch_out.cancel(), watch_err.cancel(), timer.cancel();
    auto callback = std::move(done);
    callback(std::move(result));
  }
};

Process::~Process() {
  if (!state_) return;
  if (state_->pid > 0) {
    ::kill(-state_->pid, SIGKILL);
    int status;
    while (::waitpid(state_->pid, &status, 0) < 0 && errno == EINTR) {}
    state_->pid = -1;
  }
  state_->watch_pid.cancel(), state_->watch_in.cancel(), state_->watch_out.cancel(), state_->watch_err.cancel(), state_->timer.cancel();
}

bool Process::running() const { return state_ && state_->pid > 0; }

void Process::let_end(std::unique_ptr<Process> process, std::chrono::milliseconds deadline) {
  auto state = std::move(process->state_);
  if (!state || state->pid <= 0) return;
  State* s = state.get();
  s->timer = s->loop.after(deadline, [s] { ::kill(-s->pid, SIGKILL); });
  s->done = [state = std::move(state)](ProcessResult) {};  // it holds itself until then
}

Result<std::unique_ptr<Process>> Process::start(io::Loop& loop, ProcessSpec spec, std::function<void(ProcessResult)> done) {
  auto state = std::make_shared<State>(loop);
  sys::Fd child[3];
  for (int i = 0; i < 3; ++i) {
    int ends[2];
    if (::pipe2(ends, O_CLOEXEC) < 0) return errno_error(errno, "pipe");
    sys::Fd reader(ends[0]), writer(ends[1]);
    sys::Fd& ours = i == 0 ? state->in : i == 1 ? state->out : state->err;
    ours = i == 0 ? std::move(writer) : std::move(reader);
    child[i] = above_stdio(i == 0 ? std::move(reader) : std::move(writer));
    ::fcntl(ours.get(), F_SETFL, O_NONBLOCK);
  }
  FW_ASSIGN(state->pid, spawn(spec.argv, spec.env, {child[0].get(), child[1].get(), child[2].get(), -1}, false));
  for (auto& fd : child) fd.reset();
  FW_ASSIGN(state->pidfd, open_pidfd(state->pid));
  state->input = std::move(spec.input);
  state->done = std::move(done);
  State* s = state.get();
  s->watch_pid = loop.watch(s->pidfd.get(), io::Loop::Ready::kRead, [s] { s->ended(); });
  s->watch_out = loop.watch(s->out.get(), io::Loop::Ready::kRead, [s] {
    if (!State::drain(s->out, s->result.out)) s->watch_out.cancel();
  });
  s->watch_err = loop.watch(s->err.get(), io::Loop::Ready::kRead, [s] {
    if (!State::drain(s->err, s->result.err)) s->watch_err.cancel();
  });
  if (s->input.empty()) s->in.reset();
  else s->watch_in = loop.watch(s->in.get(), io::Loop::Ready::kWrite, [s] { s->feed(); });
  s->timer = loop.after(spec.deadline, [s] {
    s->result.timed_out = true;
    ::kill(-s->pid, SIGKILL);
  });
  return std::unique_ptr<Process>(new Process(std::move(state)));
}

}  // namespace fairway::runtime
