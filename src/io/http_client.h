// HttpClient: one origin (https://host:port, http://host:port, or a unix socket), keep-alive pool, streaming answers.
// All on the loop; callbacks never run inside the call that made them.
#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "base/result.h"
#include "io/http.h"
#include "io/loop.h"

namespace fairway::io {

struct ClientTls {
  std::string ca_pem;           // empty with insecure = true only
  std::string certificate_pem;  // client certificate, or empty
  std::string key_pem;
  std::string server_name;  // SNI and the name verified; empty: the host
  bool insecure = false;
};

struct Origin {
  std::string host;  // an address or name; ignored with unix_path
  std::uint16_t port = 0;
  std::string unix_path;
  std::optional<ClientTls> tls;
  std::string bearer_token;  // or empty
};

// Destroying it cancels: no callback afterwards.
class Pending {
 public:
  virtual ~Pending() = default;
};

struct StreamCallbacks {
  std::function<void(int status, const Headers&)> on_head;
  std::function<void(std::string_view)> on_data;  // any cut
  std::function<void(Status)> on_end;             // exactly once; ok = the body's regular end
};

class HttpClient {
 public:
  static Result<std::unique_ptr<HttpClient>> create(Loop& loop, Origin origin);
  virtual ~HttpClient() = default;
  [[nodiscard]] virtual std::unique_ptr<Pending> request(HttpRequest request, std::function<void(Result<HttpResponse>)> done,
                                                         std::chrono::milliseconds timeout = std::chrono::seconds(30)) = 0;
  // No timeout after the head has come: the caller watches over silence.
  [[nodiscard]] virtual std::unique_ptr<Pending> stream(HttpRequest request, StreamCallbacks callbacks) = 0;
  // Sends an Upgrade request (headers set by the caller); after 101, a raw duplex stream.
  [[nodiscard]] virtual std::unique_ptr<Pending> upgrade(HttpRequest request,
                                                         std::function<void(Result<std::unique_ptr<Duplex>>)> done) = 0;
};

// Dials a stream socket (unix path) without HTTP, for the node runtime's stream socket.
[[nodiscard]] std::unique_ptr<Pending> connect_unix(Loop& loop, const std::string& path,
                                                    std::function<void(Result<std::unique_ptr<Duplex>>)> done);

}  // namespace fairway::io
