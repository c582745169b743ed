#include "io/pki.h"

#include <gtest/gtest.h>

#include <set>

#include "io/io_test_support.h"
#include "sys/file.h"
#include "sys/process.h"

namespace fairway::io {
namespace {

TEST(Pki, CertificatesAsOpenSslSeesThem) {
  test::TempDir dir;
  const auto ca = make_ca("fairway lab");
  ASSERT_TRUE(ca.ok()) << ca.error().message;
  const auto own = issue_certificate(*ca, {.common_name = "kube-apiserver",
                                           .organizations = {"a", "b,c=d"},
                                           .dns_names = {"kubernetes", "x,IP:1.2.3.4"},
                                           .addresses = {"10.96.0.1", "fd00::1"},
                                           .server = true,
                                           .client = true});
  ASSERT_TRUE(own.ok()) << own.error().message;
  ASSERT_TRUE(sys::write_file_atomic(dir / "ca.crt", ca->certificate_pem).ok());
  ASSERT_TRUE(sys::write_file_atomic(dir / "own.crt", own->certificate_pem).ok());
  const auto verified = sys::run_ok(
      {"openssl", "verify", "-x509_strict", "-CAfile", dir / "ca.crt", "-purpose", "sslserver", "-verify_ip", "fd00::1", dir / "own.crt"});
  EXPECT_TRUE(verified.ok()) << verified.error().message;
  const auto shown = sys::run_ok({"openssl", "x509", "-in", dir / "own.crt", "-noout", "-text"});
  ASSERT_TRUE(shown.ok());
  for (const char* expected : {"CN = kube-apiserver", "O = a, O = \"b,c=d\"", "DNS:kubernetes", "IP Address:10.96.0.1",
                               "TLS Web Server Authentication", "TLS Web Client Authentication", "CA:FALSE", "prime256v1"}) {
    EXPECT_NE(shown->find(expected), std::string::npos) << expected << "\n" << *shown;
  }
  // A comma in a name does not begin another one.
  EXPECT_FALSE(sys::run_ok({"openssl", "verify", "-CAfile", dir / "ca.crt", "-verify_ip", "1.2.3.4", dir / "own.crt"}).ok());
}

TEST(Pki, RefusesWhatItCannotIssue) {
  const auto ca = make_ca("ca");
  EXPECT_EQ(issue_certificate(*ca, {.common_name = "x", .addresses = {"not-an-address"}}).error().code, Code::kInvalid);
  EXPECT_EQ(issue_certificate({"garbage", "garbage"}, {.common_name = "x"}).error().code, Code::kInvalid);
  EXPECT_FALSE(issue_certificate(*ca, {.common_name = std::string(100, 'x')}).ok());  // X.520: 64 characters
}

TEST(Pki, TokensAreRandom) {
  std::set<std::string> seen;
  for (int i = 0; i < 100; ++i) {
    const auto token = random_token();
    ASSERT_TRUE(token.ok());
    EXPECT_EQ(token->size(), 64u);
    seen.insert(*token);
  }
  EXPECT_EQ(seen.size(), 100u);
}

}  // namespace
}  // namespace fairway::io
