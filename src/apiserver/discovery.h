// Discovery: what kinds there are, in the aggregated and in the legacy form, and the OpenAPI documents kubectl asks for.
#pragma once

#include <optional>
#include <string>

#include "apiserver/json_util.h"
#include "apiserver/kinds.h"

namespace fairway::apiserver {

inline constexpr const char* kAggregatedType = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

Json aggregated_discovery(const KindTable& kinds, bool core);
Json legacy_versions();                      // GET /api
Json legacy_groups(const KindTable& kinds);  // GET /apis
std::optional<Json> legacy_group(const KindTable& kinds, std::string_view group);
std::optional<Json> legacy_resources(const KindTable& kinds, std::string_view group, std::string_view version);
Json open_api_index(const KindTable& kinds);  // GET /openapi/v3
std::optional<Json> open_api_document(const KindTable& kinds, std::string_view group, std::string_view version);
Json version_info(const std::string& git_version);

}  // namespace fairway::apiserver
