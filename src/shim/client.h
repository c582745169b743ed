// Client: the far end of an exec or attach, speaking the frames of docs/architecture.md:
// u8 channel, u32 length (network order), payload. Never blocks; holds at most a bounded backlog.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace fairway::shim {

enum Channel : std::uint8_t { kStdin = 0, kStdout = 1, kStderr = 2, kStatus = 3, kResize = 4, kEnd = 255 };

class Client {
 public:
  static constexpr std::size_t kMaxInput = 64 << 10;  // a sink that holds more is not read for
  struct Sink {                                       // what the client's frames do
    virtual ~Sink() = default;
    virtual void input(const char* data, std::size_t size) = 0;
    virtual void input_end() = 0;
    virtual void resize(unsigned columns, unsigned rows) = 0;
  };
  Client() = default;
  ~Client() { close(); }
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  void open(int fd);
  void close();
  int fd() const { return fd_; }
  bool is_open() const { return fd_ >= 0; }
  bool full() const { return backlog_.size() > kHighWater; }
  bool wants_write() const { return sent_ < backlog_.size(); }

  void send(std::uint8_t channel, const char* data, std::size_t size);
  void flush();                    // as far as the socket takes it
  void flush_all(int timeout_ms);  // blocks, at the very end
  bool receive(Sink& sink);        // false: the client has gone

 private:
  static constexpr std::size_t kHighWater = 256 << 10;
  static constexpr std::size_t kMaxFrame = 1 << 20;
  void dispatch(std::uint8_t channel, const char* data, std::size_t size, Sink& sink);

  int fd_ = -1;
  std::string backlog_;
  std::size_t sent_ = 0;
  std::string input_;
};

}  // namespace fairway::shim
