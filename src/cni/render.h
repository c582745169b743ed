// What the plugin prints: results and errors in the words of the configuration's cniVersion. Pure.
#pragma once

#include <string>
#include <string_view>

#include "cni/request.h"
#include "model/local_endpoint.h"

namespace fairway::cni {

std::string render_result(std::string_view version, const model::LocalEndpoint& endpoint, const DnsConfig& dns);
std::string render_error(std::string_view version, const CniError& error);
std::string render_versions();
int http_status(ErrorCode code);

// The journal's form of an endpoint.
std::string render_endpoint(const model::LocalEndpoint& endpoint);
Result<model::LocalEndpoint> parse_endpoint(std::string_view text);

}  // namespace fairway::cni
