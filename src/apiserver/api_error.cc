#include "apiserver/api_error.h"

#include <fmt/format.h>

#include "k8s/status_code.h"

namespace fairway::apiserver {
namespace {

std::string qualified(std::string_view group, std::string_view resource) {
  return group.empty() ? std::string(resource) : fmt::format("{}.{}", resource, group);
}

ApiError about(int code, std::string reason, std::string message, std::string_view group, std::string_view kind, std::string_view name) {
  ApiError error;
  error.code = code;
  error.reason = std::move(reason);
  error.message = std::move(message);
  error.name = name;
  error.group = group;
  error.kind = kind;
  return error;
}

// Long values would drown the message; upstream prints them whole, kubectl users do not miss the end.
std::string value_text(const Json& value) {
  std::string text = scalar_text(value);
  if (text.size() > 512) text = text.substr(0, 509) + "...";
  return text;
}

}  // namespace

const char* const kStaleObject = "the object has been modified; please apply your changes to the latest version and try again";

Json ApiError::to_status() const {
  Object status{{"kind", "Status"}, {"apiVersion", "v1"}, {"metadata", Object()}, {"status", "Failure"}, {"message", message}};
  if (!reason.empty()) status["reason"] = reason;
  Object details;
  if (!name.empty()) details["name"] = name;
  if (!group.empty()) details["group"] = group;
  if (!kind.empty()) details["kind"] = kind;
  if (!causes.empty()) {
    Array list;
    for (const Cause& cause : causes) {
      Object item{{"reason", cause.reason}, {"message", cause.message}};
      if (!cause.field.empty()) item["field"] = cause.field;
      list.emplace_back(std::move(item));
    }
    details["causes"] = std::move(list);
  }
  if (retry_after_seconds > 0) details["retryAfterSeconds"] = retry_after_seconds;
  if (!details.empty()) status["details"] = std::move(details);
  status["code"] = code;
  return status;
}

Error ApiError::to_error() const {
  Error error;
  error.code = k8s::code_of_status(code, reason);
  error.message = message;
  error.reason = reason;
  return error;
}

void FieldErrors::invalid(std::string field, const Json& value, std::string_view why) {
  causes_.push_back({"FieldValueInvalid", fmt::format("Invalid value: {}: {}", value_text(value), why), std::move(field)});
}

void FieldErrors::invalid_strings(std::string field, const Array& list, std::string_view why) {
  std::string text;
  for (const Json& one : list) text += (text.empty() ? "" : ", ") + scalar_text(one);
  causes_.push_back({"FieldValueInvalid", fmt::format("Invalid value: []string{{{}}}: {}", text, why), std::move(field)});
}

void FieldErrors::required(std::string field, std::string_view why) {
  causes_.push_back({"FieldValueRequired", why.empty() ? "Required value" : fmt::format("Required value: {}", why), std::move(field)});
}

void FieldErrors::forbidden(std::string field, std::string_view why) {
  causes_.push_back({"FieldValueForbidden", fmt::format("Forbidden: {}", why), std::move(field)});
}

void FieldErrors::duplicate(std::string field, const Json& value) {
  causes_.push_back({"FieldValueDuplicate", fmt::format("Duplicate value: {}", value_text(value)), std::move(field)});
}

void FieldErrors::not_supported(std::string field, const Json& value, const std::vector<std::string>& supported) {
  std::string list;
  for (const std::string& one : supported) list += (list.empty() ? "" : ", ") + quoted(one);
  causes_.push_back(
      {"FieldValueNotSupported", fmt::format("Unsupported value: {}: supported values: {}", value_text(value), list), std::move(field)});
}

void FieldErrors::too_long(std::string field, std::size_t limit) {
  causes_.push_back({"FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", limit), std::move(field)});
}

void FieldErrors::too_many(std::string field, std::size_t count, std::size_t limit) {
  causes_.push_back({"FieldValueTooMany", fmt::format("Too many: {}: must have at most {} items", count, limit), std::move(field)});
}

ApiError not_found(std::string_view group, std::string_view resource, std::string_view name) {
  return about(404, "NotFound", fmt::format("{} \"{}\" not found", qualified(group, resource), name), group, resource, name);
}

ApiError already_exists(std::string_view group, std::string_view resource, std::string_view name) {
  return about(409, "AlreadyExists", fmt::format("{} \"{}\" already exists", qualified(group, resource), name), group, resource, name);
}

ApiError conflict(std::string_view group, std::string_view resource, std::string_view name, std::string_view why) {
  return about(409, "Conflict", fmt::format("Operation cannot be fulfilled on {} \"{}\": {}", qualified(group, resource), name, why), group,
               resource, name);
}

ApiError forbidden(std::string_view group, std::string_view resource, std::string_view name, std::string_view why) {
  return about(403, "Forbidden", fmt::format("{} \"{}\" is forbidden: {}", qualified(group, resource), name, why), group, resource, name);
}

ApiError invalid(std::string_view group, std::string_view kind, std::string_view name, FieldErrors errors) {
  std::string list;
  for (const Cause& cause : errors.causes()) {
    list += (list.empty() ? "" : ", ") + (cause.field.empty() ? cause.message : cause.field + ": " + cause.message);
  }
  if (errors.causes().size() > 1) list = "[" + list + "]";
  ApiError error = about(422, "Invalid", fmt::format("{} \"{}\" is invalid: {}", qualified(group, kind), name, list), group, kind, name);
  error.causes = std::move(errors.causes());
  return error;
}

ApiError generic(int code, std::string reason, std::string message) {
  return about(code, std::move(reason), std::move(message), {}, {}, {});
}

ApiError bad_request(std::string message) { return generic(400, "BadRequest", std::move(message)); }
ApiError expired(std::string message) { return generic(410, "Expired", std::move(message)); }
ApiError too_large(std::string message) { return generic(413, "RequestEntityTooLarge", std::move(message)); }
ApiError method_not_allowed() {
  return generic(405, "MethodNotAllowed", "the server does not allow this method on the requested resource");
}
ApiError not_run(std::string_view group, std::string_view resource, std::string_view name, std::string_view why) {
  return about(405, "MethodNotAllowed", fmt::format("{} \"{}\" cannot be made: {}", qualified(group, resource), name, why), group, resource,
               name);
}
ApiError internal_error(std::string_view what) { return generic(500, "InternalError", fmt::format("Internal error occurred: {}", what)); }

ApiError unsupported_media_type(std::string_view supported) {
  return generic(415, "UnsupportedMediaType",
                 fmt::format("the body of the request was in an unknown format - accepted media types include: {}", supported));
}

}  // namespace fairway::apiserver
