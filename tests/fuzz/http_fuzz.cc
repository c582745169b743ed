// HTTP from outside: requests and answers through the parsers, and whole connections through the server, with
// WebSocket and raw upgrades.
// fuzz-deps: fw_io
//
// First byte: what the rest is; second: how it is cut. Properties: an accepted message does not depend on the cut and
// holds to its limits; every connection of the server ends once the client has said all.
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstring>
#include <string>

#include "base/check.h"
#include "io/http_parser.h"
#include "io/http_server.h"
#include "io/loop.h"

namespace {

using namespace fairway;
using namespace fairway::io;

constexpr std::size_t kMaxHead = 4096, kMaxBody = 8192;

std::string render(const Headers& headers) {
  std::string out;
  for (const auto& [name, value] : headers.items()) out += name + ":" + value + "\n";
  return out;
}

// Feeds as a connection does: what a parser leaves comes again with more behind it.
template <typename Feed, typename Done>
bool feed_all(std::string_view bytes, std::size_t piece, Feed feed, Done done) {
  std::string rest;
  while (!bytes.empty() && !done()) {
    const std::size_t part = std::min(piece, bytes.size());
    rest.append(bytes.substr(0, part));
    bytes.remove_prefix(part);
    const ParseProgress progress = feed(rest);
    if (progress.error_status != 0) return false;
    FW_CHECK(progress.consumed <= rest.size());
    rest.erase(0, progress.consumed);
  }
  return done();
}

std::string parse_request(std::string_view bytes, std::size_t piece) {
  RequestParser parser(kMaxHead, kMaxBody);
  if (!feed_all(
          bytes, piece, [&](std::string_view rest) { return parser.feed(rest); }, [&] { return parser.done(); }))
    return {};
  const HttpRequest& request = parser.request();
  FW_CHECK(request.body.size() <= kMaxBody && request.target.size() <= kMaxHead);
  return request.method + " " + request.target + "\n" + render(request.headers) + "\n" + request.body;
}

std::string parse_response(std::string_view bytes, std::size_t piece) {
  std::string body;
  ResponseParser parser(kMaxHead, false, [&](std::string_view part) { body += part; });
  const bool done = feed_all(
      bytes, piece, [&](std::string_view rest) { return parser.feed(rest); }, [&] { return parser.done(); });
  if (!done && parser.feed_end().error_status != 0) return {};
  return done ? std::to_string(parser.status()) + "\n" + render(parser.headers()) + "\n" + body : std::string();
}

class Server {
 public:
  Server() : path_("/tmp/fairway-http-fuzz-" + std::to_string(::getpid()) + ".sock") {
    HttpServerConfig config;
    config.max_header_bytes = kMaxHead;
    config.max_body_bytes = kMaxBody;
    server_ = std::move(*HttpServer::create(loop_, config, [this](ServerRequest request, std::unique_ptr<Responder> responder) {
      answer(std::move(request), std::move(responder));
    }));
    FW_CHECK(server_->serve(std::move(*listen_unix(path_))).ok());
  }
  ~Server() { ::unlink(path_.c_str()); }

  void talk(std::string_view bytes, std::size_t piece) {
    const sys::Fd fd(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path_.c_str(), path_.size() + 1);
    FW_CHECK(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0);
    bool ended = false;
    Loop::Watch reading = loop_.watch(fd.get(), Loop::Ready::kRead, [&] {
      char buffer[65536];
      const ssize_t n = ::recv(fd.get(), buffer, sizeof buffer, MSG_DONTWAIT);
      if (n > 0 || (n < 0 && errno == EAGAIN)) return;
      ended = true;
      loop_.stop();
    });
    std::function<void()> send = [&] {
      if (ended) return;
      const std::size_t part = std::min(piece, bytes.size());
      const ssize_t n = ::send(fd.get(), bytes.data(), part, MSG_NOSIGNAL | MSG_DONTWAIT);
      if (n > 0) bytes.remove_prefix(static_cast<std::size_t>(n));
      if (bytes.empty() || (n < 0 && errno != EAGAIN)) ::shutdown(fd.get(), SHUT_WR);
      else loop_.post(send);
    };
    loop_.post(send);
    loop_.run();  // a connection that does not end is a hang, which the fuzzer reports
    duplex_.reset();
    bool turned = false;  // let go of what was posted
    loop_.post([&] {
      turned = true;
      loop_.stop();
    });
    while (!turned) loop_.run();
  }

 private:
  void answer(ServerRequest request, std::unique_ptr<Responder> responder) {
    const auto ready = [this](Result<std::unique_ptr<Duplex>> made) {
      if (!made.ok()) return;
      duplex_ = std::move(*made);
      duplex_->start(
          [this](std::string_view data) {
            if (duplex_) duplex_->write(std::string(data));
          },
          [this](Status) { loop_.post([held = std::shared_ptr<Duplex>(std::move(duplex_))] {}); });
    };
    if (request.path == "/ws") return responder->accept_websocket("test", ready);
    if (request.path == "/up") return responder->upgrade({}, ready);
    if (request.path == "/stream") {
      const auto body = responder->start_body(200, {});
      return body->write(request.body);
    }
    HttpResponse response;
    response.headers.set("X-Query", std::string(request.query_value("q")));
    response.body = request.path;
    responder->respond(std::move(response));
  }

  std::string path_;
  Loop loop_;
  std::unique_ptr<HttpServer> server_;
  std::unique_ptr<Duplex> duplex_;
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  if (size < 2) return 0;
  const std::string_view bytes(reinterpret_cast<const char*>(data) + 2, size - 2);
  const std::size_t piece = 1u + data[1] % 64u;
  switch (data[0] % 3) {
    case 0:
      FW_CHECK(parse_request(bytes, bytes.size() + 1) == parse_request(bytes, piece));
      break;
    case 1:
      FW_CHECK(parse_response(bytes, bytes.size() + 1) == parse_response(bytes, piece));
      break;
    default: {
      static Server server;
      server.talk(bytes, piece * 16);
    }
  }
  return 0;
}
