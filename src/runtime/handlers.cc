#include "runtime/handlers.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netdb.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include "io/http_client.h"
#include "runtime/node.h"
#include "runtime/oci_spec.h"
#include "runtime/process.h"
#include "sys/file.h"

namespace fairway::runtime {
namespace {

class ExecRun final : public HandlerRun {
 public:
  ~ExecRun() override { let_go(); }
  Status begin(Node& node, const HandlerTarget& target, const std::vector<std::string>& command, std::chrono::milliseconds timeout,
               std::function<void(Status)> done) {
    FW_ASSIGN(const Json config, parse_json_file(target.bundle + "/config.json"));
    process_file_ = target.bundle + "/probe-" + random_hex(8) + ".json";
    pid_file_ = process_file_ + ".pid";
    FW_TRY(write_json_file(process_file_, exec_process(config, command, false)));
    ProcessSpec spec{.argv = {node.config.runc, "--root", node.runc_root(), "exec", "--process", process_file_, "--pid-file", pid_file_,
                              target.container_id},
                     .deadline = timeout + kLeave};
    FW_ASSIGN(process_, Process::start(node.loop, std::move(spec), [this, done](ProcessResult result) {
                timer_.cancel();
                done(result.exit_code == 0 ? Status() : Status(make_error(Code::kInternal, result.out + result.err)));
              }));
    timer_ = node.loop.after(timeout, [this, timeout, done] {
      let_go();
      done(make_error(Code::kTimeout, "command timed out after " + std::to_string(timeout.count() / 1000) + "s"));
    });
    return {};
  }

 private:
  static constexpr auto kLeave = std::chrono::seconds(5);
  // Ending `runc exec` leaves what it started, and nobody else is sure to reap that: a zombie of the container's pid
  // namespace would keep the container from ending. So what it started is killed, and runc itself sees to the rest.
  void let_go() {
    if (process_) {
      const auto pid = sys::read_file(pid_file_, 64);
      const int inside = pid.ok() ? std::atoi(pid->c_str()) : 0;
      if (inside > 1 && process_->running()) {
        ::kill(inside, SIGKILL);
        Process::let_end(std::move(process_), kLeave);
      }
      process_.reset();
    }
    ::unlink(process_file_.c_str());
    ::unlink(pid_file_.c_str());
  }
  std::unique_ptr<Process> process_;
  io::Loop::Timer timer_;
  std::string process_file_, pid_file_;
};

class HttpRun final : public HandlerRun {
 public:
  Status begin(Node& node, const HandlerTarget& target, const Json& get, std::chrono::milliseconds timeout,
               std::function<void(Status)> done) {
    const std::string host = text(get, "host", target.pod_ip);
    const std::uint16_t port = resolve_port(*target.container, member(get, "port"));
    if (port == 0) return make_error(Code::kInvalid, "httpGet: no such port");
    io::Origin origin{.host = host, .port = port};
    if (text(get, "scheme") == "HTTPS") origin.tls = io::ClientTls{.insecure = true};  // probes do not verify, by the API's definition
    FW_ASSIGN(client_, io::HttpClient::create(node.loop, std::move(origin)));
    io::HttpRequest request;
    request.target = text(get, "path", "/");
    if (request.target.empty() || request.target.front() != '/') request.target = "/" + request.target;
    request.headers.set("User-Agent", "kube-probe/1.32");
    request.headers.set("Accept", "*/*");
    request.headers.set("Connection", "close");
    for (const auto& header : array(get, "httpHeaders")) request.headers.add(text(header, "name"), text(header, "value"));
    pending_ = client_->request(
        std::move(request),
        [done = std::move(done)](Result<io::HttpResponse> response) {
          if (!response.ok()) return done(std::move(response).error());
          if (response->status >= 200 && response->status < 400) return done({});
          done(make_error(Code::kInternal, "HTTP probe failed with statuscode: " + std::to_string(response->status)));
        },
        timeout);
    return {};
  }

 private:
  std::unique_ptr<io::HttpClient> client_;
  std::unique_ptr<io::Pending> pending_;
};

class TcpRun final : public HandlerRun {
 public:
  Status begin(Node& node, const std::string& host, std::uint16_t port, std::chrono::milliseconds timeout,
               std::function<void(Status)> done) {
    addrinfo hints{}, *list = nullptr;
    hints.ai_flags = AI_NUMERICHOST;
    hints.ai_socktype = SOCK_STREAM;
    if (port == 0 || ::getaddrinfo(host.c_str(), std::to_string(port).c_str(), &hints, &list) != 0)
      return make_error(Code::kInvalid, "dial tcp " + host + ":" + std::to_string(port) + ": no such address");
    where_ = "dial tcp " + host + ":" + std::to_string(port) + ": ";
    fd_ = sys::Fd(::socket(list->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    const int rc = ::connect(fd_.get(), list->ai_addr, list->ai_addrlen);
    const int error = rc < 0 ? errno : 0;
    ::freeaddrinfo(list);
    done_ = std::move(done);
    if (error != 0 && error != EINPROGRESS) return errno_error(error, where_ + "connect");
    watch_ = node.loop.watch(fd_.get(), io::Loop::Ready::kWrite, [this] { connected(); });
    timer_ = node.loop.after(timeout, [this] { finish(make_error(Code::kTimeout, where_ + "i/o timeout")); });
    return {};
  }

 private:
  void connected() {
    int error = 0;
    socklen_t size = sizeof error;
    ::getsockopt(fd_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
    finish(error == 0 ? Status() : Status(errno_error(error, where_ + "connect")));
  }
  void finish(Status status) {
    watch_.cancel();
    timer_.cancel();
    auto done = std::move(done_);
    done_ = nullptr;
    if (done) done(std::move(status));
  }
  sys::Fd fd_;
  io::Loop::Watch watch_;
  io::Loop::Timer timer_;
  std::string where_;
  std::function<void(Status)> done_;
};

class LaterRun final : public HandlerRun {
 public:
  LaterRun(Node& node, std::chrono::milliseconds after, Status status, std::function<void(Status)> done)
      : timer_(node.loop.after(after, [status = std::move(status), done = std::move(done)] { done(status); })) {}

 private:
  io::Loop::Timer timer_;
};

template <typename Run, typename... Args>
std::unique_ptr<HandlerRun> begin(Node& node, const std::function<void(Status)>& done, Args&&... args) {
  auto run = std::make_unique<Run>();
  if (Status status = run->begin(node, std::forward<Args>(args)..., done); !status.ok())
    return std::make_unique<LaterRun>(node, std::chrono::milliseconds(0), std::move(status), done);
  return run;
}

}  // namespace

std::uint16_t resolve_port(const Json& container, const Json* port) {
  if (!port) return 0;
  if (port->is_int64()) return port->get_int64() > 0 && port->get_int64() < 65536 ? static_cast<std::uint16_t>(port->get_int64()) : 0;
  if (!port->is_string()) return 0;
  const std::string name(port->get_string());
  for (const auto& item : array(container, "ports"))
    if (text(item, "name") == name) return static_cast<std::uint16_t>(number(item, "containerPort"));
  return static_cast<std::uint16_t>(std::strtoul(name.c_str(), nullptr, 10));
}

std::unique_ptr<HandlerRun> run_handler(Node& node, const HandlerTarget& target, const Json& handler, std::chrono::milliseconds timeout,
                                        std::function<void(Status)> done) {
  if (const Json* exec = member(handler, "exec")) return begin<ExecRun>(node, done, target, texts(*exec, "command"), timeout);
  if (const Json* get = member(handler, "httpGet")) return begin<HttpRun>(node, done, target, *get, timeout);
  if (const Json* tcp = member(handler, "tcpSocket"))
    return begin<TcpRun>(node, done, text(*tcp, "host", target.pod_ip), resolve_port(*target.container, member(*tcp, "port")), timeout);
  if (const Json* sleep = member(handler, "sleep"))
    return std::make_unique<LaterRun>(node, std::chrono::seconds(number(*sleep, "seconds")), Status(), std::move(done));
  return std::make_unique<LaterRun>(node, std::chrono::milliseconds(0),
                                    make_error(Code::kUnsupported, "the lab's nodes know exec, httpGet, tcpSocket and sleep"),
                                    std::move(done));
}

}  // namespace fairway::runtime
