#include "runtime/stream_server.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>

#include "io/http_server.h"
#include "runtime/container.h"
#include "runtime/frame_stream.h"
#include "runtime/oci_spec.h"
#include "runtime/pod.h"
#include "runtime/process.h"
#include "runtime/stream_sessions.h"
#include "sys/log.h"

namespace fairway::runtime {

constexpr std::size_t kMaxHead = 256 << 10;  // commands may be long
constexpr std::size_t kMaxConnections = 512;

// A connection whose first line has not come in full.
struct StreamServer::Head {
  sys::Fd fd;
  std::string line;
  io::Loop::Watch watch;
  io::Loop::Timer timer;
};

StreamServer::StreamServer(Node& node, FindPod find_pod) : node_(node), find_pod_(std::move(find_pod)) {}
StreamServer::~StreamServer() { *alive_ = false; }

Status StreamServer::start(const std::string& path) {
  FW_ASSIGN(listener_, io::listen_unix(path, 0600));
  accept_watch_ = node_.loop.watch(listener_.get(), io::Loop::Ready::kRead, [this] { accept(); });
  return {};
}

void StreamServer::accept() {
  sys::Fd fd(::accept4(listener_.get(), nullptr, nullptr, SOCK_CLOEXEC));
  if (!fd || heads_.size() + sessions_.size() >= kMaxConnections) return;
  const unsigned id = next_id_++;
  auto head = std::make_unique<Head>();
  Head* h = head.get();
  h->fd = std::move(fd);
  h->watch = node_.loop.watch(h->fd.get(), io::Loop::Ready::kRead, [this, h] { head_readable(*h); });
  h->timer = node_.loop.after(std::chrono::seconds(10), [this, id] { heads_.erase(id); });
  heads_[id] = std::move(head);
}

static void write_line(int fd, const Json& line) {
  const std::string text_line = boost::json::serialize(line) + "\n";
  (void)!::send(fd, text_line.data(), text_line.size(), MSG_NOSIGNAL);
}

// Not a byte after the line is taken: what follows belongs to whoever serves the connection.
void StreamServer::head_readable(Head& head) {
  char chunk[16384];
  ssize_t n = ::recv(head.fd.get(), chunk, sizeof chunk, MSG_PEEK | MSG_DONTWAIT);
  if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
  const char* newline = n > 0 ? std::find(chunk, chunk + n, '\n') : chunk;
  const bool complete = n > 0 && newline != chunk + n;
  if (n > 0) {
    n = ::recv(head.fd.get(), chunk, static_cast<std::size_t>(complete ? newline - chunk + 1 : n), MSG_DONTWAIT);
    head.line.append(chunk, n > 0 ? static_cast<std::size_t>(n) : 0);
  }
  if (n > 0 && !complete && head.line.size() < kMaxHead) return;
  sys::Fd fd = std::move(head.fd);
  boost::system::error_code ec;
  const Json request = boost::json::parse(head.line, ec);
  for (auto it = heads_.begin(); it != heads_.end(); ++it) {
    if (it->second.get() != &head) continue;
    node_.loop.post([old = std::shared_ptr<Head>(std::move(it->second))] {});  // we run inside its watch
    heads_.erase(it);
    break;
  }
  if (!complete) return;
  if (ec || !request.is_object())
    return write_line(
        fd.get(), JsonObject{{"ok", false}, {"code", 400}, {"reason", "BadRequest"}, {"message", "the request line is no JSON object"}});
  dispatch(std::move(fd), request);
}

void StreamServer::dispatch(sys::Fd client, const Json& request) {
  if (auto refusal = serve(client, request))
    write_line(client.get(),
               JsonObject{{"ok", false}, {"code", refusal->code}, {"reason", refusal->reason}, {"message", refusal->message}});
}

std::optional<StreamServer::Refusal> StreamServer::serve(sys::Fd& client, const Json& request) {
  const std::string ns = text(request, "namespace"), name = text(request, "pod"), op = text(request, "op");
  Pod* pod = find_pod_(ns, name);
  if (!pod) return Refusal{404, "NotFound", "pods \"" + name.substr(0, 253) + "\" not found"};
  if (op == "exec") return exec(client, *pod, request);
  if (op == "attach") return attach(client, *pod, request);
  if (op == "logs") return logs(client, *pod, request);
  if (op == "portforward") return port_forward(client, *pod, request);
  return Refusal{400, "BadRequest", "unknown op \"" + op.substr(0, 64) + "\""};
}

namespace {

// The named container, or the first.
Container* chosen(Pod& pod, const Json& request) {
  const std::string name = text(request, "container");
  if (!name.empty()) return pod.find_container(name);
  return pod.containers().empty() ? nullptr : pod.containers().front().get();
}

}  // namespace

std::optional<StreamServer::Refusal> StreamServer::exec(sys::Fd& client, Pod& pod, const Json& request) {
  Container* container = chosen(pod, request);
  if (!container) return Refusal{400, "BadRequest", "container " + text(request, "container") + " is not valid for pod " + pod.name()};
  if (container->state() != Container::State::kRunning)
    return Refusal{500, "InternalError", "unable to upgrade connection: container not found (\"" + container->name() + "\")"};
  const auto command = texts(request, "command");
  if (command.empty()) return Refusal{400, "BadRequest", "you must specify at least one command for the container"};
  const bool tty = flag(request, "tty");
  auto config = parse_json_file(container->attempt()->dir + "/config.json");
  if (!config.ok()) return Refusal{500, "InternalError", config.error().message};
  const std::string id = random_hex(16), file = container->attempt()->dir + "/exec-" + id + ".json";
  if (Status status = write_json_file(file, exec_process(*config, command, tty)); !status.ok())
    return Refusal{500, "InternalError", status.error().message};
  // clang-format off
  std::vector<std::string> argv{
      node_.config.shim, "exec", "--runc", node_.config.runc, "--root", node_.runc_root(),
      "--id", container->attempt()->id, "--process", file, "--socket", node_.shim_socket(id)};
  // clang-format on
  if (tty) argv.push_back("--tty");
  if (flag(request, "stdin")) argv.push_back("--stdin");
  write_line(client.get(), JsonObject{{"ok", true}});
  auto shim = start_detached(argv, client.get(), STDERR_FILENO);
  if (!shim.ok()) {
    log::error("runtime", "{}", shim.error().message);
    ::unlink(file.c_str());
    return std::nullopt;
  }
  // It lives without us; it is a child all the same and wants to be collected.
  const unsigned session = next_id_++;
  sessions_[session] = std::make_unique<ShimWait>(node_.loop, std::move(shim->pidfd), ender(session));
  return std::nullopt;
}

std::optional<StreamServer::Refusal> StreamServer::attach(sys::Fd& client, Pod& pod, const Json& request) {
  Container* container = chosen(pod, request);
  if (!container) return Refusal{400, "BadRequest", "container " + text(request, "container") + " is not valid for pod " + pod.name()};
  if (container->state() != Container::State::kRunning)
    return Refusal{500, "InternalError",
                   "unable to upgrade connection: container " + container->name() + " not found in pod " + pod.name() + "_" + pod.ns()};
  write_line(client.get(), JsonObject{{"ok", true}});
  if (Status status = container->attach(client.get()); !status.ok()) {
    FrameStream(node_.loop, std::move(client))
        .send(FrameStream::kStatus, boost::json::serialize(JsonObject{{"metadata", JsonObject{}},
                                                                      {"status", "Failure"},
                                                                      {"message", status.error().message},
                                                                      {"reason", "InternalError"},
                                                                      {"code", 500}}));
  }
  return std::nullopt;
}

std::optional<StreamServer::Refusal> StreamServer::logs(sys::Fd& client, Pod& pod, const Json& request) {
  Container* container = chosen(pod, request);
  if (!container) return Refusal{400, "BadRequest", "container " + text(request, "container") + " is not valid for pod " + pod.name()};
  const bool previous = flag(request, "previous");
  std::string path = previous ? container->previous_log() : container->attempt() ? container->attempt()->dir + "/log" : "";
  if (path.empty() && previous)
    return Refusal{400, "BadRequest",
                   "previous terminated container \"" + container->name() + "\" in pod \"" + pod.name() + "\" not found"};
  if (path.empty() || ::access(path.c_str(), R_OK) != 0) {
    const Json status = container->status();
    const std::string reason = text(status, "state.waiting.reason", "ContainerCreating"), message = text(status, "state.waiting.message");
    const bool image = reason.starts_with("ErrImage") || reason == "ImagePullBackOff" || reason == "InvalidImageName";
    return Refusal{400, "BadRequest",
                   "container \"" + container->name() + "\" in pod \"" + pod.name() +
                       "\" is waiting to start: " + (image ? "trying and failing to pull image" : reason)};
  }
  LogOptions options{.tail_lines = number(request, "tailLines", -1),
                     .since_ns = 0,
                     .limit_bytes = number(request, "limitBytes", -1),
                     .timestamps = flag(request, "timestamps")};
  if (const auto since = number(request, "sinceSeconds"); since > 0) options.since_ns = now_unix_ns() - since * 1'000'000'000;
  if (const std::string since = text(request, "sinceTime"); !since.empty()) options.since_ns = parse_rfc3339(since);
  auto reader = LogReader::open(path, options);
  if (!reader.ok()) return Refusal{500, "InternalError", reader.error().message};
  write_line(client.get(), JsonObject{{"ok", true}});
  const unsigned id = next_id_++;
  const std::string dir = path.substr(0, path.rfind('/'));
  auto session =
      std::make_unique<LogSession>(node_.loop, std::move(client), std::move(*reader), dir, flag(request, "follow") && !previous, ender(id));
  LogSession* s = session.get();
  sessions_[id] = std::move(session);
  s->start();
  return std::nullopt;
}

std::optional<StreamServer::Refusal> StreamServer::port_forward(sys::Fd& client, Pod& pod, const Json& request) {
  const auto port = number(request, "port");
  if (port < 1 || port > 65535) return Refusal{400, "BadRequest", "port must be between 1 and 65535, inclusive"};
  if (!pod.sandbox().ready)
    return Refusal{400, "BadRequest", "unable to forward port because pod is not running. Current status=" + pod.phase()};
  auto server = dial_in_netns(pod.netns(), static_cast<std::uint16_t>(port));
  if (!server.ok())
    return Refusal{500, "InternalError",
                   "error forwarding port " + std::to_string(port) + " to pod " + pod.name() + ": " + server.error().message};
  write_line(client.get(), JsonObject{{"ok", true}});
  const unsigned id = next_id_++;
  auto session = std::make_unique<ForwardSession>(node_.loop, std::move(client), std::move(*server), ender(id));
  ForwardSession* s = session.get();
  sessions_[id] = std::move(session);
  s->start();
  return std::nullopt;
}

// A session ends by being posted away: it calls this from within itself.
std::function<void()> StreamServer::ender(unsigned id) {
  return [this, id, alive = std::weak_ptr<bool>(alive_)] {
    if (alive.expired()) return;
    node_.loop.post([this, id, alive] {
      if (!alive.expired()) sessions_.erase(id);
    });
  };
}

}  // namespace fairway::runtime
