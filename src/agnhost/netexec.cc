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
  if (udp > 0 && !start_servers(std::to_string(udp), false, true)) return 1;
  std::printf("Started HTTP server on port %ld\n", http);
  std::fflush(stdout);
  return serve_http(static_cast<unsigned short>(http), handle);
}

int serve_hostname(const Args& args) {
  const std::string ports = args.get("port", "9376");
  const bool tcp = args.get("tcp", "false") == "true", udp = args.get("udp", "false") == "true";
  if (!start_servers(ports, tcp, udp, duration_ms(args.get("every", "0")))) return 1;
  if (!tcp) return serve_http(static_cast<unsigned short>(std::strtol(ports.c_str(), nullptr, 10)), hostname_only);
  for (;;) ::pause();
}

}  // namespace fairway::agnhost
