// What an API server's refusal means to a caller of ours: the HTTP code and the reason of a metav1 Status as a Code.
// One table for who asks over HTTP and who asks the lab's server in its own process, so that both act alike.
#pragma once

#include <string_view>

#include "base/result.h"

namespace fairway::k8s {

Code code_of_status(int http, std::string_view reason);

}  // namespace fairway::k8s
