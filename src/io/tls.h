// TLS contexts and the errors of OpenSSL. Private to src/io.
#pragma once

#include <memory>
#include <string>

#include "base/result.h"
#include "io/http_client.h"
#include "io/http_server.h"

typedef struct ssl_ctx_st SSL_CTX;  // NOLINT: OpenSSL's own names
typedef struct ssl_st SSL;          // NOLINT

namespace fairway::io {

struct SslFree {
  void operator()(SSL* ssl) const;
};
using SslPtr = std::unique_ptr<SSL, SslFree>;
using SslContext = std::shared_ptr<SSL_CTX>;

Result<SslContext> make_server_context(const ServerTls& tls);
Result<SslContext> make_client_context(const ClientTls& tls);

SslPtr new_server_ssl(const SslContext& context);
Result<SslPtr> new_client_ssl(const SslContext& context, const ClientTls& tls, const std::string& host);

Peer peer_of(const SSL* ssl);   // empty without a verified certificate
std::string take_ssl_errors();  // the queue of this thread, joined, then empty

}  // namespace fairway::io
