#include <fcntl.h>
#include <poll.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "shim/client.h"
#include "shim/modes.h"
#include "shim/util.h"

namespace fairway::shim {
namespace {

constexpr int kClient = 3;

class Exec final : public Client::Sink {
 public:
  explicit Exec(const Options& options) : options_(options) {}
  int run();

  void input(const char* data, std::size_t size) override {
    if (started_.stdio.in >= 0 && options_.want_stdin) input_.append(data, size);
    feed();
  }
  void input_end() override {
    input_ended_ = true;
    feed();
  }
  void resize(unsigned columns, unsigned rows) override { shim::resize(started_.stdio, columns, rows); }

 private:
  void feed();
  bool copy_output(int& fd, std::uint8_t channel);
  void loop();
  void reap() { ended_ = reap_children(signals_, started_.pid, wait_status_) || ended_; }
  void finish();

  Options options_;
  Started started_;
  Client client_;
  std::string input_;
  bool input_ended_ = false, ended_ = false;
  int signals_ = -1, wait_status_ = 0;
};

void Exec::feed() {
  int& fd = started_.stdio.in;
  if (!write_some(fd, input_)) return;
  if (fd < 0 || !input_ended_) return;
  input_ended_ = false;
  if (started_.stdio.tty) {
    input_.assign(1, '\x04');  // a terminal has no half-close: ^D is how its user says so
    return feed();
  }
  ::close(fd);
  fd = -1;
}

bool Exec::copy_output(int& fd, std::uint8_t channel) {
  char chunk[16384];
  const ssize_t n = ::read(fd, chunk, sizeof chunk);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return false;
  if (n <= 0) {  // a pty's end is EIO
    if (!started_.stdio.tty) ::close(fd);
    fd = -1;
    return false;
  }
  client_.send(channel, chunk, static_cast<std::size_t>(n));
  return true;
}

void Exec::loop() {
  while (!ended_) {
    const short out_events = client_.full() ? 0 : POLLIN;
    const short client_events =
        static_cast<short>((input_.size() < Client::kMaxInput ? POLLIN : 0) | (client_.wants_write() ? POLLOUT : 0));
    pollfd fds[5] = {{signals_, POLLIN, 0},
                     {out_events ? started_.stdio.out : -1, out_events, 0},
                     {out_events ? started_.stdio.err : -1, out_events, 0},
                     {input_.empty() ? -1 : started_.stdio.in, POLLOUT, 0},
                     {client_.fd(), client_events, 0}};
    if (::poll(fds, 5, -1) < 0 && errno != EINTR) die("poll");
    if (fds[1].revents) copy_output(started_.stdio.out, kStdout);
    if (fds[2].revents) copy_output(started_.stdio.err, kStderr);
    if (fds[3].revents) feed();
    if (fds[4].revents & POLLOUT) client_.flush();
    if ((fds[4].revents & (POLLIN | POLLHUP | POLLERR)) && client_.is_open() && !client_.receive(*this)) client_.close();
    if (!client_.is_open() && !ended_) ::kill(started_.pid, SIGKILL);  // nobody is left to see it: do not leave it behind
    if (fds[0].revents) reap();
  }
}

void Exec::finish() {
  std::string status;
  char text[256];
  if (started_.pid < 0) {
    const std::string message = "Internal error occurred: error executing command in container: OCI runtime exec failed: " + started_.error;
    status = "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"" + message + "\",\"reason\":\"InternalError\",\"code\":500}";
  } else if (const int code = WIFEXITED(wait_status_) ? WEXITSTATUS(wait_status_) : 128 + WTERMSIG(wait_status_); code == 0) {
    status = "{\"metadata\":{},\"status\":\"Success\"}";
  } else {
    std::snprintf(text, sizeof text,
                  "{\"metadata\":{},\"status\":\"Failure\",\"message\":\"command terminated with non-zero exit code: exit status %d\","
                  "\"reason\":\"NonZeroExitCode\",\"details\":{\"causes\":[{\"reason\":\"ExitCode\",\"message\":\"%d\"}]}}",
                  code, code);
    status = text;
  }
  client_.send(kStatus, status.data(), status.size());
  client_.flush_all(5000);
}

int Exec::run() {
  ::prctl(PR_SET_CHILD_SUBREAPER, 1);
  ::fcntl(kClient, F_SETFD, FD_CLOEXEC);
  sigset_t mask;
  sigemptyset(&mask);
  sigaddset(&mask, SIGCHLD);
  ::sigprocmask(SIG_BLOCK, &mask, nullptr);
  signals_ = ::signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
  client_.open(kClient);
  started_ = start_with_runc(options_, true);
  ::unlink(options_.process.c_str());
  if (started_.pid > 0) {
    for (int fd : {started_.stdio.in, started_.stdio.out, started_.stdio.err})
      if (fd >= 0) set_nonblocking(fd);
    reap();
    loop();
    while (client_.is_open() && started_.stdio.out >= 0 && copy_output(started_.stdio.out, kStdout)) client_.flush_all(5000);
    while (client_.is_open() && started_.stdio.err >= 0 && copy_output(started_.stdio.err, kStderr)) client_.flush_all(5000);
  }
  finish();
  return 0;
}

}  // namespace

int run_exec(const Options& options) { return Exec(options).run(); }

}  // namespace fairway::shim
