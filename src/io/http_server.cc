#include "io/http_server.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <cerrno>
#include <unordered_map>
#include <utility>

#include "io/http_session.h"
#include "io/http_text.h"

namespace fairway::io {

std::string_view ServerRequest::query_value(std::string_view name) const {
  for (const auto& [own, value] : query) {
    if (own == name) return value;
  }
  return {};
}

bool ServerRequest::has_query(std::string_view name) const {
  for (const auto& [own, value] : query) {
    if (own == name) return true;
  }
  return false;
}

Result<ServerRequest> make_server_request(HttpRequest request, const Peer& peer, bool http11) {
  if (http11 && request.headers.get("Host").empty()) {
    bool present = false;
    for (const auto& [name, value] : request.headers.items()) present = present || equal_no_case(name, "Host");
    if (!present) return make_error(Code::kInvalid, "the header Host is missing");
  }
  std::string_view target = request.target;
  for (const std::string_view scheme : {"http://", "https://"}) {  // absolute form, RFC 9112 3.2.2
    if (!target.starts_with(scheme)) continue;
    const std::size_t slash = target.find('/', scheme.size());
    target = slash == std::string_view::npos ? std::string_view("/") : target.substr(slash);
    break;
  }
  target = target.substr(0, target.find('#'));
  if (target.empty() || (target[0] != '/' && target != "*")) return make_error(Code::kInvalid, "the request target is not a path");
  if (!valid_percent_encoding(target)) return make_error(Code::kInvalid, "the request target holds a malformed %-encoding");
  ServerRequest made;
  const std::size_t question = target.find('?');
  made.path = percent_decode(target.substr(0, question));
  if (question != std::string_view::npos) made.query = parse_query(target.substr(question + 1));
  made.peer = peer;
  static_cast<HttpRequest&>(made) = std::move(request);
  return made;
}

namespace {

constexpr int kAcceptRounds = 64;
constexpr std::chrono::milliseconds kAcceptRetry{100};

class SessionResponder : public Responder {
 public:
  explicit SessionResponder(std::weak_ptr<HttpSession> session) : session_(std::move(session)) {}
  ~SessionResponder() override { respond(HttpResponse{500, {}, "the request was not answered\n"}); }
  void respond(HttpResponse response) override {
    if (const auto session = take()) session->respond(std::move(response));
  }
  std::unique_ptr<BodyStream> start_body(int status, Headers headers) override;
  void accept_websocket(std::string subprotocol, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) override {
    if (const auto session = take()) session->accept_websocket(std::move(subprotocol), std::move(ready));
  }
  void upgrade(Headers headers, std::function<void(Result<std::unique_ptr<Duplex>>)> ready) override {
    if (const auto session = take()) session->upgrade(std::move(headers), std::move(ready));
  }
  void on_client_gone(std::function<void()> task) override {
    if (const auto session = session_.lock()) session->set_client_gone(std::move(task));
  }

 private:
  std::shared_ptr<HttpSession> take() { return std::exchange(session_, {}).lock(); }
  std::weak_ptr<HttpSession> session_;
};

class SessionBody : public BodyStream {
 public:
  explicit SessionBody(std::weak_ptr<HttpSession> session) : session_(std::move(session)) {}
  ~SessionBody() override {
    const auto session = session_.lock();
    if (!session) return;
    session->set_client_gone(nullptr);
    session->set_body_drained(nullptr);
    session->end_body();
  }
  void write(std::string data) override {
    if (const auto session = session_.lock()) session->write_body(std::move(data));
  }
  std::size_t pending_bytes() const override {
    const auto session = session_.lock();
    return session ? session->pending_bytes() : 0;
  }
  void on_drained(std::function<void()> task) override {
    if (const auto session = session_.lock()) session->set_body_drained(std::move(task));
  }
  void on_closed(std::function<void()> task) override {
    if (const auto session = session_.lock()) session->set_client_gone(std::move(task));
  }

 private:
  std::weak_ptr<HttpSession> session_;
};

std::unique_ptr<BodyStream> SessionResponder::start_body(int status, Headers headers) {
  const auto session = take();
  if (session && session->begin_body(status, std::move(headers))) return std::make_unique<SessionBody>(session);
  return std::make_unique<SessionBody>(std::weak_ptr<HttpSession>());  // the client has gone: writes go nowhere
}

class Server : public HttpServer {
 public:
  Server(Loop& loop, HttpServerConfig config, Handler handler, SslContext tls)
      : core_(std::make_shared<ServerCore>(loop, std::move(config), std::move(handler), std::move(tls))),
        open_(std::make_shared<std::size_t>(0)) {
    core_->forget = [this](HttpSession* session) { sessions_.erase(session); };
  }
  ~Server() override {
    core_->forget = [](HttpSession*) {};
    for (auto& [raw, session] : sessions_) session->abort();
  }
  Status serve(sys::Fd listener) override;

 private:
  struct Listener {
    std::unique_ptr<Waiter> waiter;
    bool is_unix = false;
    Loop::Timer retry;
  };
  void accept_on(const std::shared_ptr<Listener>& listener);
  void arm(const std::shared_ptr<Listener>& listener);
  void admit(sys::Fd fd, bool is_unix);
  bool make_room();

  std::shared_ptr<ServerCore> core_;
  std::shared_ptr<std::size_t> open_;  // sockets, upgraded ones included
  std::unordered_map<HttpSession*, std::shared_ptr<HttpSession>> sessions_;
  std::vector<std::shared_ptr<Listener>> listeners_;
};

Status Server::serve(sys::Fd fd) {
  sockaddr_storage address{};
  socklen_t length = sizeof address;
  if (::getsockname(fd.get(), reinterpret_cast<sockaddr*>(&address), &length) < 0) return errno_error(errno, "serve: listening socket");
  auto listener = std::make_shared<Listener>();
  listener->waiter = std::make_unique<Waiter>(core_->loop, std::move(fd));
  listener->is_unix = address.ss_family == AF_UNIX;
  if (listener->waiter->fd() < 0) return make_error(Code::kIo, "serve: the event loop does not take the listening socket");
  listeners_.push_back(listener);
  arm(listener);
  return {};
}

void Server::arm(const std::shared_ptr<Listener>& listener) {
  listener->waiter->wait(Loop::Ready::kRead, [this, weak = std::weak_ptr(listener)] {
    if (const auto self = weak.lock()) accept_on(self);  // the listener lives no longer than the server
  });
}

void Server::accept_on(const std::shared_ptr<Listener>& listener) {
  for (int round = 0; round < kAcceptRounds; ++round) {
    sys::Fd fd(::accept4(listener->waiter->fd(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
    if (fd) {
      admit(std::move(fd), listener->is_unix);
      continue;
    }
    if (errno == EINTR || errno == ECONNABORTED) continue;
    if (errno == EAGAIN || errno == EWOULDBLOCK) break;
    // Out of descriptors or memory: the connection waits in the kernel's queue.
    listener->retry = core_->loop.after(kAcceptRetry, [this, weak = std::weak_ptr(listener)] {
      if (const auto self = weak.lock()) accept_on(self);
    });
    return;
  }
  arm(listener);
}

bool Server::make_room() {
  if (*open_ < core_->config.max_connections) return true;
  HttpSession* oldest = nullptr;
  for (const auto& [raw, session] : sessions_) {
    if (session->idle() && (!oldest || session->idle_since() < oldest->idle_since())) oldest = raw;
  }
  if (!oldest) return false;
  oldest->abort();
  sessions_.erase(oldest);
  return true;
}

Peer unix_peer(int fd) {
  ucred credentials{};
  socklen_t length = sizeof credentials;
  Peer peer;
  if (::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) == 0) peer.unix_uid = credentials.uid;
  return peer;
}

void Server::admit(sys::Fd fd, bool is_unix) {
  if (!make_room()) return;  // closed at once: no session is idle, so none may be ended for this one
  Peer peer;
  if (is_unix) {
    peer = unix_peer(fd.get());
  } else {
    const int on = 1, idle_seconds = 60, interval_seconds = 10, probes = 3;
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    ::setsockopt(fd.get(), SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPIDLE, &idle_seconds, sizeof idle_seconds);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPINTVL, &interval_seconds, sizeof interval_seconds);
    ::setsockopt(fd.get(), IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof probes);
  }
  SslPtr ssl;
  if (core_->tls) {
    ssl = new_server_ssl(core_->tls);
    if (!ssl) return;
  }
  auto conn = Conn::create(core_->loop, std::move(fd), std::move(ssl));
  ++*open_;
  conn->hold(std::shared_ptr<void>(nullptr, [open = open_](void*) { --*open; }));
  auto session = std::make_shared<HttpSession>(core_, std::move(conn), std::move(peer));
  sessions_.emplace(session.get(), session);
  session->start();
}

}  // namespace

std::unique_ptr<Responder> make_responder(const std::shared_ptr<HttpSession>& session) {
  return std::make_unique<SessionResponder>(session);
}

Result<std::unique_ptr<HttpServer>> HttpServer::create(Loop& loop, HttpServerConfig config, Handler handler) {
  SslContext tls;
  if (config.tls) { FW_ASSIGN(tls, make_server_context(*config.tls)); }
  return std::unique_ptr<HttpServer>(new Server(loop, std::move(config), std::move(handler), std::move(tls)));
}

}  // namespace fairway::io
