// ApiError: a failure as the Kubernetes API tells it (a Status object with code, reason, message and causes).
// ApiResult<T> has the calls of Result<T>, so FW_TRY and FW_ASSIGN work with it.
//
// Words are upstream's (k8s.io/apimachinery/pkg/api/errors, pkg/util/validation/field): kubectl and people know them.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

#include "apiserver/json_util.h"
#include "base/result.h"

namespace fairway::apiserver {

// One field at fault.
struct Cause {
  std::string reason;   // FieldValueInvalid, FieldValueRequired ...
  std::string message;  // "Invalid value: 99999: must be between 1 and 65535, inclusive"
  std::string field;    // spec.ports[0].port
};

struct ApiError {
  int code = 500;
  std::string reason;
  std::string message;
  std::string name, group, kind;  // details; `kind` is the resource, but for Invalid, where it is the Kind
  std::vector<Cause> causes;
  int retry_after_seconds = 0;

  Json to_status() const;
  Error to_error() const;
};

template <typename T>
class [[nodiscard]] ApiResult {
 public:
  ApiResult(T value) : state_(std::in_place_index<0>, std::move(value)) {}         // NOLINT: conversion is the point
  ApiResult(ApiError error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT
  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & { return std::get<0>(state_); }
  const T& value() const& { return std::get<0>(state_); }
  T&& value() && { return std::get<0>(std::move(state_)); }
  ApiError& error() & { return std::get<1>(state_); }
  const ApiError& error() const& { return std::get<1>(state_); }
  ApiError&& error() && { return std::get<1>(std::move(state_)); }
  T* operator->() { return &value(); }
  T& operator*() & { return value(); }

 private:
  std::variant<T, ApiError> state_;
};
struct Done {};
using ApiStatus = ApiResult<Done>;

// The errors of the fields of one object.
class FieldErrors {
 public:
  void invalid(std::string field, const Json& value, std::string_view why);
  void invalid_text(std::string field, std::string_view value, std::string_view why) {
    invalid(std::move(field), Json(boost::json::string(value)), why);
  }
  void invalid_strings(std::string field, const Array& list, std::string_view why);  // as Go prints a []string
  void required(std::string field, std::string_view why = {});
  void forbidden(std::string field, std::string_view why);
  void duplicate(std::string field, const Json& value);
  void not_supported(std::string field, const Json& value, const std::vector<std::string>& supported);
  void too_long(std::string field, std::size_t limit);
  void too_many(std::string field, std::size_t count, std::size_t limit);
  void add(Cause cause) { causes_.push_back(std::move(cause)); }
  bool empty() const { return causes_.empty(); }
  std::vector<Cause>& causes() { return causes_; }

 private:
  std::vector<Cause> causes_;
};

// `resource` is the plural, `group` "" for core.
ApiError not_found(std::string_view group, std::string_view resource, std::string_view name);
ApiError already_exists(std::string_view group, std::string_view resource, std::string_view name);
ApiError conflict(std::string_view group, std::string_view resource, std::string_view name, std::string_view why);
ApiError forbidden(std::string_view group, std::string_view resource, std::string_view name, std::string_view why);
ApiError invalid(std::string_view group, std::string_view kind, std::string_view name, FieldErrors errors);
ApiError bad_request(std::string message);
ApiError expired(std::string message);
ApiError too_large(std::string message);
ApiError method_not_allowed();
ApiError not_run(std::string_view group, std::string_view resource, std::string_view name, std::string_view why);
ApiError unsupported_media_type(std::string_view supported);
ApiError internal_error(std::string_view what);
ApiError generic(int code, std::string reason, std::string message);

extern const char* const kStaleObject;  // "the object has been modified; please apply your changes ..."

}  // namespace fairway::apiserver
