// Owners of OpenSSL's objects: each is freed as its own kind asks.
#pragma once

#include <openssl/evp.h>
#include <openssl/x509v3.h>

#include <memory>

namespace fairway::io {

template <auto FreeFunction>
struct OpenSslFree {
  template <typename T>
  void operator()(T* p) const {
    FreeFunction(p);
  }
};
using BioPtr = std::unique_ptr<BIO, OpenSslFree<BIO_free>>;
using KeyPtr = std::unique_ptr<EVP_PKEY, OpenSslFree<EVP_PKEY_free>>;
using X509Ptr = std::unique_ptr<X509, OpenSslFree<X509_free>>;
using NumberPtr = std::unique_ptr<BIGNUM, OpenSslFree<BN_free>>;
using ExtensionPtr = std::unique_ptr<X509_EXTENSION, OpenSslFree<X509_EXTENSION_free>>;
using NamesPtr = std::unique_ptr<GENERAL_NAMES, OpenSslFree<GENERAL_NAMES_free>>;

}  // namespace fairway::io
