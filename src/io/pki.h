// A small certificate authority (ECDSA P-256, OpenSSL 3) and random tokens, for the lab's API server and kubeconfig.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace fairway::io {

struct KeyPair {
  std::string certificate_pem;
  std::string key_pem;
};

Result<KeyPair> make_ca(const std::string& common_name, std::chrono::hours lifetime = std::chrono::hours(24 * 3650));

struct CertificateRequest {
  std::string common_name;                 // a client's user name
  std::vector<std::string> organizations;  // a client's groups
  std::vector<std::string> dns_names;      // a server's names ...
  std::vector<std::string> addresses;      // ... and addresses, as text
  bool server = false;
  bool client = false;
  std::chrono::hours lifetime{24 * 365};
};
Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request);

// Random bytes from the kernel as lower-case hex: 2 * bytes characters.
Result<std::string> random_token(std::size_t bytes = 32);

}  // namespace fairway::io
