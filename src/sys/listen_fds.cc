#include "sys/listen_fds.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdlib>
#include <sstream>

namespace fairway::sys {

std::vector<std::pair<std::string, Fd>> take_listen_fds() {
  std::vector<std::pair<std::string, Fd>> out;
  const char* pid = std::getenv("LISTEN_PID");
  const char* fds = std::getenv("LISTEN_FDS");
  const char* names = std::getenv("LISTEN_FDNAMES");
  if (fds == nullptr || names == nullptr || (pid != nullptr && std::atol(pid) != ::getpid())) return out;
  std::istringstream list(names);
  const int end = kFirstListenFd + std::atoi(fds);
  int fd = kFirstListenFd;
  for (std::string name; fd < end && std::getline(list, name, ':'); ++fd) {
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    out.emplace_back(name, Fd(fd));
  }
  return out;
}

}  // namespace fairway::sys
