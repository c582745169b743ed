#include "cli/exec_session.h"

#include <sys/ioctl.h>
#include <termios.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <charconv>
#include <csignal>

#include "cli/websocket_client.h"

namespace fairway::cli {
namespace json = boost::json;
namespace {

enum Channel : char { kStdin = 0, kStdout = 1, kStderr = 2, kStatus = 3, kResize = 4, kCloseChannel = '\xff' };

// The terminal in raw mode while it lives.
class RawTerminal {
 public:
  explicit RawTerminal(bool wanted) : active_(wanted && ::tcgetattr(STDIN_FILENO, &saved_) == 0) {
    if (!active_) return;
    termios raw = saved_;
    ::cfmakeraw(&raw);
    ::tcsetattr(STDIN_FILENO, TCSANOW, &raw);
  }
  ~RawTerminal() {
    if (active_) ::tcsetattr(STDIN_FILENO, TCSANOW, &saved_);
  }
  RawTerminal(const RawTerminal&) = delete;
  RawTerminal& operator=(const RawTerminal&) = delete;

 private:
  termios saved_{};
  bool active_;
};

std::string target_of(const ExecRequest& request) {
  std::string out = request.path + "?stdout=true";
  if (!request.tty) out += "&stderr=true";
  if (request.stdin_open) out += "&stdin=true";
  if (request.tty) out += "&tty=true";
  if (!request.container.empty()) out += "&container=" + io::percent_encode(request.container);
  for (const auto& word : request.command) out += "&command=" + io::percent_encode(word);
  return out;
}

// The exit code that the final Status tells, or its message as an error.
Result<int> exit_code_of(std::string_view text) {
  boost::system::error_code ec;
  const auto status = json::parse(text, ec);
  if (ec || !status.is_object()) return make_error(Code::kInternal, "the server's final status is no JSON");
  const auto& object = status.as_object();
  if (const auto* word = object.if_contains("status"); word && *word == "Success") return 0;
  const auto* details = object.if_contains("details");
  if (const auto* causes = details && details->is_object() ? details->as_object().if_contains("causes") : nullptr)
    for (const auto& cause : causes->as_array())
      if (cause.at("reason") == "ExitCode") {
        const std::string_view number(cause.at("message").as_string());
        int code = 1;
        std::from_chars(number.data(), number.data() + number.size(), code);
        return code;
      }
  const auto* message = object.if_contains("message");
  return make_error(Code::kInternal, message && message->is_string() ? std::string(message->as_string()) : "the command failed");
}

void write_all(int fd, std::string_view data) {
  while (!data.empty()) {
    const ssize_t n = ::write(fd, data.data(), data.size());
    if (n <= 0) return;
    data.remove_prefix(static_cast<std::size_t>(n));
  }
}

class Session {
 public:
  Session(io::Loop& loop, const ExecRequest& request, std::unique_ptr<io::Duplex> stream)
      : loop_(loop), request_(request), socket_(std::move(stream)) {}

  void start() {
    socket_.start([this](std::string_view message) { receive(message); },
                  [this](Status status) {
                    if (!status.ok()) result_ = std::move(status).error();
                    loop_.stop();
                  });
    if (request_.tty) {
      send_size();
      resize_ = loop_.on_signal(SIGWINCH, [this] { send_size(); });
    }
    if (request_.stdin_open) input_ = loop_.watch(STDIN_FILENO, io::Loop::Ready::kRead, [this] { read_input(); });
  }
  Result<int> result() { return std::move(result_); }

 private:
  void receive(std::string_view message) {
    if (message.empty()) return;
    const auto payload = message.substr(1);
    if (message[0] == kStdout) write_all(STDOUT_FILENO, payload);
    if (message[0] == kStderr) write_all(STDERR_FILENO, payload);
    if (message[0] == kStatus) result_ = exit_code_of(payload);
  }

  void read_input() {
    char chunk[4096];
    const ssize_t n = ::read(STDIN_FILENO, chunk, sizeof chunk);
    if (n > 0) {
      socket_.send(std::string(1, kStdin).append(chunk, static_cast<std::size_t>(n)));
    } else {
      input_.cancel();
      socket_.send(std::string{kCloseChannel, kStdin});
    }
  }

  void send_size() {
    winsize size{};
    if (::ioctl(STDIN_FILENO, TIOCGWINSZ, &size) == 0)
      socket_.send(std::string(1, kResize) + json::serialize(json::object{{"Width", size.ws_col}, {"Height", size.ws_row}}));
  }

  io::Loop& loop_;
  const ExecRequest& request_;
  WebSocketClient socket_;
  io::Loop::Watch input_, resize_;
  Result<int> result_ = 0;
};

}  // namespace

Result<int> run_exec(io::Loop& loop, io::HttpClient& client, const ExecRequest& request) {
  const RawTerminal terminal(request.tty);
  Status opened;
  std::unique_ptr<Session> session;
  const auto pending =
      client.upgrade(websocket_request(target_of(request), "v5.channel.k8s.io"), [&](Result<std::unique_ptr<io::Duplex>> stream) {
        if (!stream.ok()) {
          opened = std::move(stream).error();
          loop.stop();
          return;
        }
        session = std::make_unique<Session>(loop, request, std::move(*stream));
        session->start();
      });
  loop.run();
  FW_TRY(std::move(opened));
  return session->result();
}

}  // namespace fairway::cli
