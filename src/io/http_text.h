// Small pieces of HTTP/1.1 text that server and client share. Private to src/io.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/result.h"
#include "io/http.h"

namespace fairway::io {

bool equal_no_case(std::string_view a, std::string_view b);
bool valid_percent_encoding(std::string_view text);
std::vector<std::pair<std::string, std::string>> parse_query(std::string_view query);
Status check_headers(const Headers& headers);  // names are tokens; no CR, LF or other control in values
void append_headers(std::string& out, const Headers& headers);
bool has_token(std::string_view list, std::string_view token);  // comma-separated, without case
std::string_view reason_of(int status);

}  // namespace fairway::io
