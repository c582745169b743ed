#include "k8s/kubeconfig.h"

#include <gtest/gtest.h>

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
      "users:\n- name: u\n  user: {token: abc}\ncontexts:\n- name: c\n  context: {cluster: k, user: u}\n", "/");
  ASSERT_TRUE(read.ok()) << read.error().message;
  EXPECT_EQ(read->origin.host, "10.0.0.1");
  EXPECT_EQ(read->origin.port, 443);
  EXPECT_EQ(read->origin.bearer_token, "abc");
}

TEST(KubeConfig, SaysWhatIsMissing) {
  for (const char* bad : {"", "[1]", "current-context: c", "a: [", "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]",
                          "current-context: c\ncontexts: [{name: c, context: {cluster: k, user: u}}]\nclusters: [{name: k, cluster: {server: 'ftp://x'}}]"})
    EXPECT_FALSE(parse_kubeconfig(bad, "/").ok()) << bad;
}

}  // namespace
}  // namespace fairway::k8s
