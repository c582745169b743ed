// Checks of strings (RFC 1123 and 1035 names, addresses, quantities, times), with upstream's words
// (k8s.io/apimachinery/pkg/util/validation). An empty answer means: fine.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apiserver/schema.h"
#include "net/ip.h"

namespace fairway::apiserver {

std::vector<std::string> check_format(Format format, std::string_view value);
std::vector<std::string> check_wildcard_subdomain(std::string_view value);  // *.example.com
std::vector<std::string> check_path_segment(std::string_view value);        // names of kinds with free names

// A CIDR as the API's older fields take it: host bits may be set.
std::optional<net::Prefix> lenient_cidr(std::string_view text);

// Canonical form as Go's resource.Quantity prints it ("1000m" -> "1"); nothing for what is no quantity.
std::optional<std::string> canonical_quantity(std::string_view text);
double quantity_value(std::string_view text);  // 0 for what is no quantity

bool is_rfc3339(std::string_view text);
// Seconds since 1970, or nothing.
std::optional<std::int64_t> parse_time(std::string_view text);
std::string format_time(std::int64_t unix_seconds);
std::string format_microtime(std::int64_t unix_seconds, std::int64_t micros);
std::int64_t now_seconds();
std::string now_text();  // RFC 3339, UTC, whole seconds

bool is_base64(std::string_view text);
std::string base64_encode(std::string_view bytes);

std::string regex_error(std::string_view what, std::string_view regex, const std::vector<std::string_view>& examples);

}  // namespace fairway::apiserver
