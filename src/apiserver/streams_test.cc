// exec, attach, logs and port-forward with the real kubectl against serve_*() and a runtime made for the test.
#include "apiserver/streams.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <filesystem>
#include <fstream>

#include "apiserver/streams_test_support.h"
#include "io/pki.h"
#include "sys/process.h"

extern char** environ;

namespace fairway::apiserver {
namespace {

using test::FrameSocket;

void finish(FrameSocket& socket, int exit_code) {
  if (exit_code == 0) {
    socket.send(3, R"({"metadata":{},"status":"Success"})");
  } else {
    socket.send(3, R"({"metadata":{},"status":"Failure","reason":"NonZeroExitCode","message":"command terminated with non-zero exit code",)"
                   R"("details":{"causes":[{"reason":"ExitCode","message":")" +
                       std::to_string(exit_code) + "\"}]}}");
  }
}

// The commands that the pretended container knows.
void run_command(FrameSocket& socket, const boost::json::object& request) {
  socket.write_line(R"({"ok":true})");
  const auto& command = request.at("command").as_array();
  const std::string name(command[0].as_string());
  int channel = 0;
  std::string payload;
  if (name == "cat") {  // until stdin ends
    while (socket.receive(channel, payload)) {
      if (channel == 255) return finish(socket, 0);
      if (channel == 0) socket.send(1, payload);
    }
  } else if (name == "exit") {
    socket.send(1, "out\n");
    socket.send(2, "err\n");
    finish(socket, std::stoi(std::string(command[1].as_string())));
  } else if (name == "flood") {
    const std::string piece(60'000, 'x');
    for (int i = 0; i < 1000; ++i) socket.send(1, piece);
    finish(socket, 0);
  } else if (name == "size") {
    while (socket.receive(channel, payload) && channel != 4) {}
    socket.send(1, "resized: " + payload);
    finish(socket, 0);
  } else if (name == "die") {
    socket.send(1, "half");  // and the runtime is gone
  }
}

void forward(FrameSocket& socket, const boost::json::object& request) {
  const auto port = request.at("port").as_int64();
  if (port == 9) return socket.write_line(R"({"ok":false,"code":500,"reason":"InternalError","message":"connect: connection refused"})");
  socket.write_line(R"({"ok":true})");
  int channel = 0;
  std::string payload, all;
  while (socket.receive(channel, payload)) {
    if (channel == 0) {
      if (port == 7) socket.send(1, payload);
      else all += payload;
    }
    if (channel == 255) break;
  }
  if (port == 8) socket.send(1, "got " + std::to_string(all.size()));  // an answer after the client's half close
  socket.send(255, std::string(1, '\1'));
}

void serve_logs(FrameSocket& socket, const boost::json::object& request) {
  if (request.at("previous").as_bool()) {
    return socket.write_line(
        R"({"ok":false,"code":400,"reason":"BadRequest","message":"previous terminated container \"c\" in pod \"p\" not found"})");
  }
  socket.write_line(R"({"ok":true})");
  socket.send(1, "line 1\nline 2\n");
  for (int i = 3; request.at("follow").as_bool(); ++i) {
    pollfd one{socket.fd().get(), POLLIN, 0};
    if (::poll(&one, 1, 5) != 0 || !socket.send(1, "line " + std::to_string(i) + "\n")) return;  // the client has gone
  }
}

void serve_all(FrameSocket& socket, const boost::json::object& request) {
  const std::string op(request.at("op").as_string());
  if (op == "exec") return run_command(socket, request);
  if (op == "portforward") return forward(socket, request);
  if (op == "logs") return serve_logs(socket, request);
  socket.write_line(R"({"ok":true})");  // attach: greets, and echoes until stdin ends
  socket.send(1, "attached\n");
  int channel = 0;
  for (std::string payload; socket.receive(channel, payload) && channel != 255;) socket.send(1, payload);
  finish(socket, 0);
}

std::vector<std::string> kubectls() {
  std::vector<std::string> found;
  const std::string folder = "/usr/lib/google-cloud-sdk/bin/kubectl.";
  for (const char* version : {"1.30", "1.32", "1.33"}) {
    if (std::filesystem::exists(folder + version)) found.push_back(folder + version);
  }
  if (found.empty() && std::filesystem::exists("/usr/bin/kubectl")) found.push_back("/usr/bin/kubectl");
  return found;
}

class Streams : public ::testing::TestWithParam<std::string> {
 protected:
  void SetUp() override {
    if (GetParam().empty()) GTEST_SKIP() << "no kubectl on this machine";
    runtime_ = std::make_unique<test::FakeRuntime>(dir_ / "runtime.sock", serve_all);
    const io::KeyPair ca = *io::make_ca("CA");
    const io::KeyPair own = *io::issue_certificate(ca, {.common_name = "s", .addresses = {"127.0.0.1"}, .server = true});
    std::ofstream(dir_ / "ca.crt") << ca.certificate_pem;
    io::HttpServerConfig config;
    config.tls = io::ServerTls{own.certificate_pem, own.key_pem, ""};
    server_ = std::move(*io::HttpServer::create(loop_, config, [this](io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
      seen_.push_back(request.method + " " + request.path);
      test::route(loop_, dir_ / "runtime.sock", std::move(request), std::move(responder));
    }));
    auto listener = io::listen_tcp("127.0.0.1", 0);
    port_ = *io::local_port(*listener);
    ASSERT_TRUE(server_->serve(std::move(*listener)).ok());
  }
  // The connections of a kubectl that was ended have their end in their buffers: the loop takes it, and what served them goes.
  void TearDown() override {
    const auto end = loop_.after(std::chrono::milliseconds(100), [this] { loop_.stop(); });
    loop_.run();
  }
  std::vector<std::string> argv(const std::vector<std::string>& arguments) {
    std::vector<std::string> all = {"/usr/bin/env",
                                    "HOME=" + (dir_ / "home"),
                                    "KUBECONFIG=/dev/null",
                                    "KUBECTL_REMOTE_COMMAND_WEBSOCKETS=" + websockets_,
                                    "KUBECTL_PORT_FORWARD_WEBSOCKETS=" + websockets_,
                                    GetParam(),
                                    "--server=https://127.0.0.1:" + std::to_string(port_),
                                    "--certificate-authority=" + (dir_ / "ca.crt"),
                                    "--token=t"};
    all.insert(all.end(), arguments.begin(), arguments.end());
    return all;
  }
  sys::RunResult kubectl(const std::vector<std::string>& arguments, const std::string& input = "") {
    sys::RunResult result;
    io::test::run_beside(loop_, [&] {
      auto ran = sys::run(argv(arguments), input, std::chrono::seconds(40));
      if (ran.ok()) result = *ran;
      else result.err = ran.error().message;
    });
    return result;
  }
  std::string websockets_ = "true";  // false: SPDY/3.1 from the start
  io::test::TempDir dir_;
  io::Loop loop_;
  std::unique_ptr<test::FakeRuntime> runtime_;
  std::unique_ptr<io::HttpServer> server_;
  std::vector<std::string> seen_;
  std::uint16_t port_ = 0;
};

TEST_P(Streams, ExecTellsOutputAndExitCode) {
  const auto result = kubectl({"exec", "p", "--", "exit", "5"});
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_EQ(result.out, "out\n");
  EXPECT_NE(result.err.find("err\n"), std::string::npos) << result.err;
  EXPECT_NE(result.err.find("command terminated with exit code 5"), std::string::npos) << result.err;
  EXPECT_EQ(kubectl({"exec", "p", "--", "exit", "0"}).exit_code, 0);
}

TEST_P(Streams, ExecPassesStdinAndItsEnd) {
  const std::string input(3'000'000, 'i');
  const auto result = kubectl({"exec", "-i", "p", "--", "cat"}, input);
  EXPECT_EQ(result.exit_code, 0) << result.err;
  EXPECT_TRUE(result.out == input) << result.out.size() << result.err;
}

TEST_P(Streams, ExecCarriesMuchOutput) {
  io::test::run_beside(loop_, [&] {
    std::vector<std::string> words = {"/usr/bin/env", "bash", "-c", "set -o pipefail; \"$@\" | wc -c", "x"};  // run() keeps 16 MiB at most
    for (const std::string& word : argv({"exec", "p", "--", "flood"})) words.push_back(word);
    auto ran = sys::run(words, "", std::chrono::seconds(40));
    ASSERT_TRUE(ran.ok());
    EXPECT_EQ(ran->out, "60000000\n") << ran->err;
    EXPECT_EQ(ran->exit_code, 0);
  });
}

TEST_P(Streams, ExecOnATerminalTellsItsSize) {
  // script(1) gives kubectl a terminal.
  if (!std::filesystem::exists("/usr/bin/script")) GTEST_SKIP() << "no script(1) on this machine";
  std::string command = "stty rows 33 cols 77; exec";
  for (const std::string& word : argv({"exec", "-it", "p", "--", "size"})) command += " '" + word + "'";
  sys::RunResult result;
  io::test::run_beside(loop_, [&] {
    auto ran = sys::run({"/usr/bin/script", "-qec", command, "/dev/null"}, "", std::chrono::seconds(40));
    if (ran.ok()) result = *ran;
  });
  EXPECT_NE(result.out.find(R"("Width":77,"Height":33)"), std::string::npos) << result.out;
}

TEST_P(Streams, ExecOverSpdy) {
  websockets_ = "false";
  const auto result = kubectl({"exec", "p", "--", "exit", "5"});
  EXPECT_EQ(result.exit_code, 5) << result.err;
  EXPECT_EQ(result.out, "out\n");
  EXPECT_NE(result.err.find("err\n"), std::string::npos) << result.err;
  const std::string input(3'000'000, 'i');
  const auto echoed = kubectl({"exec", "-i", "p", "--", "cat"}, input);
  EXPECT_EQ(echoed.exit_code, 0) << echoed.err;
  EXPECT_TRUE(echoed.out == input) << echoed.out.size() << echoed.err;
  EXPECT_EQ(std::count(seen_.begin(), seen_.end(), "POST /api/v1/namespaces/default/pods/p/exec"), 2);
}

// A command that ends while its stdin is still being sent: its output and its code arrive all the same.
TEST_P(Streams, ExecThatEndsBeforeItsInput) {
  for (const char* mode : {"true", "false"}) {
    websockets_ = mode;
    const auto result = kubectl({"exec", "-i", "p", "--", "exit", "3"}, std::string(8'000'000, 'i'));
    EXPECT_EQ(result.exit_code, 3) << result.err;
    EXPECT_EQ(result.out, "out\n");
  }
}

TEST_P(Streams, RuntimeThatDiesIsAnError) {
  const auto result = kubectl({"exec", "p", "--", "die"});
  EXPECT_NE(result.exit_code, 0);
  EXPECT_NE(result.err.find("the node's runtime ended the stream"), std::string::npos) << result.err;
  runtime_.reset();
  const auto gone = kubectl({"exec", "p", "--", "exit", "0"});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_NE(gone.err.find("error dialing backend"), std::string::npos) << gone.err;
}

TEST_P(Streams, Attach) {
  const auto result = kubectl({"attach", "-i", "p", "-c", "c"}, "typed\n");
  EXPECT_NE(result.out.find("attached\n"), std::string::npos) << result.out << result.err;
  EXPECT_NE(result.out.find("typed\n"), std::string::npos) << result.out << result.err;
}

TEST_P(Streams, Logs) {
  const auto result = kubectl({"logs", "p", "--tail=5", "--timestamps", "--since-time=2020-01-02T03:04:05Z"});
  EXPECT_EQ(result.out, "line 1\nline 2\n") << result.err;
  const std::string asked = runtime_->requests().back();
  EXPECT_NE(asked.find(R"("tailLines":5)"), std::string::npos) << asked;
  EXPECT_NE(asked.find(R"("timestamps":true)"), std::string::npos) << asked;
  EXPECT_NE(asked.find(R"("sinceSeconds":)"), std::string::npos) << asked;
  const auto refused = kubectl({"logs", "p", "--previous"});
  EXPECT_EQ(refused.exit_code, 1);
  EXPECT_NE(refused.err.find("previous terminated container"), std::string::npos) << refused.err;
}

// A kubectl that goes on until it is ended.
class Background {
 public:
  explicit Background(const std::vector<std::string>& argv) {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    out_.reset(ends[0]);
    const sys::Fd write_end(ends[1]);
    posix_spawn_file_actions_t actions;
    posix_spawn_file_actions_init(&actions);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 1);
    posix_spawn_file_actions_adddup2(&actions, write_end.get(), 2);
    std::vector<char*> words;
    for (const std::string& word : argv) words.push_back(const_cast<char*>(word.c_str()));
    words.push_back(nullptr);
    EXPECT_EQ(::posix_spawn(&pid_, words[0], &actions, nullptr, words.data(), environ), 0);
    posix_spawn_file_actions_destroy(&actions);
  }
  ~Background() { stop(); }
  void stop() {
    if (pid_ <= 0) return;
    ::kill(pid_, SIGTERM);
    ::waitpid(std::exchange(pid_, -1), nullptr, 0);
  }
  bool alive() const { return ::waitpid(pid_, nullptr, WNOHANG) == 0; }
  // Reads its output until the text is there.
  bool says(const std::string& text) {
    char piece[4096];
    while (said_.find(text) == std::string::npos) {
      pollfd one{out_.get(), POLLIN, 0};
      if (::poll(&one, 1, 15'000) <= 0) return false;
      const ssize_t n = ::read(out_.get(), piece, sizeof piece);
      if (n <= 0) return false;
      said_.append(piece, static_cast<std::size_t>(n));
    }
    return true;
  }
  std::string said_;

 private:
  pid_t pid_ = -1;
  sys::Fd out_;
};

TEST_P(Streams, LogsFollowAndTheirEndIsSeen) {
  io::test::run_beside(loop_, [&] {
    Background kubectl(argv({"logs", "-f", "p"}));
    EXPECT_TRUE(kubectl.says("line 20\n")) << kubectl.said_;
  });
}

std::uint16_t forwarded_port(const std::string& said, std::size_t nth) {
  std::size_t at = 0;
  for (std::size_t i = 0; i <= nth; ++i) at = said.find("Forwarding from 127.0.0.1:", at) + 26;
  return static_cast<std::uint16_t>(std::stoi(said.substr(at)));
}

// Sends in a thread of its own while it reads; then half-closes and reads to the end.
std::string talk(std::uint16_t port, const std::string& text) {
  const sys::Fd fd = io::test::connect_port(port);
  std::thread sender([&] {
    io::test::send_all(fd, text);
    ::shutdown(fd.get(), SHUT_WR);
  });
  std::string got = io::test::receive_all(fd);
  sender.join();
  return got;
}

TEST_P(Streams, PortForwardManyConnectionsLargeAndHalfClosed) {
  io::test::run_beside(loop_, [&] {
    Background kubectl(argv({"port-forward", "pod/p", ":7", ":8", ":9", "--address=127.0.0.1"}));
    ASSERT_TRUE(kubectl.says("-> 9")) << kubectl.said_;
    const std::uint16_t echo = forwarded_port(kubectl.said_, 0), count = forwarded_port(kubectl.said_, 1),
                        refused = forwarded_port(kubectl.said_, 2);
    EXPECT_EQ(talk(count, std::string(5'000'000, 'y')), "got 5000000");
    std::vector<std::thread> many;
    std::atomic<int> good = 0;
    for (int i = 0; i < 40; ++i) {
      many.emplace_back([&, i] {
        const std::string text(static_cast<std::size_t>(1 + i * 20'011), static_cast<char>('a' + i % 26));
        if (talk(echo, text) == text) ++good;
      });
    }
    for (std::thread& thread : many) thread.join();
    EXPECT_EQ(good, 40);
    // Nobody listens on one port: that connection ends, the others and kubectl go on.
    const std::string nothing = talk(refused, "x");
    EXPECT_TRUE(nothing.empty() || nothing.starts_with("<Connection reset")) << nothing;
    EXPECT_TRUE(kubectl.alive());
    EXPECT_EQ(talk(echo, "still there"), "still there");
  });
}

std::vector<std::string> parameters() {
  auto found = kubectls();
  if (found.empty()) found.emplace_back();
  return found;
}

INSTANTIATE_TEST_SUITE_P(Kubectl, Streams, ::testing::ValuesIn(parameters()), [](const auto& one) {
  std::string name = std::filesystem::path(one.param).filename().string();
  std::replace_if(
      name.begin(), name.end(), [](char c) { return !std::isalnum(static_cast<unsigned char>(c)); }, '_');
  return name.empty() ? std::string("absent") : name;
});

}  // namespace
}  // namespace fairway::apiserver
