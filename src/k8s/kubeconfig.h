// Kubeconfig: where the cluster is and who we are to it, as kubectl reads it (client-go clientcmd/api/v1).
// One context; certificates and tokens inline (…-data) or in files beside it. What is not supported (credential
// plugins, passwords, proxies) is refused by name, never ignored.
#pragma once

#include <string>

#include "base/result.h"
#include "io/http_client.h"

namespace fairway::k8s {

struct KubeConfig {
  std::string cluster_name = "default";
  std::string user_name = "default";
  std::string ns;           // of the context; empty: "default"
  io::Origin origin;        // https, unless the server's URL says http
  std::string path_prefix;  // of the server's URL, without a slash at its end
  std::string token_file;   // read again as it is rotated; else origin.bearer_token or a certificate
};

// `folder`: of relative file names. `context` empty: the file's current-context.
Result<KubeConfig> parse_kubeconfig(const std::string& text, const std::string& folder, const std::string& context = "");
Result<KubeConfig> load_kubeconfig(const std::string& path, const std::string& context = "");
// In a pod: KUBERNETES_SERVICE_HOST and KUBERNETES_SERVICE_PORT, and the files of the service account.
Result<KubeConfig> in_cluster_config(const std::string& host, const std::string& port,
                                     const std::string& folder = "/var/run/secrets/kubernetes.io/serviceaccount");
// As JSON, which is YAML: nothing in it can be taken for markup.
std::string render_kubeconfig(const KubeConfig& config);

}  // namespace fairway::k8s
