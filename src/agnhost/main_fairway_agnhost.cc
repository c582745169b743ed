#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstring>

#include "agnhost/agnhost.h"

namespace {

constexpr char kUsage[] =
    "agnhost (Fairway's own program, a part of Kubernetes' agnhost)\n\n"
    "  agnhost netexec [--http-port=8080] [--udp-port=8081]   HTTP / /hostname /clientip /echo /healthz /dial /shell /header /exit; UDP "
    "hostname, echo, clientip\n"
    "  agnhost connect HOST:PORT [--timeout=1s] [--protocol=tcp|udp]   exits with 1 and TIMEOUT, REFUSED, DNS or OTHER where it cannot\n"
    "  agnhost serve-hostname [--port=9376[,PORT...]] [--tcp [--every=50ms]] [--udp]\n"
    "  agnhost follow tcp|udp/IP/PORT [--every=50ms]           a line for each message that comes; over UDP it asks for them\n"
    "  agnhost probe [--listen=PORT,...] [--timeout=1s] [--pace-us=0] [tcp|udp/IP/PORT[*TIMES]...]\n"
    "                                          begins all connections at once and prints a line of JSON, what became of each;\n"
    "                                          without targets so for each line of stdin\n"
    "  agnhost pause                                           waits for a signal\n";

void on_signal(int number) { ::_exit(number == SIGTERM || number == SIGINT ? 0 : 1); }

// As the first process of a pod it also collects whoever is left to it.
int pause_forever() {
  ::signal(SIGCHLD, [](int) {});
  for (;;) {
    while (::waitpid(-1, nullptr, WNOHANG) > 0) {}
    ::pause();
  }
}

}  // namespace

int main(int argc, char** argv) {
  using namespace fairway::agnhost;
  ::signal(SIGPIPE, SIG_IGN);
  ::signal(SIGTERM, on_signal);  // process 1 has no default actions
  ::signal(SIGINT, on_signal);
  const char* name = std::strrchr(argv[0], '/') ? std::strrchr(argv[0], '/') + 1 : argv[0];
  const char* command = std::strcmp(name, "pause") == 0 ? "pause" : argc > 1 ? argv[1] : "";
  const Args args = parse_args(argc, argv, 2);
  if (std::strcmp(command, "netexec") == 0) return netexec(args);
  if (std::strcmp(command, "connect") == 0) return connect_command(args);
  if (std::strcmp(command, "serve-hostname") == 0) return serve_hostname(args);
  if (std::strcmp(command, "probe") == 0) return probe(args);
  if (std::strcmp(command, "follow") == 0) return follow(args);
  if (std::strcmp(command, "pause") == 0) return pause_forever();
  std::fputs(kUsage, stderr);
  return 2;
}
