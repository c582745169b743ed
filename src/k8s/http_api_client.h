// HttpApiClient: k8s::ApiClient over HTTP(S), for the node runtime and whoever is not in the API server's process.
#pragma once

#include <memory>

#include "io/http_client.h"
#include "io/loop.h"
#include "k8s/api_client.h"
#include "k8s/kubeconfig.h"

namespace fairway::k8s {

class HttpApiClient : public ApiClient {
 public:
  static Result<std::unique_ptr<HttpApiClient>> create(io::Loop& loop, const KubeConfig& config);
  ~HttpApiClient() override;

  [[nodiscard]] CallPtr get(const ResourceRef& ref, Done done) override;
  [[nodiscard]] CallPtr list(const ResourceRef& ref, const ListOptions& options, Done done) override;
  [[nodiscard]] CallPtr create(const ResourceRef& ref, Json object, Done done) override;
  [[nodiscard]] CallPtr update(const ResourceRef& ref, Json object, Done done) override;
  [[nodiscard]] CallPtr patch(const ResourceRef& ref, PatchType type, Json patch, Done done) override;
  [[nodiscard]] CallPtr remove(const ResourceRef& ref, const DeleteOptions& options, Done done) override;
  // Ends with kTimeout if the server is silent for longer than its bookmarks should take: a dead peer is noticed.
  [[nodiscard]] CallPtr watch(const ResourceRef& ref, const ListOptions& options, WatchCallbacks callbacks) override;

 private:
  HttpApiClient(io::Loop& loop, std::unique_ptr<io::HttpClient> http);
  CallPtr send(std::string method, std::string target, const Json* body, std::string_view content_type, Done done);
  io::Loop& loop_;
  std::unique_ptr<io::HttpClient> http_;
};

// "/api/v1/namespaces/NS/pods/NAME/status", percent-encoded.
std::string path_of(const ResourceRef& ref);
// A Status object (or anything else that came with an HTTP error) as an Error.
Error error_of(int http_status, std::string_view body);

}  // namespace fairway::k8s
