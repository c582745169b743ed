// The forms in which requests come and answers go: media types, warnings, errors, body readers.
#include <fmt/format.h>

#include "apiserver/body_reader.h"
#include "apiserver/http_api.h"
#include "apiserver/protobuf.h"

namespace fairway::apiserver {
namespace {

std::string_view trim(std::string_view text) {
  const auto first = text.find_first_not_of(" \t");
  if (first == std::string_view::npos) return {};
  return text.substr(first, text.find_last_not_of(" \t") - first + 1);
}

// Quoted-string of RFC 9110, without control characters: text of an object may be in it.
std::string header_quoted(std::string_view text) {
  std::string out = "\"";
  for (char c : text.substr(0, 2048)) {
    if (static_cast<unsigned char>(c) < 0x20 || c == 0x7f) continue;
    if (c == '"' || c == '\\') out += '\\';
    out += c;
  }
  return out + '"';
}

}  // namespace

bool parse_bool(std::string_view text) {
  for (std::string_view yes : {"1", "t", "T", "TRUE", "true", "True"}) {
    if (text == yes) return true;
  }
  return false;
}

void answer_json(io::Responder& responder, int status, std::string body, const std::vector<std::string>& warnings,
                 std::string_view content_type) {
  io::HttpResponse response;
  response.status = status;
  response.headers.set("Content-Type", std::string(content_type));
  response.headers.set("Cache-Control", "no-cache, private");
  for (const std::string& warning : warnings) response.headers.add("Warning", "299 - " + header_quoted(warning));
  response.body = std::move(body);
  responder.respond(std::move(response));
}

void answer_error(io::Responder& responder, const ApiError& error) {
  io::HttpResponse response;
  response.status = error.code;
  response.headers.set("Content-Type", "application/json");
  response.headers.set("Cache-Control", "no-cache, private");
  if (error.retry_after_seconds > 0) response.headers.set("Retry-After", std::to_string(error.retry_after_seconds));
  response.body = to_text(error.to_status());
  responder.respond(std::move(response));
}

ApiResult<OutputForm> output_form(const io::ServerRequest& request) {
  OutputForm form;
  std::string_view accept = request.headers.get("Accept");
  const std::string_view include = request.query_value("includeObject");
  if (include == "Object") form.include = IncludeObject::kObject;
  else if (include == "None") form.include = IncludeObject::kNone;
  if (trim(accept).empty()) return form;
  while (!accept.empty()) {
    const auto comma = accept.find(',');
    const std::string_view choice = trim(accept.substr(0, comma));
    accept = comma == std::string_view::npos ? std::string_view{} : accept.substr(comma + 1);
    const std::string_view media = trim(choice.substr(0, choice.find(';')));
    const bool json = media == "application/json" || media == "*/*" || media == "application/*";
    if (!json) continue;  // protobuf and YAML: the next choice
    if (choice.find("as=Table") != std::string_view::npos) {
      if (choice.find("v=v1;") == std::string_view::npos && !choice.ends_with("v=v1")) continue;
      form.table = true;
    } else if (choice.find("as=PartialObjectMetadata") != std::string_view::npos) {
      form.metadata_only = true;
    } else if (choice.find("as=") != std::string_view::npos) {
      continue;
    }
    return form;
  }
  return generic(406, "NotAcceptable",
                 "only the following media types are accepted: application/json, application/json;stream=watch, application/json;as=Table");
}

ApiResult<Body> read_body(const io::ServerRequest& request, const Message* message) {
  const std::string_view header = request.headers.get("Content-Type");
  const std::string_view media = trim(header.substr(0, header.find(';')));
  if (media.empty() || media == "application/json" || media.ends_with("+json") || media == "application/apply-patch+yaml" ||
      media == "application/yaml") {
    // YAML's reader takes JSON too, but not as fast and not with JSON's escapes.
    const auto first = request.body.find_first_not_of(" \t\r\n");
    const bool json = first != std::string::npos && (request.body[first] == '{' || request.body[first] == '[');
    if (json || !media.ends_with("yaml")) return read_json(request.body);
    return read_yaml(request.body);
  }
  if (media == "application/vnd.kubernetes.protobuf") {
    if (message == nullptr) return unsupported_media_type("application/json, application/yaml");
    FW_ASSIGN(Json value, read_protobuf(*message, request.body));
    return Body{std::move(value), {}};
  }
  return unsupported_media_type("application/json, application/yaml, application/vnd.kubernetes.protobuf");
}

}  // namespace fairway::apiserver
