#include "core/api_stub.h"

#include <fmt/format.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstdlib>
#include <thread>

namespace fairway::bench {

namespace {

using Listings = std::map<std::string, Listing>;

bool send_all(int fd, std::string_view data) {
  while (!data.empty()) {
    ssize_t n = send(fd, data.data(), data.size(), MSG_NOSIGNAL);
    if (n <= 0) return false;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
  return true;
}

unsigned parameter(const std::string& target, const std::string& name, unsigned otherwise) {
  std::size_t at = target.find(name + "=");
  return at == std::string::npos ? otherwise : static_cast<unsigned>(std::strtoul(target.c_str() + at + name.size() + 1, nullptr, 10));
}

std::string page(const Listing& listing, const std::string& target) {
  unsigned begin = parameter(target, "continue", 0);
  unsigned end = std::min(listing.count, begin + parameter(target, "limit", listing.count));
  std::string next = end < listing.count ? fmt::format(",\"continue\":\"{}\"", end) : "";
  std::string body = fmt::format(R"({{"kind":"List","apiVersion":"v1","metadata":{{"resourceVersion":"900000"{}}},"items":[)", next);
  for (unsigned i = begin; i < end; ++i) {
    if (i != begin) body += ',';
    body += listing.object(i);
  }
  return body + "]}";
}

// Until the client goes away. A watch only begins.
void serve_connection(sys::Fd fd, const Listings& listings) {
  std::string in;
  char chunk[4096];
  for (ssize_t n; (n = recv(fd.get(), chunk, sizeof chunk, 0)) > 0;) {
    in.append(chunk, static_cast<std::size_t>(n));
    std::size_t end = in.find("\r\n\r\n");
    if (end == std::string::npos) continue;
    std::size_t space = in.find(' ');
    std::string target = in.substr(space + 1, in.find(' ', space + 1) - space - 1);
    in.erase(0, end + 4);
    auto found = listings.find(target.substr(0, target.find('?')));
    std::string head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n";
    if (target.find("watch=") != std::string::npos) {
      if (!send_all(fd.get(), head + "Transfer-Encoding: chunked\r\n\r\n")) return;
      continue;
    }
    static const Listing kNone;
    std::string body = page(found == listings.end() ? kNone : found->second, target);
    if (!send_all(fd.get(), head + fmt::format("Content-Length: {}\r\n\r\n", body.size()) + body)) return;
  }
}

}  // namespace

Result<Child> ApiStub::start(const Place& place, std::uint16_t port, Listings listings) {
  int ready[2];
  if (pipe(ready) != 0) return errno_error(errno, "pipe");
  sys::Fd in(ready[0]), say(ready[1]);
  FW_ASSIGN(Child child, Child::start(place, [&]() -> Result<Child::Numbers> {
              sys::Fd listener(socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
              int one = 1;
              setsockopt(listener.get(), SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
              sockaddr_in addr{};
              addr.sin_family = AF_INET;
              addr.sin_port = htons(port);
              addr.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
              if (bind(listener.get(), reinterpret_cast<sockaddr*>(&addr), sizeof addr) != 0 || listen(listener.get(), 64) != 0) {
                return errno_error(errno, "listen for the agent");
              }
              (void)!write(say.get(), "r", 1);
              for (;;) {
                sys::Fd fd(accept4(listener.get(), nullptr, nullptr, SOCK_CLOEXEC));
                if (fd) std::thread(serve_connection, std::move(fd), std::cref(listings)).detach();
              }
            }));
  pollfd wait{in.get(), POLLIN, 0};
  if (poll(&wait, 1, 5000) != 1) return make_error(Code::kTimeout, "the API stub did not start");
  return child;
}

std::string ApiStub::kubeconfig(std::uint16_t port) {
  return fmt::format(
      R"({{"apiVersion":"v1","kind":"Config","current-context":"bench","contexts":[{{"name":"bench","context":{{"cluster":"bench","user":"bench"}}}}],)"
      R"("clusters":[{{"name":"bench","cluster":{{"server":"http://127.0.0.1:{}"}}}}],"users":[{{"name":"bench","user":{{}}}}]}})",
      port);
}

}  // namespace fairway::bench
