#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "shim/client.h"
#include "shim/cri_log.h"
#include "shim/modes.h"
#include "shim/util.h"

namespace fairway::shim {
namespace {

constexpr int kNotify = 3;
constexpr int kMaxClients = 8;

class Container final : public Client::Sink {
 public:
  explicit Container(const Options& options) : options_(options), log_(options.log) {}
  int run();

  void input(const char* data, std::size_t size) override {
    if (started_.stdio.in >= 0) input_.append(data, size);
    feed();
  }
  void input_end() override {
    if (!options_.stdin_once || options_.tty) return;  // without stdinOnce, stdin stays open for the next client
    input_ended_ = true;
    feed();
  }
  void resize(unsigned columns, unsigned rows) override { shim::resize(started_.stdio, columns, rows); }

 private:
  void report_start();
  void loop();
  void serve_socket();
  void command(int conn);
  bool copy_output(int& fd, int stream);
  void feed();
  void reap() { ended_ = reap_children(signals_, started_.pid, wait_status_) || ended_; }
  void record_exit(const std::string& error);
  bool oom_killed() const;

  Options options_;
  CriLog log_;
  Started started_;
  Client clients_[kMaxClients];
  std::string input_;
  bool input_ended_ = false;
  int listener_ = -1, signals_ = -1;
  long long started_ns_ = 0;
  bool ended_ = false;
  int wait_status_ = 0;
};

void Container::report_start() {
  char line[96];
  if (started_.pid > 0) {
    std::snprintf(line, sizeof line, "%d %lld\n", started_.pid, started_ns_);
    write_file(options_.bundle + "/started", line);
    std::snprintf(line, sizeof line, "started %d\n", started_.pid);
  } else {
    record_exit(started_.error);
    std::snprintf(line, sizeof line, "failed\n");
  }
  write_all(kNotify, line, std::strlen(line));
  ::close(kNotify);
}

bool Container::oom_killed() const {
  if (options_.memory_cgroup.empty()) return false;
  const std::string text = read_small_file(options_.memory_cgroup + "/memory.oom_control");
  const std::size_t at = text.find("oom_kill ");
  return at != std::string::npos && std::strtol(text.c_str() + at + 9, nullptr, 10) > 0;
}

void Container::record_exit(const std::string& error) {
  const int code = !error.empty() ? 128 : WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : 128 + WTERMSIG(wait_status_);
  const int signal = error.empty() && WIFSIGNALED(wait_status_) ? WTERMSIG(wait_status_) : 0;
  char head[256];
  std::snprintf(head, sizeof head, "{\"code\":%d,\"signal\":%d,\"oom\":%s,\"startedAt\":%lld,\"finishedAt\":%lld,\"error\":\"", code,
                signal, error.empty() && oom_killed() ? "true" : "false", started_ns_, now_ns());
  write_file(options_.bundle + "/exit", head + error + "\"}");
}

void Container::feed() {
  int& fd = started_.stdio.in;
  if (!write_some(fd, input_)) return;
  if (fd >= 0 && input_ended_ && !started_.stdio.tty) {
    ::close(fd);
    fd = -1;
  }
}

// False at the end of the stream.
bool Container::copy_output(int& fd, int stream) {
  char chunk[16384];
  const ssize_t n = ::read(fd, chunk, sizeof chunk);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return true;
  if (n <= 0) {
    if (!started_.stdio.tty) ::close(fd);
    fd = -1;
    return false;
  }
  log_.write(stream, chunk, static_cast<std::size_t>(n));
  for (Client& client : clients_) {
    if (!client.is_open()) continue;
    if (client.full()) client.close();  // a client that does not read must not hold up the container
    else client.send(static_cast<std::uint8_t>(stream), chunk, static_cast<std::size_t>(n));
  }
  return true;
}

void Container::command(int conn) {
  char message[16];
  int passed = -1;
  const ssize_t n = receive_with_fd(conn, message, sizeof message, passed);
  if (n >= 2 && message[0] == 'K' && !ended_) ::kill(started_.pid, message[1]);
  if (n >= 1 && message[0] == 'A' && passed >= 0)
    for (Client& client : clients_)
      if (!client.is_open()) {
        client.open(passed);
        passed = -1;
        break;
      }
  if (passed >= 0) ::close(passed);
}

void Container::serve_socket() {
  const int conn = ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC);
  if (conn < 0) return;
  pollfd p{conn, POLLIN, 0};  // the runtime sends at once; a silent one must not stop the log
  if (::poll(&p, 1, 1000) > 0) command(conn);
  ::close(conn);
}

void Container::loop() {
  while (!ended_) {
    pollfd fds[5 + kMaxClients];
    int count = 0;
    const auto add = [&](int fd, short events) {
      fds[count] = {fd, events, 0};
      return count++;
    };
    add(signals_, POLLIN);
    add(listener_, POLLIN);
    add(started_.stdio.out, POLLIN);
    add(started_.stdio.err, POLLIN);
    add(input_.empty() ? -1 : started_.stdio.in, POLLOUT);
    for (Client& client : clients_)
      add(client.fd(), static_cast<short>((input_.size() < Client::kMaxInput ? POLLIN : 0) | (client.wants_write() ? POLLOUT : 0)));
    if (::poll(fds, static_cast<nfds_t>(count), -1) < 0 && errno != EINTR) die("poll");
    if (fds[2].revents) copy_output(started_.stdio.out, 1);
    if (fds[3].revents) copy_output(started_.stdio.err, 2);
    if (fds[4].revents) feed();
    for (int i = 0; i < kMaxClients; ++i) {
      if (!clients_[i].is_open() || !fds[5 + i].revents) continue;
      if (fds[5 + i].revents & POLLOUT) clients_[i].flush();
      if ((fds[5 + i].revents & (POLLIN | POLLHUP | POLLERR)) && clients_[i].is_open() && !clients_[i].receive(*this)) {
        clients_[i].close();
        if (options_.stdin_once) {
          input_ended_ = true;
          feed();
        }
      }
    }
    if (fds[1].revents) serve_socket();
    if (fds[0].revents) reap();
  }
}

int Container::run() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::fcntl(kNotify, F_SETFD, FD_CLOEXEC);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_ = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  listener_ = listen_seqpacket(options_.socket);
  started_ns_ = now_ns();
  started_ = start_with_runc(options_, false);
  if (started_.pid > 0) started_ns_ = now_ns();
  report_start();
  if (started_.pid > 0) {
    for (int fd : {started_.stdio.in, started_.stdio.out, started_.stdio.err})
      if (fd >= 0) set_nonblocking(fd);
    reap();  // it may have ended before runc did
    loop();
    while (started_.stdio.out >= 0 && copy_output(started_.stdio.out, 1) && errno != EAGAIN) {}
    errno = 0;
    while (started_.stdio.err >= 0 && copy_output(started_.stdio.err, 2) && errno != EAGAIN) {}
    log_.finish();
    record_exit("");
    static const char kDone[] = "{\"metadata\":{},\"status\":\"Success\"}";
    for (Client& client : clients_) {
      client.send(kStatus, kDone, sizeof kDone - 1);
      client.flush_all(500);
      client.close();
    }
  }
  ::unlink(options_.socket.c_str());
  runc_delete(options_);
  return 0;
}

}  // namespace

int run_container(const Options& options) { return Container(options).run(); }

}  // namespace fairway::shim
