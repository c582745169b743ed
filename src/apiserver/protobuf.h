// Kubernetes' protobuf bodies to JSON, by the numbers of the schema's tables. kubectl 1.32 and later sends them for
// `create deployment` and its like, with no way back to JSON. Fields without a number are dropped, as protobuf does.
#pragma once

#include <string_view>

#include "apiserver/api_error.h"
#include "apiserver/schema.h"

namespace fairway::apiserver {

// "k8s\0", then Unknown{typeMeta, raw}.
ApiResult<Json> read_protobuf(const Message& message, std::string_view body);

}  // namespace fairway::apiserver
