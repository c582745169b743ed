// For streams_test.cc: a runtime that speaks the stream protocol from threads of its own, and just as much of an
// API server around serve_*() as kubectl asks for on its way to exec, logs and port-forward.
#pragma once

#include <boost/json.hpp>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "apiserver/streams.h"
#include "io/io_test_support.h"

namespace fairway::apiserver::test {

// Blocking ends of frames.
class FrameSocket {
 public:
  explicit FrameSocket(sys::Fd fd) : fd_(std::move(fd)) {}
  bool send(int channel, std::string_view payload) {
    std::string frame(1, static_cast<char>(channel));
    for (int shift = 24; shift >= 0; shift -= 8) frame += static_cast<char>(payload.size() >> shift);
    frame += payload;
    for (std::string_view left = frame; !left.empty();) {
      const ssize_t n = ::send(fd_.get(), left.data(), left.size(), MSG_NOSIGNAL);
      if (n <= 0) return false;
      left.remove_prefix(static_cast<std::size_t>(n));
    }
    return true;
  }
  bool receive(int& channel, std::string& payload) {
    std::string head;
    if (!read_exactly(head, 5)) return false;
    std::size_t size = 0;
    for (int i = 1; i < 5; ++i) size = size << 8 | static_cast<unsigned char>(head[static_cast<std::size_t>(i)]);
    channel = static_cast<unsigned char>(head[0]);
    return read_exactly(payload, size);
  }
  bool read_line(std::string& line) {
    line.clear();
    for (std::string c; read_exactly(c, 1);) {
      if (c == "\n") return true;
      line += c;
    }
    return false;
  }
  void write_line(const std::string& line) { io::test::send_all(fd_, line + "\n"); }
  const sys::Fd& fd() const { return fd_; }

 private:
  bool read_exactly(std::string& into, std::size_t size) {
    into.resize(size);
    for (std::size_t at = 0; at < size;) {
      const ssize_t n = ::recv(fd_.get(), into.data() + at, size - at, 0);
      if (n <= 0) return false;
      at += static_cast<std::size_t>(n);
    }
    return true;
  }
  sys::Fd fd_;
};

class FakeRuntime {
 public:
  using Serve = std::function<void(FrameSocket&, const boost::json::object&)>;
  FakeRuntime(const std::string& path, Serve serve) : serve_(std::move(serve)), listener_(std::move(*io::listen_unix(path))) {
    accepting_ = std::thread([this] {
      while (true) {
        pollfd one{listener_.get(), POLLIN, 0};
        ::poll(&one, 1, -1);
        sys::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
        if (!fd) return;
        const std::lock_guard lock(mutex_);
        sockets_.push_back(std::make_unique<FrameSocket>(std::move(fd)));
        threads_.emplace_back([this, socket = sockets_.back().get()] {
          std::string line;
          if (socket->read_line(line)) {
            const boost::json::value request = boost::json::parse(line);
            {
              const std::lock_guard inner(mutex_);
              requests_.push_back(line);
            }
            serve_(*socket, request.get_object());
          }
          ::shutdown(socket->fd().get(), SHUT_RDWR);
        });
      }
    });
  }
  ~FakeRuntime() {
    ::shutdown(listener_.get(), SHUT_RDWR);
    accepting_.join();
    for (auto& socket : sockets_) ::shutdown(socket->fd().get(), SHUT_RDWR);
    for (auto& thread : threads_) thread.join();
  }
  std::vector<std::string> requests() {
    const std::lock_guard lock(mutex_);
    return requests_;
  }

 private:
  Serve serve_;
  sys::Fd listener_;
  std::mutex mutex_;
  std::vector<std::string> requests_;
  std::vector<std::unique_ptr<FrameSocket>> sockets_;
  std::vector<std::thread> threads_;
  std::thread accepting_;
};

// What kubectl must find on its way.
inline std::string discovery(const std::string& path) {
  if (path == "/api") return R"({"kind":"APIVersions","versions":["v1"]})";
  if (path == "/apis") return R"({"kind":"APIGroupList","apiVersion":"v1","groups":[]})";
  if (path == "/version") return R"({"major":"1","minor":"32","gitVersion":"v1.32.0"})";
  if (path == "/api/v1") {
    return R"({"kind":"APIResourceList","groupVersion":"v1","resources":[{"name":"pods","singularName":"pod","namespaced":true,"kind":"Pod",)"
           R"("verbs":["get","list","create"],"shortNames":["po"]}]})";
  }
  if (path == "/api/v1/namespaces/default/pods/p") {
    return R"({"kind":"Pod","apiVersion":"v1","metadata":{"name":"p","namespace":"default","uid":"u","resourceVersion":"1"},)"
           R"("spec":{"nodeName":"n","containers":[{"name":"c","image":"i","stdin":true,"tty":true}]},)"
           R"("status":{"phase":"Running","containerStatuses":[{"name":"c","ready":true,"state":{"running":{}}}]}})";
  }
  return {};
}

inline void route(io::Loop& loop, const std::string& socket_path, io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
  const StreamTarget target{"default", "p", "c", socket_path};
  const std::string pod = "/api/v1/namespaces/default/pods/p/", path = request.path;
  if (path == pod + "exec") return serve_exec(loop, std::move(request), std::move(responder), target);
  if (path == pod + "attach") return serve_attach(loop, std::move(request), std::move(responder), target);
  if (path == pod + "log") return serve_log(loop, std::move(request), std::move(responder), target);
  if (path == pod + "portforward") return serve_portforward(loop, std::move(request), std::move(responder), target);
  const std::string body = discovery(path);
  io::HttpResponse response{body.empty() ? 404 : 200, {}, body.empty() ? "{}" : body};
  response.headers.set("Content-Type", "application/json");
  responder->respond(std::move(response));
}

}  // namespace fairway::apiserver::test
