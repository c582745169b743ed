// The two that answer for a lab that is up: its supervisor and its API server. Each call blocks until it is answered.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "k8s/api_client.h"
#include "lab/layout.h"

namespace fairway::lab {

// One call to the lab's API as its admin; 5 s at most.
Result<k8s::Json> call_api(const Layout& layout, const std::function<k8s::CallPtr(k8s::ApiClient&, k8s::Done)>& start);
// One call to the supervisor's socket (supervisor.h); the JSON body of the answer.
Result<std::string> ask_supervisor(const Layout& layout, const std::string& method, const std::string& path, const std::string& body = "");

}  // namespace fairway::lab
