// For the tests of src/io and of what stands on it: a loop driven by conditions, and a plain blocking client.
#pragma once

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <atomic>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <filesystem>
#include <functional>
#include <string>
#include <thread>

#include "io/http_server.h"
#include "io/loop.h"
#include "sys/fd.h"

namespace fairway::io::test {

// Runs the loop until `done()` holds; false when it does not within the limit, which is there only for broken code.
inline bool run_until(Loop& loop, const std::function<bool()>& done, std::chrono::seconds limit = std::chrono::seconds(20)) {
  bool timed_out = false;
  auto give_up = loop.after(limit, [&] {
    timed_out = true;
    loop.stop();
  });
  auto check = loop.every(std::chrono::milliseconds(1), [&] {
    if (done()) loop.stop();
  });
  loop.run();
  return !timed_out;
}

// Runs blocking code beside the loop, as another process would.
inline bool run_beside(Loop& loop, const std::function<void()>& code) {
  std::atomic<bool> done = false;
  std::thread thread([&] {
    code();
    done = true;
  });
  const bool ok = run_until(
      loop, [&] { return done.load(); }, std::chrono::seconds(60));
  thread.join();
  return ok;
}

inline sys::Fd connect_port(std::uint16_t port) {
  sys::Fd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address{};
  address.sin_family = AF_INET;
  address.sin_port = htons(port);
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) < 0) return {};
  return fd;
}

inline void send_all(const sys::Fd& fd, std::string_view text) {
  while (!text.empty()) {
    const ssize_t n = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
    if (n <= 0) return;
    text.remove_prefix(static_cast<std::size_t>(n));
  }
}

// Reads until `enough` holds or the peer closes; 15 s at most.
inline std::string receive_until(const sys::Fd& fd, const std::function<bool(const std::string&)>& enough) {
  std::string got;
  char piece[65536];
  while (!enough(got)) {
    pollfd one{fd.get(), POLLIN, 0};
    if (::poll(&one, 1, 15'000) <= 0) return got + "<TIMED OUT>";
    const ssize_t n = ::recv(fd.get(), piece, sizeof piece, 0);
    if (n < 0) return got + "<" + std::strerror(errno) + ">";
    if (n == 0) return got;
    got.append(piece, static_cast<std::size_t>(n));
  }
  return got;
}
inline std::string receive_all(const sys::Fd& fd) {
  return receive_until(fd, [](const std::string&) { return false; });
}

class TempDir {
 public:
  TempDir() {
    char name[] = "/tmp/fairway-test-XXXXXX";
    path_ = ::mkdtemp(name);
  }
  ~TempDir() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }

 private:
  std::string path_;
};

}  // namespace fairway::io::test
