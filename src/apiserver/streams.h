// exec, attach, logs and port-forward: between kubectl (WebSocket v4/v5.channel.k8s.io, SPDY/3.1 in a WebSocket or raw)
// and the node runtime's stream socket (docs/architecture.md). Wire facts: RFC 6455, SPDY draft 3.1, KEP-4006.
//
// The API server routes `…/pods/NAME/{exec,attach,log,portforward}` here once it has authenticated the user, found the
// pod and its node, and chosen the container. Everything else of the request (command, stdin, tty, follow, tailLines ...)
// is read from its query here. Each call owns its request until the stream's end; nothing is returned, and every
// failure is answered with a Status. A stream lives until one of its ends closes it. Loop thread only.
#pragma once

#include <memory>
#include <string>

#include "io/http_server.h"
#include "io/loop.h"

namespace fairway::apiserver {

struct StreamTarget {
  std::string ns;
  std::string pod;
  std::string container;    // chosen by the caller: never empty, but for portforward
  std::string socket_path;  // the node runtime's stream socket
};

// GET or POST: WebSocket v5/v4.channel.k8s.io, or Upgrade: SPDY/3.1 with X-Stream-Protocol-Version v4.channel.k8s.io,
// to which kubectl falls back after any error (and so gets the same Status again).
void serve_exec(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target);
void serve_attach(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target);
// GET: text/plain, chunked.
void serve_log(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target);
// GET with subprotocol SPDY/3.1+portforward.k8s.io, or POST with Upgrade: SPDY/3.1.
void serve_portforward(io::Loop& loop, io::ServerRequest request, std::unique_ptr<io::Responder> responder, StreamTarget target);

}  // namespace fairway::apiserver
