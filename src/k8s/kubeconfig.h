// Kubeconfig: where the cluster is and who we are to it, as kubectl reads it (client-go clientcmd/api/v1).
// The current context alone; certificates and tokens inline (…-data) or in files beside it.
#pragma once

#include <string>

#include "base/result.h"
#include "io/http_client.h"

namespace fairway::k8s {

struct KubeConfig {
  std::string cluster_name = "default";
  std::string user_name = "default";
  std::string ns;                 // of the context; empty: "default"
  io::Origin origin;              // https, unless the server's URL says http
};

Result<KubeConfig> parse_kubeconfig(const std::string& text, const std::string& folder);  // folder: of relative file names
Result<KubeConfig> load_kubeconfig(const std::string& path);
// As JSON, which is YAML: nothing in it can be taken for markup.
std::string render_kubeconfig(const KubeConfig& config);

}  // namespace fairway::k8s
