// TokenFile: the bearer token of a service account, from the file where the kubelet replaces it.
//
// A bound token ends within the hour, and its file has the next one long before (KEP-1205): it is read again when a request is
// made and the last look is a minute old. Belongs to the control thread.
#pragma once

#include <chrono>
#include <optional>
#include <string>

#include "io/http.h"

namespace fairway::k8s {

class TokenFile {
 public:
  using TimePoint = std::chrono::steady_clock::time_point;
  explicit TokenFile(std::string path = "") : path_(std::move(path)) {}
  // Sets the header Authorization; without a file, nothing.
  void authorize(io::HttpRequest& request, TimePoint now = std::chrono::steady_clock::now());

 private:
  std::string path_, token_;
  std::optional<TimePoint> read_;
};

}  // namespace fairway::k8s
