#include "cli/websocket_client.h"

#include <sys/random.h>

#include <array>
#include <cstdint>

namespace fairway::cli {
namespace {

constexpr unsigned kContinuation = 0, kBinary = 2, kClose = 8, kPing = 9, kPong = 10;
constexpr std::size_t kMaxMessage = 16 << 20;

std::array<unsigned char, 16> random_bytes() {
  std::array<unsigned char, 16> out{};
  if (::getrandom(out.data(), out.size(), 0) != static_cast<ssize_t>(out.size())) std::abort();
  return out;
}

std::string base64(const std::array<unsigned char, 16>& bytes) {
  constexpr char kAlphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  std::string out;
  for (std::size_t i = 0; i < 15; i += 3) {
    const unsigned v = bytes[i] << 16 | bytes[i + 1] << 8 | bytes[i + 2];
    for (int shift = 18; shift >= 0; shift -= 6) out += kAlphabet[v >> shift & 63];
  }
  out += kAlphabet[bytes[15] >> 2];
  out += kAlphabet[(bytes[15] & 3) << 4];
  return out + "==";
}

}  // namespace

io::HttpRequest websocket_request(std::string target, std::string_view subprotocol) {
  io::HttpRequest request;
  request.target = std::move(target);
  request.headers.set("Connection", "Upgrade");
  request.headers.set("Upgrade", "websocket");
  request.headers.set("Sec-WebSocket-Version", "13");
  request.headers.set("Sec-WebSocket-Key", base64(random_bytes()));
  request.headers.set("Sec-WebSocket-Protocol", std::string(subprotocol));
  return request;
}

WebSocketClient::WebSocketClient(std::unique_ptr<io::Duplex> stream) : stream_(std::move(stream)) {}

void WebSocketClient::start(std::function<void(std::string_view)> on_message, std::function<void(Status)> on_end) {
  on_message_ = std::move(on_message);
  on_end_ = std::move(on_end);
  stream_->start([this](std::string_view data) { receive(data); },
                 [this](Status status) {
                   if (!std::exchange(ended_, true)) on_end_(std::move(status));
                 });
}

void WebSocketClient::receive(std::string_view data) {
  buffer_.append(data);
  while (!ended_ && take_frame()) {}
}

// RFC 6455 5.2; a server's frames are not masked.
bool WebSocketClient::take_frame() {
  const auto byte = [&](std::size_t i) { return static_cast<unsigned char>(buffer_[i]); };
  if (buffer_.size() < 2) return false;
  const bool final = byte(0) & 0x80;
  const unsigned opcode = byte(0) & 0x0f;
  std::size_t header = 2;
  std::uint64_t length = byte(1) & 0x7f;
  if (length >= 126) {
    const std::size_t extra = length == 126 ? 2 : 8;
    if (buffer_.size() < header + extra) return false;
    length = 0;
    for (std::size_t i = 0; i < extra; ++i) length = length << 8 | byte(header + i);
    header += extra;
  }
  if (length > kMaxMessage) {
    ended_ = true;
    on_end_(make_error(Code::kExhausted, "the server sent a WebSocket frame of " + std::to_string(length) + " bytes"));
    return false;
  }
  if (buffer_.size() < header + length) return false;
  const std::string payload = buffer_.substr(header, length);
  buffer_.erase(0, header + length);
  if (opcode == kPing) write_frame(kPong, payload);
  if (opcode == kClose) {
    ended_ = true;
    write_frame(kClose, payload);
    on_end_({});
  } else if (opcode <= kBinary) {
    message_ += payload;
    if (final) on_message_(std::exchange(message_, {}));
  }
  return true;
}

void WebSocketClient::send(std::string_view message) { write_frame(kBinary, message); }

void WebSocketClient::close() { write_frame(kClose, std::string_view("\x03\xe8", 2)); }

void WebSocketClient::write_frame(unsigned opcode, std::string_view payload) {
  std::string frame(1, static_cast<char>(0x80 | opcode));
  if (payload.size() < 126) {
    frame += static_cast<char>(0x80 | payload.size());
  } else {
    const int bytes = payload.size() < 65536 ? 2 : 8;
    frame += static_cast<char>(0x80 | (bytes == 2 ? 126 : 127));
    for (int shift = (bytes - 1) * 8; shift >= 0; shift -= 8) frame += static_cast<char>(payload.size() >> shift);
  }
  const auto mask = random_bytes();
  frame.append(reinterpret_cast<const char*>(mask.data()), 4);
  for (std::size_t i = 0; i < payload.size(); ++i) frame += static_cast<char>(payload[i] ^ mask[i % 4]);
  stream_->write(std::move(frame));
}

}  // namespace fairway::cli
