// The patches of the API: JSON patch (RFC 6902), merge patch (RFC 7386) and strategic merge patch.
#pragma once

#include "apiserver/api_error.h"
#include "apiserver/schema.h"

namespace fairway::apiserver {

inline constexpr std::size_t kMaxJsonPatchOperations = 10'000;

ApiResult<Json> json_patch(const Json& target, const Json& patch);
void merge_patch(Json& target, const Json& patch);
ApiResult<Json> strategic_patch(const Message& message, const Json& target, const Json& patch);

}  // namespace fairway::apiserver
