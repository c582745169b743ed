#include "sys/process.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>

#include "sys/fd.h"

extern char** environ;

namespace fairway::sys {
namespace {

constexpr std::size_t kMaxCapture = 16 << 20;

struct Pipe {
  Fd read, write;
};

Result<Pipe> make_pipe() {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) return errno_error(errno, "pipe");
  return Pipe{Fd(ends[0]), Fd(ends[1])};
}

Result<pid_t> spawn(const std::vector<std::string>& argv, int in, int out, int err) {
  std::vector<char*> args;
  for (const auto& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  posix_spawn_file_actions_t actions;
  posix_spawnattr_t attr;
  posix_spawn_file_actions_init(&actions);
  posix_spawnattr_init(&attr);
  posix_spawn_file_actions_adddup2(&actions, in, 0);
  posix_spawn_file_actions_adddup2(&actions, out, 1);
  posix_spawn_file_actions_adddup2(&actions, err, 2);
  sigset_t none;
  sigemptyset(&none);
  posix_spawnattr_setsigmask(&attr, &none);
  posix_spawnattr_setpgroup(&attr, 0);
  posix_spawnattr_setflags(&attr, POSIX_SPAWN_SETPGROUP | POSIX_SPAWN_SETSIGMASK);
  pid_t pid = -1;
  const int rc = ::posix_spawnp(&pid, args[0], &actions, &attr, args.data(), environ);
  posix_spawn_file_actions_destroy(&actions);
  posix_spawnattr_destroy(&attr);
  if (rc != 0) return errno_error(rc, "start " + argv[0]);
  return pid;
}

bool drain(Fd& fd, std::string& into) {
  char chunk[16384];
  const ssize_t n = ::read(fd.get(), chunk, sizeof chunk);
  if (n < 0 && (errno == EINTR || errno == EAGAIN)) return true;
  if (n <= 0) {
    fd.reset();
    return false;
  }
  if (into.size() < kMaxCapture) into.append(chunk, static_cast<std::size_t>(n));
  return true;
}

// Feeds stdin and collects output until both outputs have closed; false at the deadline.
bool pump(Fd& in, std::string_view input, Fd& out, Fd& err, RunResult& result, std::chrono::steady_clock::time_point end) {
  if (input.empty()) in.reset();
  while (out || err || in) {
    const auto left = std::chrono::duration_cast<std::chrono::milliseconds>(end - std::chrono::steady_clock::now()).count();
    if (left <= 0) return false;
    pollfd fds[3] = {{out.get(), POLLIN, 0}, {err.get(), POLLIN, 0}, {in.get(), POLLOUT, 0}};
    if (::poll(fds, 3, static_cast<int>(std::min<long long>(left, 1'000'000))) < 0 && errno != EINTR) return false;
    if (out && fds[0].revents) drain(out, result.out);
    if (err && fds[1].revents) drain(err, result.err);
    if (in && fds[2].revents) {
      const ssize_t n = ::write(in.get(), input.data(), input.size());
      if (n > 0) input.remove_prefix(static_cast<std::size_t>(n));
      if ((n < 0 && errno != EAGAIN && errno != EINTR) || input.empty()) in.reset();
    }
  }
  return true;
}

}  // namespace

Result<RunResult> run(const std::vector<std::string>& argv, const std::string& stdin_text, std::chrono::milliseconds deadline) {
  FW_ASSIGN(Pipe in, make_pipe());
  FW_ASSIGN(Pipe out, make_pipe());
  FW_ASSIGN(Pipe err, make_pipe());
  FW_ASSIGN(const pid_t pid, spawn(argv, in.read.get(), out.write.get(), err.write.get()));
  in.read.reset();
  out.write.reset();
  err.write.reset();
  ::fcntl(in.write.get(), F_SETFL, O_NONBLOCK);
  RunResult result;
  const bool in_time = pump(in.write, stdin_text, out.read, err.read, result, std::chrono::steady_clock::now() + deadline);
  if (!in_time) ::kill(-pid, SIGKILL);
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0 && errno == EINTR) {}
  if (!in_time) return make_error(Code::kTimeout, argv[0] + " did not end in " + std::to_string(deadline.count()) + " ms");
  result.exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
  return result;
}

Result<std::string> run_ok(const std::vector<std::string>& argv, const std::string& stdin_text, std::chrono::milliseconds deadline) {
  FW_ASSIGN(RunResult result, run(argv, stdin_text, deadline));
  if (result.exit_code == 0) return std::move(result.out);
  std::string words = result.err.empty() ? result.out : result.err;
  if (words.size() > 2000) words = "..." + words.substr(words.size() - 2000);
  return make_error(Code::kInternal, argv[0] + " exited with " + std::to_string(result.exit_code) + ": " + words);
}

}  // namespace fairway::sys
