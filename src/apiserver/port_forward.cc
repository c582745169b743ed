// Port-forward: SPDY/3.1 streams, in a WebSocket or raw, each pair (data, error) a connection into the pod.
#include <algorithm>
#include <boost/json/object.hpp>
#include <charconv>
#include <map>
#include <utility>

#include "apiserver/runtime_stream.h"
#include "apiserver/spdy.h"
#include "apiserver/stream_query.h"
#include "apiserver/streams.h"
#include "sys/log.h"

namespace fairway::apiserver {
namespace {

constexpr std::size_t kMaxPendingBytes = 1 << 20;
constexpr std::size_t kMaxConnections = 512;
constexpr std::size_t kMaxEarlyBytes = 4 << 20;  // from the client, before the pod's side stands
constexpr char kPortForward[] = "portforward.k8s.io";
constexpr char kTunnel[] = "SPDY/3.1+portforward.k8s.io";

std::string header_of(const SpdyHeaders& headers, std::string_view name) {
  for (const auto& [own, value] : headers) {
    if (own == name) return value;
  }
  return {};
}

// One TCP connection into the pod: the client's data stream, and its error stream.
struct Connection {
  std::uint32_t data_stream = 0, error_stream = 0;  // 0: not there yet
  std::uint16_t port = 0;
  std::shared_ptr<RuntimeStream> runtime;
  std::string early;  // client's bytes before the runtime has answered
  bool open = false, client_fin = false, pod_fin = false;
};

class PortForwardSession : public std::enable_shared_from_this<PortForwardSession> {
 public:
  PortForwardSession(io::Loop& loop, StreamTarget target) : loop_(loop), target_(std::move(target)) {}

  void start(std::unique_ptr<io::Duplex> client);

 private:
  using Id = std::uint32_t;  // of a connection, given here
  void on_stream(std::uint32_t stream, const SpdyHeaders& headers, bool fin);
  void on_data(std::uint32_t stream, std::string_view data, bool fin);
  void on_reset(std::uint32_t stream);
  void dial(Id id, Connection& connection);
  void on_open(Id id);
  void on_refused(Id id, const ApiError& error);
  void on_frame(Id id, std::uint8_t channel, std::string_view payload);
  void on_pod_end(Id id);
  void finish_pod_side(Connection& connection);
  void drop(Id id);
  void update_reading();
  void pause_pods(bool paused);
  Connection* find(Id id) {
    const auto found = connections_.find(id);
    return found == connections_.end() ? nullptr : &found->second;
  }
  void finish();

  io::Loop& loop_;
  StreamTarget target_;
  std::unique_ptr<io::Duplex> client_;
  std::unique_ptr<SpdyServer> spdy_;
  std::map<Id, Connection> connections_;
  std::map<std::string, Id> by_request_;   // requestid, until both streams are there
  std::map<std::uint32_t, Id> by_stream_;  // data streams
  Id next_id_ = 1;
  bool pods_paused_ = false, client_paused_ = false;
};

void PortForwardSession::start(std::unique_ptr<io::Duplex> client) {
  const auto self = shared_from_this();
  client_ = std::move(client);
  spdy_ = std::make_unique<SpdyServer>(SpdyServer::Events{
      .on_stream = [this](std::uint32_t stream, const SpdyHeaders& headers, bool fin) { on_stream(stream, headers, fin); },
      .on_data = [this](std::uint32_t stream, std::string_view data, bool fin) { on_data(stream, data, fin); },
      .on_reset = [this](std::uint32_t stream) { on_reset(stream); },
      .send =
          [this](std::string bytes) {
            if (client_) client_->write(std::move(bytes));
          }});
  client_->on_drained([weak = weak_from_this()] {
    if (const auto locked = weak.lock()) locked->pause_pods(false);
  });
  client_->start(
      [self](std::string_view bytes) {
        if (const Status fed = self->spdy_->feed(bytes); !fed.ok()) {
          log::warn("portforward", "{}/{}: {}", self->target_.ns, self->target_.pod, fed.error().message);
          self->finish();
        }
      },
      [self](Status) { self->finish(); });
}

void PortForwardSession::finish() {
  for (auto& [id, connection] : connections_) {
    if (connection.runtime) connection.runtime->close();
  }
  connections_.clear();
  by_request_.clear();
  by_stream_.clear();
  if (client_) loop_.post([client = std::shared_ptr<io::Duplex>(std::move(client_))] {});  // one of its callbacks may be running
}

void PortForwardSession::on_stream(std::uint32_t stream, const SpdyHeaders& headers, bool fin) {
  const std::string type = header_of(headers, "streamtype"), port_text = header_of(headers, "port"),
                    request = header_of(headers, "requestid");
  std::uint16_t port = 0;
  const auto [end, ec] = std::from_chars(port_text.data(), port_text.data() + port_text.size(), port);
  const bool known = by_request_.contains(request);
  if ((type != "data" && type != "error") || ec != std::errc() || end != port_text.data() + port_text.size() || port == 0 ||
      (!known && connections_.size() >= kMaxConnections) || by_stream_.contains(stream)) {
    return spdy_->reset(stream);
  }
  const Id id = known ? by_request_[request] : next_id_++;
  if (!known) by_request_[request] = id;
  Connection& connection = connections_[id];
  std::uint32_t& slot = type == "data" ? connection.data_stream : connection.error_stream;
  if (slot != 0) return spdy_->reset(stream);
  slot = stream;
  spdy_->reply(stream);
  if (type == "data") {
    connection.port = port;
    connection.client_fin = fin;
    by_stream_[stream] = id;
  }
  if (connection.data_stream == 0 || connection.error_stream == 0) return;
  by_request_.erase(request);
  dial(id, connection);
}

void PortForwardSession::dial(Id id, Connection& connection) {
  // The runtime's callbacks keep the session alive only as long as the client is there.
  const std::weak_ptr<PortForwardSession> weak = weak_from_this();
  const auto with = [weak](auto then) {
    return [weak, then](auto&&... args) {
      const auto self = weak.lock();
      if (self && self->client_) then(*self, std::forward<decltype(args)>(args)...);
    };
  };
  connection.runtime = RuntimeStream::open(
      loop_, target_.socket_path, make_portforward_request(target_, connection.port),
      {.on_open = with([id](auto& self) { self.on_open(id); }),
       .on_refused = with([id](auto& self, const ApiError& error) { self.on_refused(id, error); }),
       .on_frame = with([id](auto& self, std::uint8_t channel, std::string_view payload) { self.on_frame(id, channel, payload); }),
       .on_end = with([id](auto& self) { self.on_pod_end(id); }),
       .on_drained = with([](auto& self) { self.update_reading(); })});
}

void PortForwardSession::on_open(Id id) {
  Connection* connection = find(id);
  if (!connection) return;
  connection->open = true;
  if (!connection->early.empty()) connection->runtime->send(kStdin, std::exchange(connection->early, {}));
  if (connection->client_fin) connection->runtime->send(kEndOf, std::string(1, static_cast<char>(kStdin)));
  connection->runtime->pause(pods_paused_);
}

void PortForwardSession::on_refused(Id id, const ApiError& error) {
  Connection* connection = find(id);
  if (!connection) return;
  log::info("portforward", "{}/{} port {}: {}", target_.ns, target_.pod, connection->port, error.message);
  // Any text on the error stream makes kubectl give up all connections: right where the pod has gone, wrong
  // where nobody listens on this one port at the moment.
  if (error.code == 404 || error.code == 400) {
    spdy_->data(connection->error_stream,
                "error forwarding port " + std::to_string(connection->port) + " to pod " + target_.pod + ": " + error.message, true);
  } else {
    spdy_->data(connection->error_stream, {}, true);
  }
  spdy_->reset(connection->data_stream);
  drop(id);
}

void PortForwardSession::on_frame(Id id, std::uint8_t channel, std::string_view payload) {
  Connection* connection = find(id);
  if (!connection || connection->pod_fin) return;
  if (channel == kStdout) {
    spdy_->data(connection->data_stream, payload, false);
    if (client_->pending_bytes() > kMaxPendingBytes) pause_pods(true);
  } else if (channel == kEndOf && payload.size() == 1 && payload[0] == static_cast<char>(kStdout)) {
    finish_pod_side(*connection);
  }
}

void PortForwardSession::finish_pod_side(Connection& connection) {
  if (std::exchange(connection.pod_fin, true)) return;
  spdy_->data(connection.data_stream, {}, true);
  spdy_->data(connection.error_stream, {}, true);
}

void PortForwardSession::on_pod_end(Id id) {
  Connection* connection = find(id);
  if (!connection) return;
  finish_pod_side(*connection);
  drop(id);
}

void PortForwardSession::on_data(std::uint32_t stream, std::string_view data, bool fin) {
  const auto found = by_stream_.find(stream);
  if (found == by_stream_.end()) return;  // an error stream, or one that has ended
  const Id id = found->second;
  Connection& connection = connections_[id];
  if (connection.client_fin) return;
  if (connection.open) {
    if (!data.empty()) connection.runtime->send(kStdin, data);
    if (fin) connection.runtime->send(kEndOf, std::string(1, static_cast<char>(kStdin)));
  } else {
    if (connection.early.size() + data.size() > kMaxEarlyBytes) {
      spdy_->reset(stream);
      return drop(id);
    }
    connection.early.append(data);
  }
  connection.client_fin = fin;
  update_reading();
}

void PortForwardSession::on_reset(std::uint32_t stream) {
  const auto found = by_stream_.find(stream);
  if (found != by_stream_.end()) drop(found->second);
}

void PortForwardSession::drop(Id id) {
  const auto found = connections_.find(id);
  if (found == connections_.end()) return;
  if (found->second.runtime) found->second.runtime->close();
  by_stream_.erase(found->second.data_stream);
  std::erase_if(by_request_, [id](const auto& one) { return one.second == id; });
  connections_.erase(found);
  update_reading();
}

// SPDY has no flow control here, so one slow pod holds up the whole session, as it does upstream.
void PortForwardSession::update_reading() {
  if (!client_) return;
  const bool full = std::any_of(connections_.begin(), connections_.end(), [](const auto& one) {
    const Connection& connection = one.second;
    return connection.early.size() > kMaxPendingBytes || (connection.runtime && connection.runtime->pending_bytes() > kMaxPendingBytes);
  });
  if (full == client_paused_) return;
  client_paused_ = full;
  client_->pause_reading(full);
}

void PortForwardSession::pause_pods(bool paused) {
  if (paused == pods_paused_) return;
  pods_paused_ = paused;
  for (auto& [id, connection] : connections_) {
    if (connection.open) connection.runtime->pause(paused);
  }
}

}  // namespace

void serve_portforward(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target) {
  auto session = std::make_shared<PortForwardSession>(loop, target);
  auto ready = [session](Result<std::unique_ptr<io::Duplex>> made) {
    if (made.ok()) session->start(std::move(*made));
  };
  if (wants_websocket(request)) {
    if (choose_subprotocol(request.headers, "Sec-WebSocket-Protocol", {kTunnel}).empty()) {
      return respond_error(*responder, bad_request(std::string("portforward: the subprotocol has to be ") + kTunnel));
    }
    return responder->accept_websocket(kTunnel, std::move(ready));
  }
  if (choose_subprotocol(request.headers, "Upgrade", {"SPDY/3.1"}).empty()) {
    return respond_error(*responder, bad_request("portforward: an upgrade to WebSocket or SPDY/3.1 is needed"));
  }
  if (choose_subprotocol(request.headers, "X-Stream-Protocol-Version", {kPortForward}).empty()) {
    return respond_error(*responder,
                         generic(403, "Forbidden", std::string("portforward: X-Stream-Protocol-Version has to be ") + kPortForward));
  }
  io::Headers headers;
  headers.set("Upgrade", "SPDY/3.1");
  headers.set("X-Stream-Protocol-Version", kPortForward);
  responder->upgrade(std::move(headers), std::move(ready));
}

}  // namespace fairway::apiserver
