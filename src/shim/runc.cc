#include "shim/runc.h"

#include <fcntl.h>
#include <poll.h>
#include <sched.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "shim/util.h"

namespace fairway::shim {
namespace {

struct ChildEnds {
  int in = -1, out = -1, err = -1;
};

void make_pipes(Stdio& ours, ChildEnds& child, bool want_stdin) {
  int ends[2];
  if (::pipe2(ends, O_CLOEXEC) < 0) die("pipe");
  ours.out = ends[0], child.out = ends[1];
  if (::pipe2(ends, O_CLOEXEC) < 0) die("pipe");
  ours.err = ends[0], child.err = ends[1];
  if (!want_stdin) {
    child.in = ::open("/dev/null", O_RDONLY | O_CLOEXEC);
    return;
  }
  if (::pipe2(ends, O_CLOEXEC) < 0) die("pipe");
  child.in = ends[0], ours.in = ends[1];
}

// runc sends the pty's master over this socket.
int listen_console(const std::string& path) {
  const sockaddr_un addr = unix_address(path);
  ::unlink(path.c_str());
  const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (fd < 0 || ::bind(fd, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) < 0 || ::listen(fd, 1) < 0) die(path.c_str());
  return fd;
}

int receive_master(int listener) {
  pollfd p{listener, POLLIN, 0};
  if (::poll(&p, 1, 5000) <= 0) return -1;
  const int conn = ::accept4(listener, nullptr, nullptr, SOCK_CLOEXEC);
  if (conn < 0) return -1;
  char name[256];
  int master = -1;
  receive_with_fd(conn, name, sizeof name, master);
  ::close(conn);
  return master;
}

void mount_rootfs(const Options& options) {
  if (::unshare(CLONE_NEWNS) < 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) < 0) die("mount namespace");
  if (::chdir(options.lower_dir.c_str()) < 0) die(options.lower_dir.c_str());
  const std::string data = "lowerdir=" + options.lower + ",upperdir=" + options.bundle + "/upper,workdir=" + options.bundle + "/work";
  if (::mount("overlay", (options.bundle + "/rootfs").c_str(), "overlay", 0, data.c_str()) < 0) die(("mount overlay " + data).c_str());
}

std::vector<std::string> runc_command(const Options& o, bool exec, const std::string& log, const std::string& pid_file,
                                      const std::string& console) {
  std::vector<std::string> argv{o.runc,     "--root",     o.root,  "--log", log, "--log-format", "json", exec ? "exec" : "run",
                                "--detach", "--pid-file", pid_file};
  if (exec) argv.insert(argv.end(), {"--process", o.process});
  else argv.insert(argv.end(), {"--bundle", o.bundle});
  if (!console.empty()) argv.insert(argv.end(), {"--console-socket", console});
  argv.push_back(o.id);
  return argv;
}

[[noreturn]] void run_child(const Options& options, bool exec, const std::vector<std::string>& argv, const ChildEnds& ends) {
  sigset_t none;
  sigemptyset(&none);
  ::sigprocmask(SIG_SETMASK, &none, nullptr);
  ::signal(SIGPIPE, SIG_DFL);
  if (!exec && !options.lower.empty()) mount_rootfs(options);
  if (ends.in >= 0) ::dup2(ends.in, 0);
  if (ends.out >= 0) ::dup2(ends.out, 1);
  if (ends.err >= 0) ::dup2(ends.err, 2);
  std::vector<char*> args;
  for (const std::string& arg : argv) args.push_back(const_cast<char*>(arg.c_str()));
  args.push_back(nullptr);
  ::execv(args[0], args.data());
  die(args[0]);
}

void close_fds(std::initializer_list<int> fds) {
  for (int fd : fds)
    if (fd >= 0) ::close(fd);
}

// Mounting and the like fail before runc has a log: then the child's own words on stderr are the reason.
std::string failure(const std::string& log, int err_fd) {
  struct stat st {};
  if (::stat(log.c_str(), &st) == 0 && st.st_size > 0) return last_runc_error(log);
  char text[1024] = "";
  if (err_fd >= 0) {
    set_nonblocking(err_fd);
    const ssize_t n = ::read(err_fd, text, sizeof text - 1);
    text[n > 0 ? n : 0] = 0;
  }
  std::string out;
  for (const char* p = text; *p; ++p)
    if (*p != '"' && *p != '\\' && static_cast<unsigned char>(*p) >= 0x20) out += *p;
  return out.empty() ? "runc could not be started" : out;
}

}  // namespace

Started start_with_runc(const Options& options, bool exec) {
  const std::string stem = exec ? options.process : options.bundle + "/runc";
  const std::string log = stem + ".log", pid_file = stem + ".pid";
  // A path below the bundle may be too long for a socket's name: the shim's own socket has a short one.
  const std::string console = options.tty ? options.socket + ".tty" : "";
  ::unlink(log.c_str());
  ::unlink(pid_file.c_str());
  Started started;
  ChildEnds ends;
  int listener = -1;
  if (options.tty) {
    listener = listen_console(console);
    ends.in = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    ends.out = ::dup(ends.in);
    int errors[2];
    if (::pipe2(errors, O_CLOEXEC) < 0) die("pipe");
    started.stdio.err = errors[0], ends.err = errors[1];
  } else {
    make_pipes(started.stdio, ends, options.want_stdin);
  }
  const std::vector<std::string> argv = runc_command(options, exec, log, pid_file, console);
  const pid_t runc = ::fork();
  if (runc < 0) die("fork");
  if (runc == 0) run_child(options, exec, argv, ends);
  close_fds({ends.in, ends.out, ends.err});
  int master = -1;
  if (listener >= 0) {
    master = receive_master(listener);
    close_fds({listener});
    ::unlink(console.c_str());
  }
  int status = 0;
  while (::waitpid(runc, &status, 0) < 0 && errno == EINTR) {}
  if (status == 0) started.pid = static_cast<pid_t>(std::strtol(read_small_file(pid_file).c_str(), nullptr, 10));
  if (started.pid <= 0) {
    started.pid = -1;
    started.error = failure(log, started.stdio.err);
    close_fds({started.stdio.in, started.stdio.out, started.stdio.err, master});
    started.stdio = {};
  } else if (options.tty) {
    close_fds({started.stdio.err});
    started.stdio = {.in = master, .out = master, .err = -1, .tty = true};
  }
  ::unlink(pid_file.c_str());
  if (started.pid > 0 || exec) ::unlink(log.c_str());
  return started;
}

void runc_delete(const Options& options) {
  const pid_t pid = ::fork();
  if (pid < 0) return;
  if (pid == 0) {
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd : {0, 1, 2}) ::dup2(null, fd);
    ::execl(options.runc.c_str(), options.runc.c_str(), "--root", options.root.c_str(), "delete", "--force", options.id.c_str(), nullptr);
    ::_exit(127);
  }
  while (::waitpid(pid, nullptr, 0) < 0 && errno == EINTR) {}
}

void resize(const Stdio& stdio, unsigned columns, unsigned rows) {
  if (!stdio.tty || columns == 0 || rows == 0 || columns > 0xffff || rows > 0xffff) return;
  winsize size{};
  size.ws_col = static_cast<unsigned short>(columns);
  size.ws_row = static_cast<unsigned short>(rows);
  ::ioctl(stdio.out, TIOCSWINSZ, &size);
}

}  // namespace fairway::shim
