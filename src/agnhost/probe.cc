// agnhost probe: begins many connections at once and says what became of each. Ours alone; Kubernetes' agnhost has no such command.
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {
namespace {

constexpr std::size_t kMostDials = 20'000;  // of a round

long now_us() {
  timespec t{};
  ::clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1'000'000 + t.tv_nsec / 1000;
}

struct Dial {
  int type = SOCK_STREAM;
  sockaddr_storage address{};
  socklen_t size = 0;
  int fd = -1;
  bool connected = false;
  long began_us = 0, took_us = 0;
  unsigned resent = 0;  // SYNs after the first
  std::string answer, error;

  void end(const std::string& why) {
    error = why;
    took_us = now_us() - began_us;
    if (fd >= 0) ::close(fd);
    fd = -1;
  }
  void end(int number) {
    end(number == ETIMEDOUT ? "TIMEOUT" : number == ECONNREFUSED ? "REFUSED" : "OTHER: " + std::string(std::strerror(number)));
  }
};

// "tcp/10.0.0.1/80" or "udp/fd00::1/53"; "*20" after it: so many times.
bool parse_target(const std::string& text, std::vector<Dial>& out) {
  const auto first = text.find('/'), last = text.rfind('/'), star = text.find('*');
  if (first == std::string::npos || first == last) return false;
  const std::string protocol = text.substr(0, first), host = text.substr(first + 1, last - first - 1);
  const long port = std::strtol(text.c_str() + last + 1, nullptr, 10);
  const long times = star == std::string::npos ? 1 : std::strtol(text.c_str() + star + 1, nullptr, 10);
  Dial dial;
  dial.type = protocol == "udp" ? SOCK_DGRAM : SOCK_STREAM;
  auto& v4 = reinterpret_cast<sockaddr_in&>(dial.address);
  auto& v6 = reinterpret_cast<sockaddr_in6&>(dial.address);
  if (::inet_pton(AF_INET, host.c_str(), &v4.sin_addr) == 1) v4.sin_family = AF_INET, dial.size = sizeof v4;
  else if (::inet_pton(AF_INET6, host.c_str(), &v6.sin6_addr) == 1) v6.sin6_family = AF_INET6, dial.size = sizeof v6;
  if ((protocol != "tcp" && protocol != "udp") || dial.size == 0 || port < 1 || port > 65535 || times < 1 ||
      out.size() + static_cast<std::size_t>(times) > kMostDials)
    return false;
  v4.sin_port = htons(static_cast<in_port_t>(port));  // at the same place in both
  out.insert(out.end(), static_cast<std::size_t>(times), dial);
  return true;
}

void begin(Dial& dial) {
  dial.began_us = now_us();
  dial.fd = ::socket(dial.address.ss_family, dial.type | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (dial.fd < 0) return dial.end(errno);
  const int rc = ::connect(dial.fd, reinterpret_cast<const sockaddr*>(&dial.address), dial.size);
  if (rc < 0 && errno != EINPROGRESS) return dial.end(errno);
  if (dial.type == SOCK_DGRAM && ::send(dial.fd, "hostname", 8, MSG_NOSIGNAL) < 0) return dial.end(errno);
  dial.connected = dial.type == SOCK_DGRAM;
}

// A socket that poll() named: connected, answered or failed.
void go_on(Dial& dial) {
  if (!dial.connected) {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(dial.fd, SOL_SOCKET, SO_ERROR, &error, &size);
    if (error != 0) return dial.end(error);
    tcp_info info{};
    size = sizeof info;
    if (::getsockopt(dial.fd, IPPROTO_TCP, TCP_INFO, &info, &size) == 0) dial.resent = info.tcpi_total_retrans;
    dial.connected = true;
    return;
  }
  char text[512];
  const ssize_t n = ::recv(dial.fd, text, sizeof text, 0);
  if (n < 0 && errno == EAGAIN) return;
  if (n < 0) return dial.end(errno);
  dial.answer.assign(text, static_cast<std::size_t>(n));
  dial.answer.erase(dial.answer.find_last_not_of('\n') + 1);
  dial.end(dial.answer.empty() ? "EOF" : "");
}

// One after the other, `pace_us` apart; each has `timeout_us` for itself.
void run_round(std::vector<Dial>& dials, long timeout_us, long pace_us) {
  const long start = now_us();
  std::size_t begun = 0, oldest = 0;
  std::vector<pollfd> waiting;
  std::vector<Dial*> owners;
  while (oldest < dials.size()) {
    while (begun < dials.size() && now_us() >= start + static_cast<long>(begun) * pace_us) begin(dials[begun++]);
    waiting.clear();
    owners.clear();
    for (std::size_t i = oldest; i < begun; ++i) {
      if (dials[i].fd < 0) continue;
      waiting.push_back({dials[i].fd, static_cast<short>(dials[i].connected ? POLLIN : POLLOUT), 0});
      owners.push_back(&dials[i]);
    }
    long until = owners.empty() ? now_us() : owners.front()->began_us + timeout_us;
    if (begun < dials.size()) until = std::min(until, start + static_cast<long>(begun) * pace_us);
    const long wait_us = std::max(0L, until - now_us());
    const timespec wait{wait_us / 1'000'000, wait_us % 1'000'000 * 1000};
    if (::ppoll(waiting.data(), waiting.size(), &wait, nullptr) > 0)
      for (std::size_t i = 0; i < waiting.size(); ++i)
        if (waiting[i].revents != 0) go_on(*owners[i]);
    for (Dial* dial : owners)
      if (dial->fd >= 0 && now_us() - dial->began_us >= timeout_us)
        dial->end(dial->connected && dial->type == SOCK_STREAM ? "SILENT" : "TIMEOUT");
    while (oldest < begun && dials[oldest].fd < 0) ++oldest;
  }
}

void print(const std::vector<Dial>& dials) {
  std::string out = "[";
  for (const Dial& dial : dials) {
    out += out.size() > 1 ? ",{" : "{";
    out += dial.error.empty() ? "\"answer\":" + json_string(dial.answer) : "\"error\":" + json_string(dial.error);
    out += ",\"at\":" + std::to_string(dial.began_us) + ",\"us\":" + std::to_string(dial.took_us) +
           (dial.resent > 0 ? ",\"resent\":" + std::to_string(dial.resent) : "") + "}";
  }
  std::printf("%s]\n", out.c_str());
  std::fflush(stdout);
}

int probe_round(const Args& args) {
  std::vector<Dial> dials;
  for (const auto& word : args.words)
    if (!parse_target(word, dials)) {
      std::printf("{\"error\":%s}\n", json_string("no target, or too many: " + word).c_str());
      std::fflush(stdout);
      return 2;
    }
  run_round(dials, std::max(1L, 1000L * duration_ms(args.get("timeout", "1s"))),
            std::strtol(args.get("pace-us", "0").c_str(), nullptr, 10));
  print(dials);
  return 0;
}

}  // namespace

// With targets: one round at once. Without: a round for each line of stdin, which is written as the command line is.
int probe(const Args& args) {
  rlimit files{};
  ::getrlimit(RLIMIT_NOFILE, &files);
  files.rlim_cur = files.rlim_max;
  ::setrlimit(RLIMIT_NOFILE, &files);
  const std::string listen = args.get("listen", "");
  if (!listen.empty() && !start_servers(listen, true, true)) return 1;
  if (!args.words.empty()) {
    const int code = probe_round(args);
    while (code == 0 && !listen.empty()) ::pause();
    return code;
  }
  char* line = nullptr;
  std::size_t size = 0;
  while (::getline(&line, &size, stdin) > 0) {
    std::vector<char*> words;
    for (char* word = std::strtok(line, " \n"); word != nullptr; word = std::strtok(nullptr, " \n")) words.push_back(word);
    probe_round(parse_args(static_cast<int>(words.size()), words.data(), 0));
  }
  std::free(line);
  return 0;
}

}  // namespace fairway::agnhost
