// Reading Kubernetes objects by path. What is missing, or of another type, is empty: the API server has validated.
#pragma once

#include <boost/json.hpp>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "k8s/api_client.h"

namespace fairway::runtime {

using k8s::Json;
using JsonObject = boost::json::object;
using JsonArray = boost::json::array;

// "spec.containers": null where there is none. Keys with dots are looked up by member().
const Json* find(const Json& value, std::string_view path);
const Json* member(const Json& value, std::string_view key);
std::string text(const Json& value, std::string_view path, std::string_view otherwise = "");
std::int64_t number(const Json& value, std::string_view path, std::int64_t otherwise = 0);
bool flag(const Json& value, std::string_view path, bool otherwise = false);
const JsonArray& array(const Json& value, std::string_view path);  // empty where there is none
const JsonObject& object(const Json& value, std::string_view path);
std::vector<std::string> texts(const Json& value, std::string_view path);

Result<Json> parse_json_file(const std::string& path);
Status write_json_file(const std::string& path, const Json& value);

std::string rfc3339(std::int64_t unix_ns);            // whole seconds, as the API has it
std::string rfc3339_micro(std::int64_t unix_ns);      // Lease.renewTime
std::int64_t parse_rfc3339(const std::string& text);  // ns, 0 if it is none
std::int64_t now_unix_ns();
std::string base64_decode(const std::string& text);  // what is no digit is skipped

}  // namespace fairway::runtime
