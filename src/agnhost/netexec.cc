#include <pthread.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {
namespace {

Response shell(const std::string& command) {
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (!pipe) return {500, "cannot run a shell\n"};
  std::string out;
  char chunk[4096];
  std::size_t n;
  while ((n = std::fread(chunk, 1, sizeof chunk, pipe)) > 0) out.append(chunk, n);
  const int status = ::pclose(pipe);
  return {200, status == 0 ? "{\"output\":" + json_string(out) + "}"
                           : "{\"error\":\"exit status " + std::to_string(status >> 8) + "\",\"output\":" + json_string(out) + "}"};
}

Response handle(const Request& r) {
  const auto value = [&](const char* name) {
    auto it = r.query.find(name);
    return it == r.query.end() ? std::string() : it->second;
  };
  std::printf("%s %s from %s\n", r.method.c_str(), r.path.c_str(), r.client.c_str());
  std::fflush(stdout);
  if (r.path == "/hostname" || r.path == "/hostName") return {200, host_name()};
  if (r.path == "/clientip") return {200, r.client};
  if (r.path == "/healthz" || r.path == "/readyz") return {200, "ok"};
  if (r.path == "/dial") return answer_dial(r);
  if (r.path == "/shell") return shell(value("shellCommand").empty() ? value("cmd") : value("shellCommand"));
  if (r.path == "/echo") {
    const long code = value("code").empty() ? 200 : std::strtol(value("code").c_str(), nullptr, 10);
    return {code >= 200 && code < 600 ? static_cast<int>(code) : 400, value("msg")};
  }
  if (r.path == "/header") {
    std::string key = value("key");
    for (char& c : key) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
    auto it = r.headers.find(key);
    return {200, it == r.headers.end() ? "" : it->second};
  }
  if (r.path == "/exit") std::exit(static_cast<int>(std::strtol(value("code").c_str(), nullptr, 10)));
  if (r.path != "/") return {404, "404 page not found\n"};
  const std::time_t now = std::time(nullptr);
  char text[64];
  std::strftime(text, sizeof text, "NOW: %Y-%m-%d %H:%M:%S +0000 UTC", std::gmtime(&now));
  return {200, text};
}

Response hostname_only(const Request&) { return {200, host_name()}; }

std::string udp_answer(const std::string& question, const std::string& client) {
  if (question == "hostname" || question == "hostName") return host_name();
  if (question == "clientip") return client;
  if (question.compare(0, 5, "echo ") == 0) return question.substr(5);
  return "";
}

void* serve_udp(void* argument) {
  const int fd = static_cast<int>(reinterpret_cast<long>(argument));
  for (;;) {
    char question[4096];
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const ssize_t n = ::recvfrom(fd, question, sizeof question, 0, reinterpret_cast<sockaddr*>(&peer), &size);
    if (n < 0) continue;
    std::string text(question, static_cast<std::size_t>(n));
    while (!text.empty() && (text.back() == '\n' || text.back() == '\r')) text.pop_back();
    const std::string answer = udp_answer(text, address_text(peer));
    if (!answer.empty()) ::sendto(fd, answer.data(), answer.size(), 0, reinterpret_cast<sockaddr*>(&peer), size);
  }
}

bool start_udp(long port) {
  const int fd = listen_on(SOCK_DGRAM, static_cast<unsigned short>(port));
  pthread_t thread;
  return fd >= 0 && pthread_create(&thread, nullptr, serve_udp, reinterpret_cast<void*>(static_cast<long>(fd))) == 0;
}

long port_of(const Args& args, const char* flag, const char* otherwise) {
  return std::strtol(args.get(flag, otherwise).c_str(), nullptr, 10);
}

}  // namespace

int netexec(const Args& args) {
  const long http = port_of(args, "http-port", "8080"), udp = port_of(args, "udp-port", "8081");
  if (http < 1 || http > 65535 || udp > 65535) {
    std::fprintf(stderr, "netexec: a port is out of range\n");
    return 2;
  }
  if (udp > 0 && !start_udp(udp)) return 1;
  std::printf("Started HTTP server on port %ld\n", http);
  std::fflush(stdout);
  return serve_http(static_cast<unsigned short>(http), handle);
}

int serve_hostname(const Args& args) {
  const long port = port_of(args, "port", "9376");
  if (port < 1 || port > 65535) {
    std::fprintf(stderr, "serve-hostname: the port is out of range\n");
    return 2;
  }
  if (args.get("udp", "false") == "true" && !start_udp(port)) return 1;
  if (args.get("tcp", "false") != "true") return serve_http(static_cast<unsigned short>(port), hostname_only);
  const int listener = listen_on(SOCK_STREAM, static_cast<unsigned short>(port));
  if (listener < 0) return 1;
  for (;;) {
    const int fd = ::accept(listener, nullptr, nullptr);
    if (fd < 0) continue;
    const std::string name = host_name() + "\n";
    (void)!::write(fd, name.data(), name.size());
    ::close(fd);
  }
}

}  // namespace fairway::agnhost
