// ApiSession: blocking calls to the cluster's API for the commands that stand in for kubectl.
// The cluster is found as kubectl finds it (--kubeconfig, KUBECONFIG), else it is the running lab.
#pragma once

#include <boost/json/value.hpp>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "io/http_client.h"
#include "io/loop.h"

namespace fairway::cli {

// A resource as discovery names it.
struct Resource {
  std::string base;    // "/api/v1" or "/apis/apps/v1"
  std::string plural;  // "deployments"
  std::string kind;
  bool namespaced = true;
  std::string path(const std::string& ns, const std::string& name) const;
};

class ApiSession {
 public:
  static Result<std::unique_ptr<ApiSession>> open(const std::string& kubeconfig);

  // The answer's body; a Status other than success becomes an Error with the API's message.
  Result<std::string> call(const std::string& method, const std::string& target, const std::string& accept = "application/json",
                           const std::string& body = "", const std::string& content_type = "application/json");
  Result<boost::json::value> get_json(const std::string& target);
  // By plural, singular, short name or Kind.
  Result<Resource> find_resource(const std::string& word);
  Result<Resource> find_kind(const std::string& api_version, const std::string& kind);

  io::Loop& loop() { return loop_; }
  io::HttpClient& client() { return *client_; }
  const std::string& default_namespace() const { return namespace_; }

 private:
  Result<std::vector<std::string>> group_versions();
  io::Loop loop_;
  std::unique_ptr<io::HttpClient> client_;
  std::string namespace_ = "default";
};

}  // namespace fairway::cli
