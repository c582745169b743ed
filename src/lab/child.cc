#include "lab/child.h"

#include <fcntl.h>
#include <sched.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <cstring>
#include <filesystem>

#include "sys/fd.h"
#include "sys/listen_fds.h"
#include "sys/log.h"
#include "sys/netns.h"

namespace fairway::lab {
namespace {

constexpr std::chrono::milliseconds kFirstBackoff{20};
constexpr std::chrono::milliseconds kMaxBackoff{2'000};

// All that the child needs between fork and exec, prepared before the fork: afterwards only async-signal-safe calls.
struct Prepared {
  std::vector<char*> argv;
  std::vector<std::string> env_store;
  std::vector<char*> env;
  sys::Fd netns, cgroup_procs, log;
  std::vector<int> listen_fds;
  char* listen_pid = nullptr;  // where become() writes its pid, in env_store
};

constexpr char kListenPid[] = "LISTEN_PID=0000000000";

void prepare_environment(const ChildSpec& spec, Prepared& out) {
  for (char** item = environ; *item; ++item)
    if (std::strncmp(*item, "LISTEN_", 7) != 0) out.env_store.emplace_back(*item);
  if (!spec.listen_fds.empty()) {
    std::string names;
    for (const auto& [name, fd] : spec.listen_fds) {
      names += (names.empty() ? "" : ":") + name;
      out.listen_fds.push_back(fd);
    }
    out.env_store.push_back("LISTEN_FDS=" + std::to_string(spec.listen_fds.size()));
    out.env_store.push_back("LISTEN_FDNAMES=" + names);
    out.env_store.push_back(kListenPid);
  }
  for (auto& item : out.env_store) out.env.push_back(item.data());
  if (!spec.listen_fds.empty()) out.listen_pid = out.env_store.back().data() + sizeof "LISTEN_PID=" - 1;
  out.env.push_back(nullptr);
}

Result<Prepared> prepare(const ChildSpec& spec) {
  Prepared out;
  for (const auto& arg : spec.argv) out.argv.push_back(const_cast<char*>(arg.c_str()));
  out.argv.push_back(nullptr);
  prepare_environment(spec, out);
  if (!spec.netns.empty()) { FW_ASSIGN(out.netns, sys::open_netns(spec.netns)); }
  if (!spec.cgroup.empty()) {
    std::error_code ec;
    std::filesystem::create_directories(spec.cgroup, ec);
    out.cgroup_procs = sys::Fd(::open((spec.cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!out.cgroup_procs) return errno_error(errno, "open cgroup " + spec.cgroup);
  }
  out.log = sys::Fd(::open(spec.log_path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600));
  if (!out.log) return errno_error(errno, "open log " + spec.log_path);
  return out;
}

// Puts the listening sockets at 3, 4, ...: first above the range, so that none is overwritten.
void place_listen_fds(const std::vector<int>& fds) {
  int staged[64];
  const int n = std::min<int>(static_cast<int>(fds.size()), 64);
  for (int i = 0; i < n; ++i) staged[i] = ::fcntl(fds[static_cast<std::size_t>(i)], F_DUPFD_CLOEXEC, 100);
  for (int i = 0; i < n; ++i) ::dup2(staged[i], sys::kFirstListenFd + i);
}

// The pid is known only after the fork, where nothing may allocate: it is written over the zeros.
void write_pid(char* digits) {
  if (!digits) return;
  long pid = ::getpid();
  for (int i = 9; i >= 0; --i, pid /= 10) digits[i] = static_cast<char>('0' + pid % 10);
}

[[noreturn]] void become(const Prepared& prepared) {
  ::setsid();
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (prepared.cgroup_procs && ::write(prepared.cgroup_procs.get(), "0", 1) < 0) ::_exit(125);
  if (prepared.netns && ::setns(prepared.netns.get(), CLONE_NEWNET) < 0) ::_exit(126);
  const int null = ::open("/dev/null", O_RDONLY);
  ::dup2(null, 0);
  ::dup2(prepared.log.get(), 1);
  ::dup2(prepared.log.get(), 2);
  if (null > 2) ::close(null);
  place_listen_fds(prepared.listen_fds);
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  write_pid(prepared.listen_pid);
  ::execve(prepared.argv[0], prepared.argv.data(), prepared.env.data());
  ::_exit(127);
}

std::string describe_end(int status) {
  if (WIFEXITED(status)) return "exit code " + std::to_string(WEXITSTATUS(status));
  return std::string("signal ") + ::strsignal(WTERMSIG(status));
}

}  // namespace

Child::Child(io::Loop& loop, ChildSpec spec) : loop_(loop), spec_(std::move(spec)) {}

Child::~Child() {
  watch_.cancel();
  timer_.cancel();
  if (pid_ > 0) {
    ::kill(pid_, SIGKILL);
    ::waitpid(pid_, nullptr, 0);
  }
  if (pidfd_ >= 0) ::close(pidfd_);
}

void Child::start() {
  stopping_ = false;
  if (auto status = spawn(); !status.ok()) {
    last_end_ = status.error().message;
    log::error("supervisor", "{}: {}", spec_.name, last_end_);
    schedule_restart();
  }
}

void Child::terminate() {
  stopping_ = true;
  timer_.cancel();
  if (pid_ > 0) ::kill(pid_, SIGTERM);
}

Status Child::spawn() {
  FW_ASSIGN(const Prepared prepared, prepare(spec_));
  const pid_t pid = ::fork();
  if (pid < 0) return errno_error(errno, "fork");
  if (pid == 0) become(prepared);
  pid_ = pid;
  started_ = std::chrono::steady_clock::now();
  pidfd_ = static_cast<int>(::syscall(SYS_pidfd_open, pid, 0));
  if (pidfd_ < 0) return errno_error(errno, "pidfd_open");
  watch_ = loop_.watch(pidfd_, io::Loop::Ready::kRead, [this] { ended(); });
  return {};
}

void Child::ended() {
  int status = 0;
  if (::waitpid(pid_, &status, WNOHANG) != pid_) return;
  watch_.cancel();
  ::close(pidfd_);
  pidfd_ = pid_ = -1;
  last_end_ = describe_end(status);
  if (stopping_) return;
  log::warn("supervisor", "{} ended: {}; restarting it", spec_.name, last_end_);
  schedule_restart();
}

void Child::schedule_restart() {
  const bool lived = std::chrono::steady_clock::now() - started_ > std::chrono::seconds(10);
  backoff_ = lived ? kFirstBackoff : std::min(backoff_ * 2, kMaxBackoff);
  timer_ = loop_.after(backoff_, [this] {
    ++restarts_;
    start();
  });
}

}  // namespace fairway::lab
