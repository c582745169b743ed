#include <arpa/inet.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "agnhost/agnhost.h"

namespace fairway::agnhost {

constexpr std::size_t kMaxRequest = 1 << 20;

Args parse_args(int argc, char** argv, int from) {
  Args args;
  for (int i = from; i < argc; ++i) {
    std::string word = argv[i];
    if (word.compare(0, 2, "--") != 0) {
      args.words.push_back(word);
      continue;
    }
    word.erase(0, 2);
    const auto equals = word.find('=');
    if (equals != std::string::npos) args.flags[word.substr(0, equals)] = word.substr(equals + 1);
    else if (i + 1 < argc && argv[i + 1][0] != '-' && word != "http" && word != "tcp" && word != "udp") args.flags[word] = argv[++i];
    else args.flags[word] = "true";
  }
  return args;
}

std::string address_text(const sockaddr_storage& address) {
  char ip[INET6_ADDRSTRLEN] = "";
  if (address.ss_family == AF_INET) {
    const auto& v4 = reinterpret_cast<const sockaddr_in&>(address);
    inet_ntop(AF_INET, &v4.sin_addr, ip, sizeof ip);
    return std::string(ip) + ":" + std::to_string(ntohs(v4.sin_port));
  }
  const auto& v6 = reinterpret_cast<const sockaddr_in6&>(address);
  if (IN6_IS_ADDR_V4MAPPED(&v6.sin6_addr)) {
    inet_ntop(AF_INET, v6.sin6_addr.s6_addr + 12, ip, sizeof ip);
    return std::string(ip) + ":" + std::to_string(ntohs(v6.sin6_port));
  }
  inet_ntop(AF_INET6, &v6.sin6_addr, ip, sizeof ip);
  return "[" + std::string(ip) + "]:" + std::to_string(ntohs(v6.sin6_port));
}

std::string host_name() {
  char name[256] = "";
  ::gethostname(name, sizeof name - 1);
  return name;
}

int listen_on(int type, unsigned short port) {
  sockaddr_in6 v6{};
  v6.sin6_family = AF_INET6;
  v6.sin6_port = htons(port);
  int fd = ::socket(AF_INET6, type | SOCK_CLOEXEC, 0);
  const int on = 1, off = 0;
  if (fd >= 0) {
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    ::setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &off, sizeof off);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&v6), sizeof v6) < 0) {
      ::close(fd);
      fd = -1;
    }
  }
  if (fd < 0) {  // a pod without IPv6
    sockaddr_in v4{};
    v4.sin_family = AF_INET;
    v4.sin_port = htons(port);
    fd = ::socket(AF_INET, type | SOCK_CLOEXEC, 0);
    ::setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    if (::bind(fd, reinterpret_cast<sockaddr*>(&v4), sizeof v4) < 0) {
      std::fprintf(stderr, "bind port %u: %s\n", port, std::strerror(errno));
      ::close(fd);
      return -1;
    }
  }
  if (type == SOCK_STREAM && ::listen(fd, SOMAXCONN) < 0) {
    std::perror("listen");
    return -1;
  }
  return fd;
}

std::string url_decode(const std::string& in) {
  std::string out;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] == '%' && i + 2 < in.size()) {
      out += static_cast<char>(std::strtol(in.substr(i + 1, 2).c_str(), nullptr, 16));
      i += 2;
    } else out += in[i] == '+' ? ' ' : in[i];
  }
  return out;
}

static void parse_query(const std::string& text, std::map<std::string, std::string>& out) {
  for (std::size_t at = 0; at <= text.size();) {
    const auto end = std::min(text.find('&', at), text.size());
    const std::string pair = text.substr(at, end - at);
    const auto equals = std::min(pair.find('='), pair.size());
    if (!pair.empty()) out[url_decode(pair.substr(0, equals))] = equals < pair.size() ? url_decode(pair.substr(equals + 1)) : "";
    at = end + 1;
  }
}

// One request from `buffer` and the socket; false at the end or at nonsense.
static bool read_request(int fd, std::string& buffer, Request& out) {
  char chunk[8192];
  std::size_t head_end;
  while ((head_end = buffer.find("\r\n\r\n")) == std::string::npos) {
    const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
    if (n <= 0 || buffer.size() > kMaxRequest) return false;
    buffer.append(chunk, static_cast<std::size_t>(n));
  }
  const std::string head = buffer.substr(0, head_end + 2);
  buffer.erase(0, head_end + 4);
  const auto first = head.find("\r\n"), space = head.find(' '), space2 = head.find(' ', space + 1);
  if (space2 == std::string::npos || space2 > first) return false;
  out.method = head.substr(0, space);
  const std::string target = head.substr(space + 1, space2 - space - 1);
  const auto question = std::min(target.find('?'), target.size());
  out.path = url_decode(target.substr(0, question));
  if (question < target.size()) parse_query(target.substr(question + 1), out.query);
  for (std::size_t at = first + 2; at < head.size();) {
    const auto end = head.find("\r\n", at), colon = head.find(':', at);
    if (colon != std::string::npos && colon < end) {
      std::string name = head.substr(at, colon - at);
      for (char& c : name) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
      auto value = colon + 1;
      while (value < end && head[value] == ' ') ++value;
      out.headers[name] = head.substr(value, end - value);
    }
    at = end + 2;
  }
  const std::size_t length = std::strtoul(out.headers["content-length"].c_str(), nullptr, 10);
  if (length > kMaxRequest) return false;
  while (buffer.size() < length) {
    const ssize_t n = ::recv(fd, chunk, sizeof chunk, 0);
    if (n <= 0) return false;
    buffer.append(chunk, static_cast<std::size_t>(n));
  }
  out.body = buffer.substr(0, length);
  buffer.erase(0, length);
  if (out.headers["content-type"].find("x-www-form-urlencoded") != std::string::npos) parse_query(out.body, out.query);
  return true;
}

struct Connection {
  int fd;
  Handler handler;
  std::string client;
};

static void* serve_connection(void* argument) {
  const std::unique_ptr<Connection> c(static_cast<Connection*>(argument));
  std::string buffer;
  for (;;) {
    Request request;
    request.client = c->client;
    if (!read_request(c->fd, buffer, request)) break;
    const Response response = c->handler(request);
    const bool close = request.headers["connection"] == "close";
    const std::string text = "HTTP/1.1 " + std::to_string(response.code) + (response.code == 200 ? " OK" : " Status") +
                             "\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: " + std::to_string(response.body.size()) +
                             (close ? "\r\nConnection: close" : "") + "\r\n\r\n" + (request.method == "HEAD" ? "" : response.body);
    if (::send(c->fd, text.data(), text.size(), MSG_NOSIGNAL) < 0 || close) break;
  }
  ::close(c->fd);
  return nullptr;
}

int serve_http(unsigned short port, Handler handler) {
  const int listener = listen_on(SOCK_STREAM, port);
  if (listener < 0) return 1;
  for (;;) {
    sockaddr_storage peer{};
    socklen_t size = sizeof peer;
    const int fd = ::accept4(listener, reinterpret_cast<sockaddr*>(&peer), &size, SOCK_CLOEXEC);
    if (fd < 0) {
      if (errno != EINTR) ::usleep(10'000);
      continue;
    }
    pthread_attr_t attr;
    pthread_attr_init(&attr);
    pthread_attr_setdetachstate(&attr, PTHREAD_CREATE_DETACHED);
    pthread_attr_setstacksize(&attr, 256 << 10);
    pthread_t thread;
    auto* connection = new Connection{fd, handler, address_text(peer)};
    if (pthread_create(&thread, &attr, serve_connection, connection) != 0) {
      ::close(fd);
      delete connection;
    }
    pthread_attr_destroy(&attr);
  }
}

std::string json_string(const std::string& in) {
  std::string out = "\"";
  for (const unsigned char c : in) {
    char escaped[8];
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c < 0x20) {
      std::snprintf(escaped, sizeof escaped, "\\u%04x", c);
      out += escaped;
    } else out += static_cast<char>(c);
  }
  return out + "\"";
}

}  // namespace fairway::agnhost
