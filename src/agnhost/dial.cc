#include <fcntl.h>
#include <poll.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {

constexpr int kDialTimeout = 5000;

Response http_get(const std::string& host, const std::string& port, const std::string& target, int timeout_ms) {
  std::string why;
  const int fd = dial(host, port, SOCK_STREAM, timeout_ms, why);
  if (fd < 0) return {-1, "dial tcp " + host + ":" + port + ": " + why};
  ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) & ~O_NONBLOCK);
  const timeval limit{timeout_ms / 1000, timeout_ms % 1000 * 1000};
  ::setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof limit);
  const std::string request =
      "GET " + target + " HTTP/1.1\r\nHost: " + host + ":" + port + "\r\nUser-Agent: fairway-agnhost\r\nConnection: close\r\n\r\n";
  (void)!::send(fd, request.data(), request.size(), MSG_NOSIGNAL);
  std::string text;
  char chunk[8192];
  ssize_t n;
  while ((n = ::recv(fd, chunk, sizeof chunk, 0)) > 0 && text.size() < (1 << 20)) text.append(chunk, static_cast<std::size_t>(n));
  ::close(fd);
  const auto body = text.find("\r\n\r\n");
  if (body == std::string::npos)
    return {-1, "Get \"http://" + host + ":" + port + target + "\": " + (n < 0 ? std::strerror(errno) : "EOF")};
  return {static_cast<int>(std::strtol(text.c_str() + std::min<std::size_t>(9, text.size()), nullptr, 10)), text.substr(body + 4)};
}

Response udp_ask(const std::string& host, const std::string& port, const std::string& message, int timeout_ms) {
  std::string why;
  const int fd = dial(host, port, SOCK_DGRAM, timeout_ms, why);
  if (fd < 0) return {-1, why};
  (void)!::send(fd, message.data(), message.size(), MSG_NOSIGNAL);
  pollfd p{fd, POLLIN, 0};
  char answer[4096];
  const bool came = ::poll(&p, 1, timeout_ms) > 0;
  const ssize_t n = came ? ::recv(fd, answer, sizeof answer, 0) : -1;
  const int error = came ? errno : ETIMEDOUT;
  ::close(fd);
  if (n >= 0) return {200, std::string(answer, static_cast<std::size_t>(n))};
  return {-1, error == ETIMEDOUT ? "TIMEOUT" : error == ECONNREFUSED ? "REFUSED" : "OTHER: " + std::string(std::strerror(error))};
}

// /dial?host=H&protocol=http|udp&port=P&request=R&tries=N: asks on, and tells what came.
Response answer_dial(const Request& request) {
  const auto value = [&](const char* name) {
    auto it = request.query.find(name);
    return it == request.query.end() ? std::string() : it->second;
  };
  const std::string host = value("host"), port = value("port"), what = value("request");
  std::string protocol = value("protocol");
  if (protocol.empty()) protocol = "http";
  if (host.empty() || port.empty() || what.empty()) return {400, "host, port and request are wanted\n"};
  if (protocol != "http" && protocol != "udp") return {400, "unsupported protocol \"" + protocol + "\"\n"};
  long tries = value("tries").empty() ? 1 : std::strtol(value("tries").c_str(), nullptr, 10);
  if (tries < 1 || tries > 1000) return {400, "tries is out of range\n"};
  std::string responses, errors;
  while (tries-- > 0) {
    const Response answer = protocol == "http" ? http_get(host, port, "/" + what, kDialTimeout) : udp_ask(host, port, what, kDialTimeout);
    std::string& list = answer.code == 200 ? responses : errors;
    list += (list.empty() ? "" : ",") + json_string(answer.body);
  }
  std::string out = "{";
  if (!responses.empty()) out += "\"responses\":[" + responses + "]";
  if (!errors.empty()) out += std::string(responses.empty() ? "" : ",") + "\"errors\":[" + errors + "]";
  return {200, out + "}"};
}

}  // namespace fairway::agnhost
