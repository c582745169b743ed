#include "cli/websocket_client.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include "io/http_server.h"
#include "io/loop.h"

namespace fairway::cli {
namespace {

// Our client against our server (Beast's WebSocket), over a unix socket: two implementations of RFC 6455.
class WebSocketClientTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = io::HttpServer::create(loop_, {}, [this](io::ServerRequest, std::unique_ptr<io::Responder> responder) {
      responder->accept_websocket("echo", [this](Result<std::unique_ptr<io::Duplex>> socket) {
        ASSERT_TRUE(socket.ok()) << socket.error().message;
        peer_ = std::move(*socket);
        peer_->start([this](std::string_view data) { peer_->write(std::string(data)); }, [](Status) {});
      });
    });
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
    auto listener = io::listen_unix(path_);
    ASSERT_TRUE(listener.ok()) << listener.error().message;
    ASSERT_TRUE(server_->serve(std::move(*listener)).ok());
    io::Origin origin;
    origin.unix_path = path_;
    client_ = std::move(*io::HttpClient::create(loop_, origin));
    guard_ = loop_.after(std::chrono::seconds(20), [this] {
      ADD_FAILURE() << "no answer";
      loop_.stop();
    });
  }
  // Both ends go, and the loop runs once more, so that the connections see it.
  void TearDown() override {
    socket_.reset();
    peer_.reset();
    pending_.reset();
    client_.reset();
    server_.reset();
    guard_.cancel();
    guard_ = loop_.after(std::chrono::milliseconds(50), [this] { loop_.stop(); });
    loop_.run();
    ::unlink(path_.c_str());
  }

  void open(std::function<void()> ready) {
    pending_ =
        client_->upgrade(websocket_request("/", "echo"), [this, ready = std::move(ready)](Result<std::unique_ptr<io::Duplex>> stream) {
          ASSERT_TRUE(stream.ok()) << stream.error().message;
          socket_ = std::make_unique<WebSocketClient>(std::move(*stream));
          ready();
        });
    loop_.run();
  }

  std::string path_ = "/tmp/fairway-websocket-test-" + std::to_string(::getpid()) + ".sock";
  io::Loop loop_;
  std::unique_ptr<io::HttpServer> server_;
  std::unique_ptr<io::Duplex> peer_;
  std::unique_ptr<io::HttpClient> client_;
  std::unique_ptr<io::Pending> pending_;
  std::unique_ptr<WebSocketClient> socket_;
  io::Loop::Timer guard_;
};

TEST_F(WebSocketClientTest, MessagesOfEveryLengthClassComeBackWhole) {
  const std::vector<std::string> sent = {
      "", "a", std::string(125, 'b'), std::string(126, 'c'), std::string(65535, 'd'), std::string(300'000, 'e')};
  std::vector<std::string> received;
  open([&] {
    socket_->start(
        [&](std::string_view message) {
          received.emplace_back(message);
          if (received.size() == sent.size()) loop_.stop();
        },
        [](Status) {});
    for (const auto& message : sent) socket_->send(message);
  });
  EXPECT_EQ(received, sent);
}

TEST_F(WebSocketClientTest, AServersCloseEndsItOnceAndWell) {
  int ends = 0;
  open([&] {
    socket_->start([](std::string_view) {},
                   [&](Status status) {
                     EXPECT_TRUE(status.ok());
                     ++ends;
                     loop_.stop();
                   });
    peer_->close();
  });
  EXPECT_EQ(ends, 1);
}

}  // namespace
}  // namespace fairway::cli
