#include "core/child.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include "core/cpu.h"
#include "sys/netns.h"

namespace fairway::bench {

namespace {

Status go_to(const Place& place) {
  if (!place.cgroup.empty()) {
    sys::Fd procs(open((place.cgroup + "/cgroup.procs").c_str(), O_WRONLY | O_CLOEXEC));
    if (!procs || write(procs.get(), "0", 1) != 1) return errno_error(errno, "join cgroup " + place.cgroup);
  }
  if (!place.netns.empty()) {
    FW_ASSIGN(sys::Fd netns, sys::open_netns(place.netns));
    if (setns(netns.get(), CLONE_NEWNET) != 0) return errno_error(errno, "enter " + place.netns);
  }
  if (place.cpu) {
    FW_TRY(pin_to(*place.cpu));
    (void)setpriority(PRIO_PROCESS, 0, -20);  // others on the machine then disturb less; a wish, not a need
  }
  return {};
}

void put(int fd, const void* data, std::size_t size) {
  for (auto* at = static_cast<const char*>(data); size > 0;) {
    ssize_t n = write(fd, at, size);
    if (n <= 0) return;
    at += n;
    size -= static_cast<std::size_t>(n);
  }
}

}  // namespace

// What goes through the pipe: '+' and doubles, or '-' and the error's text.
Result<Child> Child::start(const Place& place, std::function<Result<Numbers>()> body) {
  int fds[2];
  if (pipe2(fds, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  sys::Fd in(fds[0]), out(fds[1]);
  pid_t parent = getpid();
  pid_t pid = fork();
  if (pid < 0) return errno_error(errno, "fork");
  if (pid != 0) return Child(pid, std::move(in));
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent) _exit(1);
  signal(SIGINT, SIG_IGN);  // the parent's to hear; it ends us
  Status there = go_to(place);
  Result<Numbers> result = there.ok() ? body() : Result<Numbers>(std::move(there).error());
  if (result.ok()) {
    put(out.get(), "+", 1);
    put(out.get(), result->data(), result->size() * sizeof(double));
  } else {
    put(out.get(), "-", 1);
    put(out.get(), result.error().message.data(), result.error().message.size());
  }
  _exit(0);  // no destructors: what they would undo is the parent's
}

Child::Child(Child&& other) noexcept : pid_(std::exchange(other.pid_, -1)), pipe_(std::move(other.pipe_)) {}

Child::~Child() {
  if (pid_ <= 0) return;
  kill(pid_, SIGKILL);
  waitpid(pid_, nullptr, 0);
}

Result<Child::Numbers> Child::wait() {
  std::string all;
  char chunk[4096];
  for (ssize_t n; (n = read(pipe_.get(), chunk, sizeof chunk)) > 0;) all.append(chunk, static_cast<std::size_t>(n));
  waitpid(std::exchange(pid_, -1), nullptr, 0);
  if (all.empty()) return make_error(Code::kInternal, "a process of the benchmark ended without a word");
  if (all[0] == '-') return make_error(Code::kInternal, all.substr(1));
  Numbers out((all.size() - 1) / sizeof(double));
  std::memcpy(out.data(), all.data() + 1, out.size() * sizeof(double));
  return out;
}

}  // namespace fairway::bench
