#include "core/program.h"

#include <fcntl.h>
#include <poll.h>
#include <spawn.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <filesystem>
#include <fstream>
#include <set>
#include <sstream>
#include <thread>

#include "core/cpu.h"

namespace fairway::bench {

namespace {

std::vector<char*> pointers(const std::vector<std::string>& texts) {
  std::vector<char*> out;
  for (const auto& t : texts) out.push_back(const_cast<char*>(t.c_str()));
  out.push_back(nullptr);
  return out;
}

struct Running {
  pid_t pid = -1;
  sys::Fd out;
  std::chrono::steady_clock::time_point begin;
};

Result<Running> spawn(const Call& call) {
  int in[2], out[2];
  if (pipe2(in, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  sys::Fd in_read(in[0]), in_write(in[1]);
  if (pipe2(out, O_CLOEXEC) != 0) return errno_error(errno, "pipe");
  sys::Fd out_read(out[0]), out_write(out[1]);
  posix_spawn_file_actions_t actions;
  posix_spawn_file_actions_init(&actions);
  posix_spawn_file_actions_adddup2(&actions, in_read.get(), 0);
  posix_spawn_file_actions_adddup2(&actions, out_write.get(), 1);
  Running running;
  running.begin = std::chrono::steady_clock::now();
  int error = posix_spawn(&running.pid, call.argv[0].c_str(), &actions, nullptr, pointers(call.argv).data(), pointers(call.env).data());
  posix_spawn_file_actions_destroy(&actions);
  if (error != 0) return errno_error(error, "start " + call.argv[0]);
  if (write(in_write.get(), call.input.data(), call.input.size()) < 0) return errno_error(errno, "write to " + call.argv[0]);
  running.out = std::move(out_read);
  return running;
}

}  // namespace

Result<Child> start_program(const Place& place, std::vector<std::string> argv, const std::string& log) {
  return Child::start(place, [&]() -> Result<Child::Numbers> {
    int fd = open(log.c_str(), O_WRONLY | O_CREAT | O_TRUNC, 0644);
    dup2(fd, 1);
    dup2(fd, 2);
    signal(SIGINT, SIG_DFL);
    execv(argv[0].c_str(), pointers(argv).data());
    return errno_error(errno, "start " + argv[0]);
  });
}

// Output is small (it fits the pipe), so the end of each is waited for by its pipe's end, in any order.
Result<std::vector<Called>> call_programs(const std::vector<Call>& calls) {
  std::vector<Running> running;
  for (const Call& call : calls) {
    FW_ASSIGN(Running one, spawn(call));
    running.push_back(std::move(one));
  }
  std::vector<Called> out(calls.size());
  for (std::size_t left = calls.size(); left > 0;) {
    std::vector<pollfd> fds;
    for (const Running& r : running) fds.push_back({r.out ? r.out.get() : -1, POLLIN, 0});
    if (poll(fds.data(), fds.size(), 60'000) <= 0) return make_error(Code::kTimeout, calls[0].argv[0] + " did not end");
    for (std::size_t i = 0; i < fds.size(); ++i) {
      if (fds[i].revents == 0) continue;
      char chunk[4096];
      ssize_t n = read(fds[i].fd, chunk, sizeof chunk);
      if (n > 0) {
        out[i].out.append(chunk, static_cast<std::size_t>(n));
        continue;
      }
      int status = 0;
      waitpid(running[i].pid, &status, 0);
      out[i].milliseconds = std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - running[i].begin).count();
      out[i].exit_code = WIFEXITED(status) ? WEXITSTATUS(status) : 128;
      running[i].out.reset();
      --left;
    }
  }
  return out;
}

Result<Memory> memory_of(pid_t pid) {
  std::string proc = "/proc/" + std::to_string(pid);
  Memory out;
  std::ifstream status(proc + "/status");
  for (std::string line; std::getline(status, line);)
    if (line.starts_with("VmRSS:")) out.resident = std::strtod(line.c_str() + 6, nullptr) * 1024;
  if (out.resident == 0) return make_error(Code::kNotFound, "the program that was to be measured is gone");
  std::set<std::string> seen;
  std::error_code ec;
  for (const auto& entry : std::filesystem::directory_iterator(proc + "/fdinfo", ec)) {
    std::ifstream info(entry.path());
    std::string id;
    double bytes = 0;
    for (std::string word, value; info >> word;) {
      if (word == "map_id:") info >> id;
      if (word == "memlock:") info >> bytes;
    }
    if (!id.empty() && seen.insert(id).second) out.maps += bytes;
  }
  return out;
}

double cpu_seconds_of(pid_t pid) {
  std::ifstream stat("/proc/" + std::to_string(pid) + "/stat");
  std::string text((std::istreambuf_iterator<char>(stat)), {});
  std::size_t after = text.rfind(')');
  if (after == std::string::npos) return 0;
  std::istringstream in(text.substr(after + 2));
  std::string skipped;
  for (int i = 0; i < 11; ++i) in >> skipped;
  double user = 0, system = 0;
  in >> user >> system;
  return (user + system) / ticks_per_second();
}

Status wait_until_quiet(pid_t pid, std::chrono::seconds at_most) {
  auto until = std::chrono::steady_clock::now() + at_most;
  for (double last = cpu_seconds_of(pid); std::chrono::steady_clock::now() < until;) {
    std::this_thread::sleep_for(std::chrono::seconds(1));
    double now = cpu_seconds_of(pid);
    if (now - last < 0.05) return {};
    last = now;
  }
  return make_error(Code::kTimeout, "the program did not come to rest");
}

}  // namespace fairway::bench
