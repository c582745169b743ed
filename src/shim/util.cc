#include "shim/util.h"

#include <fcntl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

namespace fairway::shim {

void die(const char* what) {
  std::fprintf(stderr, "fairway-shim: %s: %s\n", what, std::strerror(errno));
  std::exit(1);
}

void set_nonblocking(int fd) { ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK); }

bool write_all(int fd, const char* data, std::size_t size) {
  while (size > 0) {
    const ssize_t n = ::write(fd, data, size);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return false;
    data += n;
    size -= static_cast<std::size_t>(n);
  }
  return true;
}

bool write_some(int fd, std::string& data) {
  while (!data.empty()) {
    const ssize_t n = fd >= 0 ? ::write(fd, data.data(), data.size()) : -1;
    if (fd >= 0 && n < 0 && errno == EINTR) continue;
    if (fd >= 0 && n < 0 && errno == EAGAIN) return false;
    if (n < 0) data.clear();
    else data.erase(0, static_cast<std::size_t>(n));
  }
  return true;
}

bool write_file(const std::string& path, const std::string& text) {
  const std::string temporary = path + ".tmp";
  const int fd = ::open(temporary.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
  if (fd < 0) return false;
  const bool written = write_all(fd, text.data(), text.size());
  ::close(fd);
  return written && ::rename(temporary.c_str(), path.c_str()) == 0;
}

std::string read_small_file(const std::string& path) {
  std::string out;
  const int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return out;
  char chunk[4096];
  ssize_t n;
  while ((n = ::read(fd, chunk, sizeof chunk)) > 0 && out.size() < (1 << 20)) out.append(chunk, static_cast<std::size_t>(n));
  ::close(fd);
  return out;
}

long long now_ns() {
  timespec ts{};
  ::clock_gettime(CLOCK_REALTIME, &ts);
  return ts.tv_sec * 1'000'000'000LL + ts.tv_nsec;
}

sockaddr_un unix_address(const std::string& path) {
  sockaddr_un addr{};
  addr.sun_family = AF_UNIX;
  if (path.size() >= sizeof addr.sun_path) {
    errno = ENAMETOOLONG;
    die(path.c_str());
  }
  std::memcpy(addr.sun_path, path.c_str(), path.size() + 1);
  return addr;
}

ssize_t receive_with_fd(int socket, void* data, std::size_t size, int& passed) {
  iovec iov{data, size};
  alignas(cmsghdr) char control[CMSG_SPACE(sizeof(int))];
  msghdr msg{};
  msg.msg_iov = &iov;
  msg.msg_iovlen = 1;
  msg.msg_control = control;
  msg.msg_controllen = sizeof control;
  passed = -1;
  const ssize_t n = ::recvmsg(socket, &msg, MSG_CMSG_CLOEXEC);
  if (n > 0)
    if (cmsghdr* c = CMSG_FIRSTHDR(&msg); c && c->cmsg_type == SCM_RIGHTS) std::memcpy(&passed, CMSG_DATA(c), sizeof passed);
  return n;
}

bool reap_children(int signals, pid_t pid, int& wait_status) {
  signalfd_siginfo info;
  while (::read(signals, &info, sizeof info) > 0) {}
  bool found = false;
  int status;
  for (pid_t ended; (ended = ::waitpid(-1, &status, WNOHANG)) > 0;)
    if (ended == pid) {
      found = true;
      wait_status = status;
    }
  return found;
}

int listen_seqpacket(const std::string& path) {
  const sockaddr_un addr = unix_address(path);
  const int fd = ::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  ::unlink(path.c_str());
  const mode_t before = ::umask(0177);
  if (::bind(fd, reinterpret_cast<const sockaddr*>(&addr), sizeof addr) < 0) die(path.c_str());
  ::umask(before);
  if (::listen(fd, 16) < 0) die("listen");
  return fd;
}

std::string last_runc_error(const std::string& log_path) {
  const std::string text = read_small_file(log_path);
  const std::size_t at = text.rfind("\"msg\":\"");
  if (at == std::string::npos) return "runc failed and said nothing";
  std::size_t end = at + 7;
  while (end < text.size() && text[end] != '"') end += text[end] == '\\' ? 2 : 1;
  if (end > text.size()) end = text.size();
  return text.substr(at + 7, end - at - 7);
}

}  // namespace fairway::shim
