#include "io/pki.h"

#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/x509v3.h>

#include <memory>

#include "io/openssl_owners.h"
#include "io/tls.h"

namespace fairway::io {
namespace {

Error pki_error(const std::string& what) { return make_error(Code::kInvalid, what + ": " + take_ssl_errors()); }

std::string text_of(BIO* bio) {
  char* data = nullptr;
  const long size = BIO_get_mem_data(bio, &data);
  return {data, static_cast<std::size_t>(size)};
}

Result<KeyPair> to_pem(X509* certificate, EVP_PKEY* key) {
  const BioPtr certificate_out(BIO_new(BIO_s_mem())), key_out(BIO_new(BIO_s_mem()));
  if (!certificate_out || !key_out || PEM_write_bio_X509(certificate_out.get(), certificate) != 1 ||
      PEM_write_bio_PrivateKey(key_out.get(), key, nullptr, nullptr, 0, nullptr, nullptr) != 1) {
    return pki_error("write PEM");
  }
  return KeyPair{text_of(certificate_out.get()), text_of(key_out.get())};
}

Status add_name(X509_NAME* name, int nid, const std::string& value) {
  const auto* bytes = reinterpret_cast<const unsigned char*>(value.data());
  if (X509_NAME_add_entry_by_NID(name, nid, MBSTRING_UTF8, bytes, static_cast<int>(value.size()), -1, 0) == 1) return {};
  return pki_error("certificate subject \"" + value + "\"");
}

Status add_extension(X509* certificate, X509* issuer, int nid, const char* value) {
  X509V3_CTX context;
  X509V3_set_ctx(&context, issuer, certificate, nullptr, nullptr, 0);
  const ExtensionPtr extension(X509V3_EXT_conf_nid(nullptr, &context, nid, value));
  if (extension && X509_add_ext(certificate, extension.get(), -1) == 1) return {};
  return pki_error(std::string("certificate extension ") + OBJ_nid2sn(nid));
}

// The names go in as values, never as text of OpenSSL's own little language, where a comma would start a new entry.
Status add_alternative_names(X509* certificate, const CertificateRequest& request) {
  const NamesPtr names(GENERAL_NAMES_new());
  const auto add = [&](int type, ASN1_STRING* value) {
    GENERAL_NAME* name = GENERAL_NAME_new();
    GENERAL_NAME_set0_value(name, type, value);
    sk_GENERAL_NAME_push(names.get(), name);
  };
  for (const std::string& dns : request.dns_names) {
    ASN1_IA5STRING* value = ASN1_IA5STRING_new();
    ASN1_STRING_set(value, dns.data(), static_cast<int>(dns.size()));
    add(GEN_DNS, value);
  }
  for (const std::string& address : request.addresses) {
    ASN1_OCTET_STRING* value = a2i_IPADDRESS(address.c_str());
    if (!value) return make_error(Code::kInvalid, "certificate address \"" + address + "\" is not an IP address");
    add(GEN_IPADD, value);
  }
  if (sk_GENERAL_NAME_num(names.get()) == 0) return {};
  if (X509_add1_ext_i2d(certificate, NID_subject_alt_name, names.get(), 0, 0) == 1) return {};
  return pki_error("certificate alternative names");
}

Status set_basics(X509* certificate, EVP_PKEY* key, std::chrono::hours lifetime) {
  const NumberPtr serial(BN_new());
  // 127 random bits: positive, and never twice.
  if (!serial || BN_rand(serial.get(), 127, BN_RAND_TOP_ANY, BN_RAND_BOTTOM_ANY) != 1 ||
      !BN_to_ASN1_INTEGER(serial.get(), X509_get_serialNumber(certificate))) {
    return pki_error("certificate serial number");
  }
  constexpr long kClockSkewSeconds = 3600;
  const auto seconds = std::chrono::duration_cast<std::chrono::seconds>(lifetime).count();
  if (X509_set_version(certificate, X509_VERSION_3) != 1 || X509_set_pubkey(certificate, key) != 1 ||
      !X509_gmtime_adj(X509_getm_notBefore(certificate), -kClockSkewSeconds) ||
      !X509_gmtime_adj(X509_getm_notAfter(certificate), seconds)) {
    return pki_error("certificate");
  }
  return {};
}

Status set_usage(X509* certificate, X509* issuer, const CertificateRequest& request) {
  FW_TRY(add_extension(certificate, issuer, NID_basic_constraints, "critical,CA:FALSE"));
  FW_TRY(add_extension(certificate, issuer, NID_key_usage, "critical,digitalSignature"));
  std::string usage = request.server ? "serverAuth" : "";
  if (request.client) usage += usage.empty() ? "clientAuth" : ",clientAuth";
  if (!usage.empty()) FW_TRY(add_extension(certificate, issuer, NID_ext_key_usage, usage.c_str()));
  FW_TRY(add_extension(certificate, issuer, NID_subject_key_identifier, "hash"));
  return add_extension(certificate, issuer, NID_authority_key_identifier, "keyid:always");
}

}  // namespace

Result<KeyPair> make_ca(const std::string& common_name, std::chrono::hours lifetime) {
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate) return pki_error("make CA key");
  FW_TRY(set_basics(certificate.get(), key.get(), lifetime));
  FW_TRY(add_name(X509_get_subject_name(certificate.get()), NID_commonName, common_name));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(certificate.get())) != 1) return pki_error("CA issuer");
  FW_TRY(add_extension(certificate.get(), certificate.get(), NID_basic_constraints, "critical,CA:TRUE"));
  FW_TRY(add_extension(certificate.get(), certificate.get(), NID_key_usage, "critical,keyCertSign,cRLSign,digitalSignature"));
  FW_TRY(add_extension(certificate.get(), certificate.get(), NID_subject_key_identifier, "hash"));
  if (X509_sign(certificate.get(), key.get(), EVP_sha256()) == 0) return pki_error("sign CA certificate");
  return to_pem(certificate.get(), key.get());
}

Result<KeyPair> issue_certificate(const KeyPair& ca, const CertificateRequest& request) {
  const BioPtr ca_bio(BIO_new_mem_buf(ca.certificate_pem.data(), static_cast<int>(ca.certificate_pem.size())));
  const BioPtr key_bio(BIO_new_mem_buf(ca.key_pem.data(), static_cast<int>(ca.key_pem.size())));
  const X509Ptr issuer(PEM_read_bio_X509(ca_bio.get(), nullptr, nullptr, nullptr));
  if (!issuer) return pki_error("CA certificate");
  const KeyPtr issuer_key(PEM_read_bio_PrivateKey(
      key_bio.get(), nullptr, [](char*, int, int, void*) { return -1; }, nullptr));
  if (!issuer_key) return pki_error("CA key");
  const KeyPtr key(EVP_EC_gen("P-256"));
  const X509Ptr certificate(X509_new());
  if (!key || !certificate) return pki_error("make key");
  FW_TRY(set_basics(certificate.get(), key.get(), request.lifetime));
  X509_NAME* subject = X509_get_subject_name(certificate.get());
  for (const std::string& organization : request.organizations) FW_TRY(add_name(subject, NID_organizationName, organization));
  FW_TRY(add_name(subject, NID_commonName, request.common_name));
  if (X509_set_issuer_name(certificate.get(), X509_get_subject_name(issuer.get())) != 1) return pki_error("certificate issuer");
  FW_TRY(set_usage(certificate.get(), issuer.get(), request));
  FW_TRY(add_alternative_names(certificate.get(), request));
  if (X509_sign(certificate.get(), issuer_key.get(), EVP_sha256()) == 0) return pki_error("sign certificate");
  return to_pem(certificate.get(), key.get());
}

Result<std::string> random_token(std::size_t bytes) {
  std::string raw(bytes, '\0');
  if (RAND_priv_bytes(reinterpret_cast<unsigned char*>(raw.data()), static_cast<int>(bytes)) != 1) return pki_error("random token");
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes);
  for (const unsigned char byte : raw) {
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace fairway::io
