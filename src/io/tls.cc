#include "io/tls.h"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509v3.h>

#include <vector>

#include "io/openssl_owners.h"

namespace fairway::io {
namespace {

Error tls_error(const std::string& what) { return make_error(Code::kInvalid, what + ": " + take_ssl_errors()); }

BioPtr bio_of(const std::string& text) { return BioPtr(BIO_new_mem_buf(text.data(), static_cast<int>(text.size()))); }

// A key that asks for a passphrase is refused instead of asking on the terminal.
int no_passphrase(char*, int, int, void*) { return -1; }

Result<std::vector<X509Ptr>> parse_certificates(const std::string& pem, const std::string& what) {
  std::vector<X509Ptr> found;
  const BioPtr bio = bio_of(pem);
  while (X509Ptr one{PEM_read_bio_X509(bio.get(), nullptr, no_passphrase, nullptr)}) found.push_back(std::move(one));
  const unsigned long last = ERR_peek_last_error();
  if (found.empty() || ERR_GET_REASON(last) != PEM_R_NO_START_LINE) return tls_error(what);
  ERR_clear_error();
  return found;
}

Status use_certificate(SSL_CTX* context, const std::string& certificate_pem, const std::string& key_pem) {
  FW_ASSIGN(const std::vector<X509Ptr> chain, parse_certificates(certificate_pem, "certificate"));
  if (SSL_CTX_use_certificate(context, chain[0].get()) != 1) return tls_error("certificate");
  for (std::size_t i = 1; i < chain.size(); ++i) {
    if (SSL_CTX_add1_chain_cert(context, chain[i].get()) != 1) return tls_error("certificate chain");
  }
  const BioPtr bio = bio_of(key_pem);
  const KeyPtr key(PEM_read_bio_PrivateKey(bio.get(), nullptr, no_passphrase, nullptr));
  if (!key) return tls_error("private key");
  if (SSL_CTX_use_PrivateKey(context, key.get()) != 1 || SSL_CTX_check_private_key(context) != 1) {
    return tls_error("private key does not match the certificate");
  }
  return {};
}

Status trust(SSL_CTX* context, const std::string& ca_pem, bool announce) {
  FW_ASSIGN(const std::vector<X509Ptr> authorities, parse_certificates(ca_pem, "CA certificate"));
  X509_STORE* store = SSL_CTX_get_cert_store(context);
  for (const X509Ptr& one : authorities) {
    if (X509_STORE_add_cert(store, one.get()) != 1) return tls_error("CA certificate");
    if (announce && SSL_CTX_add_client_CA(context, one.get()) != 1) return tls_error("CA certificate");
  }
  return {};
}

// Clients that offer HTTP/2 as well must be told that this is HTTP/1.1.
int choose_http1(SSL*, const unsigned char** out, unsigned char* out_length, const unsigned char* in, unsigned int in_length, void*) {
  static constexpr unsigned char kHttp1[] = "\x08http/1.1";
  unsigned char* chosen = nullptr;
  if (SSL_select_next_proto(&chosen, out_length, kHttp1, sizeof kHttp1 - 1, in, in_length) != OPENSSL_NPN_NEGOTIATED) {
    return SSL_TLSEXT_ERR_NOACK;
  }
  *out = chosen;
  return SSL_TLSEXT_ERR_OK;
}

Result<SslContext> make_context(const SSL_METHOD* method) {
  SslContext context(SSL_CTX_new(method), SSL_CTX_free);
  if (!context) return tls_error("TLS context");
  SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
  SSL_CTX_set_mode(context.get(), SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER | SSL_MODE_RELEASE_BUFFERS);
  SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION);
  return context;
}

std::vector<std::string> name_entries(X509_NAME* name, int nid) {
  std::vector<std::string> found;
  for (int at = -1; (at = X509_NAME_get_index_by_NID(name, nid, at)) >= 0;) {
    unsigned char* text = nullptr;
    const int length = ASN1_STRING_to_UTF8(&text, X509_NAME_ENTRY_get_data(X509_NAME_get_entry(name, at)));
    if (length < 0) continue;
    found.emplace_back(reinterpret_cast<char*>(text), static_cast<std::size_t>(length));
    OPENSSL_free(text);
  }
  return found;
}

bool is_address(const std::string& host) {
  unsigned char bytes[16];
  return ::inet_pton(AF_INET, host.c_str(), bytes) == 1 || ::inet_pton(AF_INET6, host.c_str(), bytes) == 1;
}

}  // namespace

void SslFree::operator()(SSL* ssl) const { SSL_free(ssl); }

std::string take_ssl_errors() {
  std::string text;
  while (const unsigned long error = ERR_get_error()) {
    char line[256];
    ERR_error_string_n(error, line, sizeof line);
    if (!text.empty()) text += "; ";
    text += line;
  }
  return text.empty() ? "no reason given" : text;
}

Result<SslContext> make_server_context(const ServerTls& tls) {
  FW_ASSIGN(SslContext context, make_context(TLS_server_method()));
  FW_TRY(use_certificate(context.get(), tls.certificate_pem, tls.key_pem));
  static constexpr unsigned char kSessions[] = "fairway";  // needed for resumption where clients show certificates
  SSL_CTX_set_session_id_context(context.get(), kSessions, sizeof kSessions - 1);
  SSL_CTX_set_alpn_select_cb(context.get(), choose_http1, nullptr);
  if (!tls.client_ca_pem.empty()) {
    FW_TRY(trust(context.get(), tls.client_ca_pem, true));
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  }
  return context;
}

Result<SslContext> make_client_context(const ClientTls& tls) {
  FW_ASSIGN(SslContext context, make_context(TLS_client_method()));
  if (!tls.certificate_pem.empty()) FW_TRY(use_certificate(context.get(), tls.certificate_pem, tls.key_pem));
  if (tls.insecure) {
    SSL_CTX_set_verify(context.get(), SSL_VERIFY_NONE, nullptr);
    return context;
  }
  if (tls.ca_pem.empty()) return make_error(Code::kInvalid, "TLS: no CA certificate, and verification is not turned off");
  FW_TRY(trust(context.get(), tls.ca_pem, false));
  SSL_CTX_set_verify(context.get(), SSL_VERIFY_PEER, nullptr);
  return context;
}

SslPtr new_server_ssl(const SslContext& context) {
  SslPtr ssl(SSL_new(context.get()));
  if (ssl) SSL_set_accept_state(ssl.get());
  return ssl;
}

Result<SslPtr> new_client_ssl(const SslContext& context, const ClientTls& tls, const std::string& host) {
  SslPtr ssl(SSL_new(context.get()));
  if (!ssl) return tls_error("TLS session");
  SSL_set_connect_state(ssl.get());
  const std::string& name = tls.server_name.empty() ? host : tls.server_name;
  if (is_address(name)) {
    if (X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl.get()), name.c_str()) != 1) return tls_error("TLS server address " + name);
  } else {
    if (SSL_set_tlsext_host_name(ssl.get(), name.c_str()) != 1) return tls_error("TLS server name " + name);
    if (SSL_set1_host(ssl.get(), name.c_str()) != 1) return tls_error("TLS server name " + name);
  }
  return ssl;
}

Peer peer_of(const SSL* ssl) {
  Peer peer;
  if (SSL_get_verify_result(ssl) != X509_V_OK) return peer;
  X509* certificate = SSL_get0_peer_certificate(ssl);
  if (!certificate) return peer;
  X509_NAME* subject = X509_get_subject_name(certificate);
  std::vector<std::string> names = name_entries(subject, NID_commonName);
  if (!names.empty()) peer.common_name = std::move(names[0]);
  peer.organizations = name_entries(subject, NID_organizationName);
  return peer;
}

}  // namespace fairway::io
