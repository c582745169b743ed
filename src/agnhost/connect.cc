#include <netdb.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {

int dial(const std::string& host, const std::string& port, int type, int timeout_ms, std::string& why) {
  addrinfo hints{}, *list = nullptr;
  hints.ai_socktype = type;
  if (const int rc = ::getaddrinfo(host.c_str(), port.c_str(), &hints, &list); rc != 0) {
    why = "DNS: " + std::string(::gai_strerror(rc));
    return -1;
  }
  int connected = -1;
  for (addrinfo* a = list; a && connected < 0; a = a->ai_next) {
    const int fd = ::socket(a->ai_family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0) {
      why = "OTHER: " + std::string(std::strerror(errno));
      continue;
    }
    int error = ::connect(fd, a->ai_addr, a->ai_addrlen) == 0 ? 0 : errno;
    if (error == EINPROGRESS) {
      pollfd p{fd, POLLOUT, 0};
      socklen_t size = sizeof error;
      if (::poll(&p, 1, timeout_ms) <= 0) error = ETIMEDOUT;
      else ::getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size);
    }
    if (error == 0) {
      connected = fd;
      break;
    }
    why = error == ETIMEDOUT ? "TIMEOUT" : error == ECONNREFUSED ? "REFUSED" : "OTHER: " + std::string(std::strerror(error));
    ::close(fd);
  }
  ::freeaddrinfo(list);
  return connected;
}

int duration_ms(const std::string& text) {
  char* end = nullptr;
  const double value = std::strtod(text.c_str(), &end);
  const std::string unit = end;
  return static_cast<int>(value * (unit == "ms" ? 1 : unit == "m" ? 60'000 : 1000));
}

// Says nothing and exits with 0 where the connection comes about; else one word and 1.
int connect_command(const Args& args) {
  if (args.words.empty()) {
    std::fprintf(stderr, "usage: agnhost connect HOST:PORT [--timeout=1s] [--protocol=tcp|udp]\n");
    return 2;
  }
  std::string host = args.words[0];
  const auto colon = host.rfind(':');
  if (colon == std::string::npos) {
    std::fprintf(stderr, "OTHER: no port in %s\n", host.c_str());
    return 1;
  }
  const std::string port = host.substr(colon + 1);
  host.resize(colon);
  if (host.size() > 1 && host.front() == '[') host = host.substr(1, host.size() - 2);
  const bool udp = args.get("protocol", "tcp") == "udp";
  const int timeout = duration_ms(args.get("timeout", "0"));
  if (udp) {
    const Response answer = udp_ask(host, port, "hostname", timeout > 0 ? timeout : 5000);
    if (answer.code == 200) return 0;
    std::fprintf(stderr, "%s\n", answer.body.c_str());
    return 1;
  }
  std::string why;
  const int fd = dial(host, port, SOCK_STREAM, timeout > 0 ? timeout : -1, why);
  if (fd >= 0) {
    ::close(fd);
    return 0;
  }
  std::fprintf(stderr, "%s\n", why.c_str());
  return 1;
}

}  // namespace fairway::agnhost
