// HttpApiClient: k8s::ApiClient over HTTP(S), for the node runtime and whoever is not in the API server's process.
//
// A watch is split into lines as it arrives, parsed in the receive buffer, with a limit on each line; it ends with
// kTimeout when the server is silent for longer than its bookmarks should take, so a dead peer is noticed.
// A token file is read again as it is rotated. Destroying a call inside one of its own callbacks is fine.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "io/http_client.h"
#include "io/loop.h"
#include "k8s/api_client.h"
#include "k8s/kubeconfig.h"

namespace fairway::k8s {

class HttpApiClient : public ApiClient {
 public:
  using ApiClient::create;
  // `field_manager` names us in the managedFields of what we write.
  static Result<std::unique_ptr<HttpApiClient>> create(io::Loop& loop, KubeConfig config, std::string field_manager = "fairway");
  // Over connections that others have: `dial` answers with the one in use, for each request anew. Of `config`, all but the origin.
  static std::unique_ptr<HttpApiClient> create_over(io::Loop& loop, std::function<io::HttpClient&()> dial, KubeConfig config,
                                                    std::string field_manager);
};

// "/api/v1/namespaces/NS/pods/NAME/status", percent-encoded.
std::string path_of(const ResourceRef& ref);
// A Status object (or anything else that came with an HTTP error) as an Error.
Error error_of(int http_status, std::string_view body);

}  // namespace fairway::k8s
