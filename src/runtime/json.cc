#include "runtime/json.h"

#include <chrono>
#include <cstdio>
#include <ctime>

#include "sys/file.h"

namespace fairway::runtime {

const Json* member(const Json& value, std::string_view key) {
  if (!value.is_object()) return nullptr;
  const auto it = value.get_object().find(key);
  return it == value.get_object().end() || it->value().is_null() ? nullptr : &it->value();
}

const Json* find(const Json& value, std::string_view path) {
  const Json* at = &value;
  while (at) {
    const auto dot = path.find('.');
    at = member(*at, path.substr(0, dot));
    if (dot == std::string_view::npos) return at;
    path.remove_prefix(dot + 1);
  }
  return nullptr;
}

std::string text(const Json& value, std::string_view path, std::string_view otherwise) {
  const Json* at = find(value, path);
  return at && at->is_string() ? std::string(at->get_string()) : std::string(otherwise);
}

std::int64_t number(const Json& value, std::string_view path, std::int64_t otherwise) {
  const Json* at = find(value, path);
  if (at && at->is_int64()) return at->get_int64();
  if (at && at->is_uint64()) return static_cast<std::int64_t>(at->get_uint64());
  if (at && at->is_double()) return static_cast<std::int64_t>(at->get_double());
  return otherwise;
}

bool flag(const Json& value, std::string_view path, bool otherwise) {
  const Json* at = find(value, path);
  return at && at->is_bool() ? at->get_bool() : otherwise;
}

const JsonArray& array(const Json& value, std::string_view path) {
  static const JsonArray empty;
  const Json* at = find(value, path);
  return at && at->is_array() ? at->get_array() : empty;
}

const JsonObject& object(const Json& value, std::string_view path) {
  static const JsonObject empty;
  const Json* at = find(value, path);
  return at && at->is_object() ? at->get_object() : empty;
}

std::vector<std::string> texts(const Json& value, std::string_view path) {
  std::vector<std::string> out;
  for (const auto& item : array(value, path))
    if (item.is_string()) out.emplace_back(item.get_string());
  return out;
}

Result<Json> parse_json_file(const std::string& path) {
  FW_ASSIGN(const std::string content, sys::read_file(path, 8 << 20));
  boost::system::error_code ec;
  Json value = boost::json::parse(content, ec);
  if (ec) return make_error(Code::kInvalid, path + ": " + ec.message());
  return value;
}

Status write_json_file(const std::string& path, const Json& value) {
  return sys::write_file_atomic(path, boost::json::serialize(value), 0600);
}

static std::string format_time(std::int64_t unix_ns, bool micro) {
  const std::time_t seconds = unix_ns / 1'000'000'000;
  std::tm parts{};
  ::gmtime_r(&seconds, &parts);
  char out[48];
  const std::size_t used = std::strftime(out, sizeof out, "%Y-%m-%dT%H:%M:%S", &parts);
  std::snprintf(out + used, sizeof out - used, micro ? ".%06dZ" : "Z", static_cast<int>(unix_ns % 1'000'000'000 / 1000));
  return out;
}

std::string rfc3339(std::int64_t unix_ns) { return format_time(unix_ns, false); }
std::string rfc3339_micro(std::int64_t unix_ns) { return format_time(unix_ns, true); }

std::int64_t parse_rfc3339(const std::string& in) {
  std::tm parts{};
  const char* end = ::strptime(in.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  if (!end) return 0;
  std::int64_t ns = static_cast<std::int64_t>(::timegm(&parts)) * 1'000'000'000;
  if (*end == '.') {
    std::int64_t unit = 100'000'000;
    for (++end; *end >= '0' && *end <= '9'; ++end, unit /= 10) ns += (*end - '0') * unit;
  }
  return ns;
}

std::int64_t now_unix_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::system_clock::now().time_since_epoch()).count();
}

std::string base64_decode(const std::string& in) {
  std::string out;
  unsigned buffer = 0;
  int bits = 0;
  for (const unsigned char c : in) {
    int v;
    if (c >= 'A' && c <= 'Z') v = c - 'A';
    else if (c >= 'a' && c <= 'z') v = c - 'a' + 26;
    else if (c >= '0' && c <= '9') v = c - '0' + 52;
    else if (c == '+') v = 62;
    else if (c == '/') v = 63;
    else continue;
    buffer = buffer << 6 | static_cast<unsigned>(v);
    bits += 6;
    if (bits >= 8) {
      bits -= 8;
      out += static_cast<char>(buffer >> bits & 0xff);
    }
  }
  return out;
}

}  // namespace fairway::runtime
