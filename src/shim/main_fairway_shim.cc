// fairway-shim: holds one container, or one exec, so that neither depends on the node runtime's life.
// Started by the runtime (src/runtime/container_start.cc, stream_server.cc); not for users.
#include <getopt.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "shim/modes.h"

int main(int argc, char** argv) {
  fairway::shim::Options o;
  static const option kOptions[] = {{"runc", 1, nullptr, 'r'},       {"root", 1, nullptr, 'R'},      {"id", 1, nullptr, 'i'},
                                    {"bundle", 1, nullptr, 'b'},     {"lower-dir", 1, nullptr, 'L'}, {"lower", 1, nullptr, 'l'},
                                    {"log", 1, nullptr, 'g'},        {"socket", 1, nullptr, 's'},    {"memory-cgroup", 1, nullptr, 'm'},
                                    {"process", 1, nullptr, 'p'},    {"tty", 0, nullptr, 't'},       {"stdin", 0, nullptr, 'n'},
                                    {"stdin-once", 0, nullptr, 'o'}, {nullptr, 0, nullptr, 0}};
  if (argc < 2) return 2;
  const bool exec = std::strcmp(argv[1], "exec") == 0;
  if (!exec && std::strcmp(argv[1], "run") != 0) return 2;
  for (int c; (c = ::getopt_long(argc - 1, argv + 1, "", kOptions, nullptr)) != -1;) {
    switch (c) {
      case 'r':
        o.runc = optarg;
        break;
      case 'R':
        o.root = optarg;
        break;
      case 'i':
        o.id = optarg;
        break;
      case 'b':
        o.bundle = optarg;
        break;
      case 'L':
        o.lower_dir = optarg;
        break;
      case 'l':
        o.lower = optarg;
        break;
      case 'g':
        o.log = optarg;
        break;
      case 's':
        o.socket = optarg;
        break;
      case 'm':
        o.memory_cgroup = optarg;
        break;
      case 'p':
        o.process = optarg;
        break;
      case 't':
        o.tty = true;
        break;
      case 'n':
        o.want_stdin = true;
        break;
      case 'o':
        o.stdin_once = true;
        break;
      default:
        return 2;
    }
  }
  std::signal(SIGPIPE, SIG_IGN);
  ::setsid();
  return exec ? fairway::shim::run_exec(o) : fairway::shim::run_container(o);
}
