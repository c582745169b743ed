// The servers that are no HTTP: the host's name over TCP and UDP.
#include <pthread.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>
#include <cstdlib>
#include <memory>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {
namespace {

struct Socket {
  int fd;
  int every_ms;
};

std::string udp_answer(const std::string& question, const std::string& client) {
  if (question == "hostname" || question == "hostName") return host_name();
  if (question == "clientip") return client;
  if (question.compare(0, 5, "echo ") == 0) return question.substr(5);
  return "";
}

void* serve_udp(void* argument) {
  const std::unique_ptr<Socket> on(static_cast<Socket*>(argument));
  for (;;) {
    char question[4096];
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const ssize_t n = ::recvfrom(on->fd, question, sizeof question, 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (n < 0) continue;
    std::string text(question, static_cast<std::size_t>(n));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    const std::string answer = udp_answer(text, address_text(peer));
    if (!answer.empty()) ::sendto(on->fd, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }
}

// Once, or until the client goes.
void* tell_name(void* argument) {
  const std::unique_ptr<Socket> to(static_cast<Socket*>(argument));
  const std::string name = host_name() + "\n";
  while (::send(to->fd, name.data(), name.size(), MSG_NOSIGNAL) > 0 && to->every_ms > 0)
    ::usleep(static_cast<useconds_t>(to->every_ms) * 1000);
  ::close(to->fd);
  return nullptr;
}

void* serve_tcp(void* argument) {
  const std::unique_ptr<Socket> on(static_cast<Socket*>(argument));
  for (;;) {
    const int fd = ::accept4(on->fd, nullptr, nullptr, SOCK_CLOEXEC);
    if (fd < 0) continue;
    pthread_t thread;
    auto* to = new Socket{fd, on->every_ms};
    if (on->every_ms == 0 || pthread_create(&thread, nullptr, tell_name, to) != 0) tell_name(to);
    else pthread_detach(thread);
  }
}

bool start(int type, long port, int every_ms) {
  const int fd = listen_on(type, static_cast<unsigned short>(port));
  pthread_t thread;
  return fd >= 0 && pthread_create(&thread, nullptr, type == SOCK_STREAM ? serve_tcp : serve_udp, new Socket{fd, every_ms}) == 0;
}

}  // namespace

bool start_servers(const std::string& ports, bool tcp, bool udp, int every_ms) {
  for (std::size_t at = 0; at < ports.size(); at = std::min(ports.find(',', at), ports.size() - 1) + 1) {
    const long port = std::strtol(ports.c_str() + at, nullptr, 10);
    if (port < 1 || port > 65535) {
      std::fprintf(stderr, "a port is out of range: %s\n", ports.c_str());
      return false;
    }
    if ((udp && !start(SOCK_DGRAM, port, 0)) || (tcp && !start(SOCK_STREAM, port, every_ms))) return false;
  }
  return true;
}

}  // namespace fairway::agnhost
