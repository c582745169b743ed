#include "k8s/kubeconfig.h"

#include <gtest/gtest.h>

#include "io/io_test_support.h"
#include "sys/file.h"

namespace fairway::k8s {
namespace {

TEST(KubeConfig, RoundTrips) {
  KubeConfig config;
  config.cluster_name = "lab";
  config.user_name = "admin";
  config.ns = "team-a";
  config.origin.host = "fd00::1";
  config.origin.port = 6443;
  config.origin.tls = io::ClientTls{.ca_pem = "CA", .certificate_pem = "CERT\n", .key_pem = "KEY", .server_name = "", .insecure = false};
  const auto read = parse_kubeconfig(render_kubeconfig(config), "/");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->origin.host, "fd00::1");
  EXPECT_EQ(read->origin.port, 6443);
  EXPECT_EQ(read->ns, "team-a");
  EXPECT_EQ(read->origin.tls->ca_pem, "CA");
  EXPECT_EQ(read->origin.tls->certificate_pem, "CERT\n");
  EXPECT_EQ(read->origin.tls->key_pem, "KEY");
}

TEST(KubeConfig, ReadsWhatKubectlWrites) {
  const auto read = parse_kubeconfig(
      "apiVersion: v1\nkind: Config\ncurrent-context: c\nclusters:\n- name: k\n  cluster: {server: 'https://10.0.0.1'}\n"
      "users:\n- name: u\n  user: {token: abc}\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\n",
      "/");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->origin.host, "10.0.0.1");
  EXPECT_EQ(read->origin.port, 443);
  EXPECT_EQ(read->origin.bearer_token, "abc");
}

std::string with(const std::string& cluster, const std::string& user) {
  return "current-context: c\nclusters: [{name: k, cluster: {" + cluster + "}}]\nusers: [{name: u, user: {" + user +
         "}}]\n"
         "contexts: [{name: c, context: {cluster: k, user: u}}, {name: d, context: {cluster: gone, user: u}}]\n";
}

TEST(KubeConfig, PathsContextsAndTokenFiles) {
  const auto read =
      parse_kubeconfig(with("server: 'https://host:8443/k8s/clusters/x/', insecure-skip-tls-verify: true", "tokenFile: t"), "/etc/fw");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->path_prefix, "/k8s/clusters/x");
  EXPECT_EQ(read->token_file, "/etc/fw/t");
  EXPECT_FALSE(parse_kubeconfig(with("server: 'http://h'", ""), "/", "d").ok());
  EXPECT_TRUE(parse_kubeconfig(with("server: 'http://h'", ""), "/", "c").ok());
}

TEST(KubeConfig, RefusesByNameWhatItDoesNotSupport) {
  const std::vector<std::pair<std::string, std::string>> cases = {
      {with("server: 'https://h'", "exec: {command: aws}"), "user.exec"},
      {with("server: 'https://h'", "auth-provider: {name: x}"), "auth-provider"},
      {with("server: 'https://h'", "username: a, password: b"), "user.username"},
      {with("server: 'https://h', proxy-url: 'http://p'", ""), "proxy-url"},
      {with("server: 'https://h', certificate-authority-data: '***'", ""), "certificate-authority-data"},
      {with("server: 'https://h'", "client-certificate-data: aGk="), "client-key"}};
  for (const auto& [text, word] : cases) {
    const auto read = parse_kubeconfig(text, "/");
    ASSERT_FALSE(read.ok()) << text;
    EXPECT_NE(read.error().message.find(word), std::string::npos) << read.error().message;
  }
}

TEST(KubeConfig, InCluster) {
  io::test::TempDir dir;
  EXPECT_FALSE(in_cluster_config("", "443", dir / ".").ok());
  EXPECT_FALSE(in_cluster_config("10.0.0.1", "443", dir / ".").ok());  // no CA
  ASSERT_TRUE(sys::write_file_atomic(dir / "ca.crt", "CA").ok());
  ASSERT_TRUE(sys::write_file_atomic(dir / "namespace", "kube-system").ok());
  const auto config = in_cluster_config("fd00::1", "6443", dir / ".");
  ASSERT_TRUE(config.ok()) << config.error().message;
  EXPECT_EQ(config->origin.host, "fd00::1");
  EXPECT_EQ(config->origin.port, 6443);
  EXPECT_EQ(config->origin.tls->ca_pem, "CA");
  EXPECT_EQ(config->ns, "kube-system");
}

TEST(KubeConfig, SaysWhatIsMissing) {
  for (const char* bad :
       {"", "[1]", "current-context: c", "a: [", "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]",
        "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'ftp://x'}}]"})
    EXPECT_FALSE(parse_kubeconfig(bad, "/").ok()) << bad;
}

}  // namespace
}  // namespace fairway::k8s
