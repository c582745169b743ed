// agnhost follow: one connection that goes on, a line for each message that comes. Ours alone; Kubernetes' agnhost has no such command.
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {

// Over TCP it never sends, as who began a connection must be known without that; over UDP it asks every so often.
int follow(const Args& args) {
  const std::string target = args.words.empty() ? "" : args.words[0];
  const auto first = target.find('/'), last = target.rfind('/');
  if (first == std::string::npos || first == last) {
    std::fprintf(stderr, "usage: agnhost follow tcp|udp/IP/PORT [--every=50ms]\n");
    return 2;
  }
  const bool udp = target.compare(0, first, "udp") == 0;
  const int every_ms = duration_ms(args.get("every", "50ms"));
  std::string why;
  const int fd = dial(target.substr(first + 1, last - first - 1), target.substr(last + 1), udp ? SOCK_DGRAM : SOCK_STREAM, 5000, why);
  if (fd < 0) {
    std::printf("%s\n", why.c_str());
    return 1;
  }
  for (;;) {
    if (udp) (void)!::send(fd, "hostname", 8, MSG_NOSIGNAL);
    pollfd p{fd, POLLIN, 0};
    if (::poll(&p, 1, udp ? every_ms : -1) <= 0) continue;
    char text[512];
    const ssize_t n = ::recv(fd, text, sizeof text, 0);
    if (n == 0 || (n < 0 && errno != EAGAIN && errno != ECONNREFUSED)) {
      std::printf("%s\n", n == 0 ? "EOF" : std::strerror(errno));
      return 1;
    }
    if (n > 0) std::printf("came %.*s\n", static_cast<int>(n) - (text[n - 1] == '\n'), text);
    std::fflush(stdout);
    if (udp) ::usleep(static_cast<useconds_t>(every_ms) * 1000);
  }
}

}  // namespace fairway::agnhost
