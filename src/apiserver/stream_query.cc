#include "apiserver/stream_query.h"

#include <algorithm>
#include <boost/json/array.hpp>
#include <boost/json/object.hpp>
#include <boost/json/serialize.hpp>
#include <charconv>
#include <ctime>
#include <optional>

namespace fairway::apiserver {
namespace {

namespace json = boost::json;

// As Go's strconv.ParseBool, which upstream uses; clients send True, true and 1.
ApiResult<bool> parse_bool(const io::ServerRequest& request, std::string_view name) {
  const std::string_view text = request.query_value(name);
  for (const std::string_view yes : {"1", "t", "T", "true", "TRUE", "True"}) {
    if (text == yes) return true;
  }
  for (const std::string_view no : {"", "0", "f", "F", "false", "FALSE", "False"}) {
    if (text == no) return false;
  }
  return bad_request("parameter \"" + std::string(name) + "\": \"" + std::string(text.substr(0, 64)) + "\" is not a boolean");
}

ApiResult<std::optional<std::int64_t>> parse_number(const io::ServerRequest& request, std::string_view name, std::int64_t least) {
  if (!request.has_query(name)) return std::optional<std::int64_t>();
  const std::string_view text = request.query_value(name);
  std::int64_t number = 0;
  const auto [end, ec] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (ec != std::errc() || end != text.data() + text.size() || number < least) {
    return bad_request("parameter \"" + std::string(name) + "\": \"" + std::string(text.substr(0, 64)) + "\" is not a number of at least " +
                       std::to_string(least));
  }
  return std::optional(number);
}

// sinceTime as the seconds since then, rounded up; the runtime knows sinceSeconds only.
ApiResult<std::int64_t> seconds_since(std::string_view text) {
  std::tm parts{};
  const std::string copy(text);
  const char* rest = ::strptime(copy.c_str(), "%Y-%m-%dT%H:%M:%S", &parts);
  long offset_seconds = 0;
  bool good = rest != nullptr;
  if (good && *rest == '.') {
    do ++rest;
    while (*rest >= '0' && *rest <= '9');
  }
  if (good && (*rest == '+' || *rest == '-')) {
    int hours = 0, minutes = 0, used = 0;
    good = std::sscanf(rest + 1, "%2d:%2d%n", &hours, &minutes, &used) == 2 && rest[1 + used] == '\0';
    offset_seconds = (*rest == '-' ? -1 : 1) * (hours * 3600L + minutes * 60L);
  } else {
    good = good && std::string_view(rest) == "Z";
  }
  if (!good) return bad_request("parameter \"sinceTime\": \"" + copy.substr(0, 64) + "\" is not an RFC 3339 time");
  return std::max<std::int64_t>(1, std::time(nullptr) - (::timegm(&parts) - offset_seconds) + 1);
}

json::object base_request(const StreamTarget& target, const char* op) {
  json::object request{{"op", op}, {"namespace", target.ns}, {"pod", target.pod}};
  if (!target.container.empty()) request["container"] = target.container;
  return request;
}

}  // namespace

ApiResult<ExecOptions> parse_exec_options(const io::ServerRequest& request) {
  ExecOptions options;
  FW_ASSIGN(options.input, parse_bool(request, "stdin"));
  FW_ASSIGN(options.output, parse_bool(request, "stdout"));
  FW_ASSIGN(options.error, parse_bool(request, "stderr"));
  FW_ASSIGN(options.tty, parse_bool(request, "tty"));
  if (options.tty) options.error = false;  // a terminal has one output
  if (!options.input && !options.output && !options.error) return bad_request("you must specify at least 1 of stdin, stdout, stderr");
  return options;
}

ApiResult<json::object> make_exec_request(const io::ServerRequest& request, const StreamTarget& target, const ExecOptions& options,
                                          const char* op) {
  json::object made = base_request(target, op);
  json::array command;
  for (const auto& [name, value] : request.query) {
    if (name == "command") command.emplace_back(value);
  }
  if (std::string_view(op) == "exec") {
    if (command.empty()) return bad_request("you must specify at least one command for the container");
    made["command"] = std::move(command);
  }
  made["tty"] = options.tty;
  made["stdin"] = options.input;
  return made;
}

ApiResult<json::object> make_log_request(const io::ServerRequest& request, const StreamTarget& target) {
  json::object made = base_request(target, "logs");
  for (const char* name : {"follow", "timestamps", "previous"}) { FW_ASSIGN(made[name], parse_bool(request, name)); }
  FW_ASSIGN(const std::optional<std::int64_t> tail, parse_number(request, "tailLines", 0));
  if (tail) made["tailLines"] = *tail;
  FW_ASSIGN(const std::optional<std::int64_t> limit, parse_number(request, "limitBytes", 1));
  if (limit) made["limitBytes"] = *limit;
  FW_ASSIGN(const std::optional<std::int64_t> since, parse_number(request, "sinceSeconds", 1));
  if (since) made["sinceSeconds"] = *since;
  if (!request.query_value("sinceTime").empty()) {
    if (since) return bad_request("at most one of sinceTime or sinceSeconds may be specified");
    FW_ASSIGN(made["sinceSeconds"], seconds_since(request.query_value("sinceTime")));
  }
  return made;
}

json::object make_portforward_request(const StreamTarget& target, std::uint16_t port) {
  json::object made = base_request(target, "portforward");
  made["port"] = port;
  return made;
}

void respond_error(io::Responder& responder, const ApiError& error) {
  io::HttpResponse response;
  response.status = error.code;
  response.headers.set("Content-Type", "application/json");
  response.body = json::serialize(error.to_status());
  responder.respond(std::move(response));
}

std::string choose_subprotocol(const io::Headers& headers, std::string_view header, const std::vector<std::string>& known) {
  std::vector<std::string> offered;
  for (const auto& [name, value] : headers.items()) {
    if (name.size() != header.size() ||
        !std::equal(name.begin(), name.end(), header.begin(), [](char a, char b) { return (a | 32) == (b | 32); }))
      continue;
    std::string_view list = value;  // split by hand: '/' is no token character, so parsers of tokens stumble
    while (!list.empty()) {
      const std::size_t end = std::min(list.find(','), list.size());
      std::string_view one = list.substr(0, end);
      list.remove_prefix(std::min(end + 1, list.size()));
      while (!one.empty() && one.front() == ' ') one.remove_prefix(1);
      while (!one.empty() && one.back() == ' ') one.remove_suffix(1);
      offered.emplace_back(one);
    }
  }
  for (const std::string& one : known) {
    if (std::find(offered.begin(), offered.end(), one) != offered.end()) return one;
  }
  return {};
}

bool wants_websocket(const io::ServerRequest& request) {
  std::string upgrade(request.headers.get("Upgrade"));
  std::transform(upgrade.begin(), upgrade.end(), upgrade.begin(),
                 [](char c) { return c >= 'A' && c <= 'Z' ? static_cast<char>(c + 32) : c; });
  return upgrade == "websocket";
}

}  // namespace fairway::apiserver
