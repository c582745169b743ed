// The WebSocket end of the server, against frames made by hand from RFC 6455.
#include <gtest/gtest.h>

#include "io/http_server.h"
#include "io/io_test_support.h"

namespace fairway::io {
namespace {

using test::run_beside;
using test::run_until;

constexpr char kUpgrade[] =
    "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
    "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: a/b+c, v5.channel.k8s.io\r\n\r\n";

enum Opcode { kMore = 0, kText = 1, kBinary = 2, kClose = 8, kPing = 9, kPong = 10 };

std::string frame(int opcode, const std::string& payload, bool fin = true) {
  std::string out(1, static_cast<char>((fin ? 0x80 : 0) | opcode));
  if (payload.size() < 126) {
    out += static_cast<char>(0x80 | payload.size());
  } else {
    const bool wide = payload.size() > 0xffff;
    out += static_cast<char>(0x80 | (wide ? 127 : 126));
    for (int shift = wide ? 56 : 8; shift >= 0; shift -= 8) out += static_cast<char>(static_cast<std::uint64_t>(payload.size()) >> shift);
  }
  const std::string mask = "\x12\x34\x56\x78";
  out += mask;
  for (std::size_t i = 0; i < payload.size(); ++i) out += static_cast<char>(payload[i] ^ mask[i % 4]);
  return out;
}

// Frames of a server: "opcode:payload" each, long payloads as their length.
std::vector<std::string> frames_of(std::string bytes) {
  std::vector<std::string> found;
  while (bytes.size() >= 2) {
    const int opcode = bytes[0] & 15;
    std::size_t length = bytes[1] & 127, head = 2;
    const int extra = length == 126 ? 2 : length == 127 ? 8 : 0;
    if (extra > 0) {
      length = 0;
      for (int i = 0; i < extra; ++i) length = length << 8 | static_cast<unsigned char>(bytes[2 + static_cast<std::size_t>(i)]);
      head += static_cast<std::size_t>(extra);
    }
    const std::string payload = bytes.substr(head, length);
    found.push_back(std::to_string(opcode) + ":" + (payload.size() > 200 ? std::to_string(payload.size()) : payload));
    bytes.erase(0, head + length);
  }
  return found;
}

struct SocketFixture {
  SocketFixture() {
    server = std::move(*HttpServer::create(loop, {}, [this](ServerRequest, std::unique_ptr<Responder> responder) {
      responder->accept_websocket("v5.channel.k8s.io", [this](Result<std::unique_ptr<Duplex>> made) {
        refused = !made.ok();
        if (!made.ok()) return;
        duplex = std::move(*made);
        if (hold) return;
        begin();
      });
    }));
    auto listener = listen_tcp("127.0.0.1", 0);
    port = *local_port(*listener);
    EXPECT_TRUE(server->serve(std::move(*listener)).ok());
  }
  void begin() {
    duplex->start(
        [this](std::string_view message) {
          messages.emplace_back(message);
          if (echo) duplex->write("<" + std::string(message) + ">");
          if (message == "bye") duplex->close();
        },
        [this](Status status) { ends.push_back(status.ok()); });
  }
  // Sends the upgrade and these frames; returns the head of the answer and what follows until the server closes.
  std::pair<std::string, std::string> talk(const std::string& frames, const std::string& upgrade = kUpgrade) {
    std::string got;
    run_beside(loop, [&] {
      const sys::Fd fd = test::connect_port(port);
      test::send_all(fd, upgrade + frames);
      got = test::receive_all(fd);
    });
    const std::size_t end = got.find("\r\n\r\n");
    return {got.substr(0, end), end == std::string::npos ? "" : got.substr(end + 4)};
  }
  Loop loop;
  std::unique_ptr<HttpServer> server;
  std::unique_ptr<Duplex> duplex;
  std::uint16_t port = 0;
  bool refused = false, echo = true, hold = false;
  std::vector<std::string> messages;
  std::vector<bool> ends;
};

TEST(WebSocket, AnswersTheKeyAndTheChosenSubprotocol) {
  SocketFixture f;
  const auto [head, frames] = f.talk(frame(kBinary, "bye") + frame(kClose, "\x03\xe8"));
  EXPECT_EQ(head.find("HTTP/1.1 101 "), 0u) << head;
  EXPECT_NE(head.find("Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="), std::string::npos) << head;  // RFC 6455 1.3
  EXPECT_NE(head.find("Sec-WebSocket-Protocol: v5.channel.k8s.io"), std::string::npos) << head;
  EXPECT_EQ(frames_of(frames), (std::vector<std::string>{"2:<bye>", "8:\x03\xe8"}));  // Close 1000
}

TEST(WebSocket, MessagesInPiecesPingsBetweenAndPongs) {
  SocketFixture f;
  const auto [head, frames] = f.talk(frame(kBinary, "one ", false) + frame(kPing, "are you there") + frame(kMore, "message") +
                                     frame(kBinary, "") + frame(kBinary, std::string(200'000, 'x')) + frame(kClose, "\x03\xe8"));
  EXPECT_EQ(f.messages, (std::vector<std::string>{"one message", "", std::string(200'000, 'x')}));
  const auto got = frames_of(frames);
  ASSERT_EQ(got.size(), 5u);
  EXPECT_NE(std::find(got.begin(), got.end(), "10:are you there"), got.end());
  EXPECT_NE(std::find(got.begin(), got.end(), "2:200002"), got.end());
  EXPECT_EQ(got.back().substr(0, 2), "8:");
  EXPECT_EQ(f.ends, (std::vector<bool>{true}));
}

TEST(WebSocket, BrokenFramesEndTheStreamOnce) {
  const std::string unmasked = {'\x82', '\x02', 'h', 'i'};
  for (const std::string& frames : {unmasked, frame(3, "reserved opcode"), frame(kMore, "nothing to go on from"),
                                    frame(kPing, std::string(300, 'p')), frame(kBinary, std::string(2 << 20, 'x'))}) {
    SocketFixture f;
    f.talk(frames);
    EXPECT_EQ(f.ends, (std::vector<bool>{false})) << frames.substr(0, 10);
    EXPECT_TRUE(f.messages.empty());
  }
}

TEST(WebSocket, RequestsThatAreNoUpgradeAreRefused) {
  SocketFixture f;
  const auto [head, body] = f.talk("", "GET /ws HTTP/1.1\r\nHost: h\r\nUpgrade: websocket\r\n\r\n");
  EXPECT_EQ(head.find("HTTP/1.1 400"), 0u) << head;
  EXPECT_TRUE(f.refused);
}

TEST(WebSocket, ClientThatVanishesIsAnEnd) {
  SocketFixture f;
  run_beside(f.loop, [&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, kUpgrade + frame(kBinary, "x"));
    test::receive_until(fd, [](const std::string& got) { return got.find("<x>") != std::string::npos; });
  });
  ASSERT_TRUE(run_until(f.loop, [&] { return !f.ends.empty(); }));
  EXPECT_EQ(f.ends, (std::vector<bool>{false}));
}

TEST(WebSocket, PausedReaderBoundsWhatIsHeldAndLosesNothing) {
  SocketFixture f;
  f.hold = true;
  f.echo = false;
  std::atomic<int> sent = 0;
  constexpr int kMessages = 400;
  const std::string text(50'000, 'm');
  std::thread client([&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, kUpgrade);
    for (int i = 0; i < kMessages; ++i) {
      test::send_all(fd, frame(kBinary, text + std::to_string(i)));
      ++sent;
    }
    test::send_all(fd, frame(kClose, "\x03\xe8"));
    test::receive_all(fd);
  });
  ASSERT_TRUE(run_until(f.loop, [&] { return f.duplex != nullptr; }));
  f.begin();
  f.duplex->pause_reading(true);
  int last = -1, same = 0;
  run_until(f.loop, [&] {  // until the client is stuck
    same = sent == last ? same + 1 : 0;
    last = sent;
    return same > 100;
  });
  EXPECT_LT(sent, kMessages);
  EXPECT_LE(f.messages.size(), 1u);
  f.duplex->pause_reading(false);
  ASSERT_TRUE(run_until(f.loop, [&] { return !f.ends.empty(); }));
  client.join();
  ASSERT_EQ(f.messages.size(), static_cast<std::size_t>(kMessages));
  for (int i = 0; i < kMessages; ++i) ASSERT_EQ(f.messages[static_cast<std::size_t>(i)].substr(text.size()), std::to_string(i));
}

TEST(WebSocket, DuplexDestroyedInItsOwnCallback) {
  SocketFixture f;
  f.hold = true;
  std::string got;
  std::thread client([&] {
    const sys::Fd fd = test::connect_port(f.port);
    test::send_all(fd, kUpgrade + frame(kBinary, "end it") + frame(kBinary, "unseen") + frame(kClose, "\x03\xe8"));
    got = test::receive_all(fd);
  });
  ASSERT_TRUE(run_until(f.loop, [&] { return f.duplex != nullptr; }));
  f.duplex->start([&](std::string_view) { f.duplex.reset(); }, [&](Status) { f.ends.push_back(true); });
  ASSERT_TRUE(run_until(f.loop, [&] { return !f.duplex; }));
  std::atomic<bool> joined = false;
  std::thread joiner([&] {
    client.join();
    joined = true;
  });
  ASSERT_TRUE(run_until(f.loop, [&] { return joined.load(); }));
  joiner.join();
  EXPECT_TRUE(f.ends.empty());
}

}  // namespace
}  // namespace fairway::io
