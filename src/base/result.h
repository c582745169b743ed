// Result<T>: a value or an Error, never ignored silently.
//
// Place: layer 0, used by all. Lower layers return errors and do not log them;
// only reconcilers retry, only main exits (docs/style.md).
// Own type because g++ 12's std::expected lacks the monadic calls and clang 16 does not see it.
#pragma once

#include <cstdlib>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace fairway {

enum class Code {
  kInvalid,  // the input is wrong; trying again will not help
  kNotFound,
  kAlreadyExists,
  kConflict,  // a newer version exists (HTTP 409)
  kGone,      // a watch position or token is too old (HTTP 410)
  kForbidden,
  kUnauthorized,
  kUnavailable,  // the other side is away; try again later
  kTimeout,
  kExhausted,  // a table, range or limit is full
  kUnsupported,
  kIo,  // a system call failed; `sys_errno` says how
  kInternal,
};
std::string_view to_string(Code code);

// What went wrong, with the way there: "apply service default/web: map frontends: update: No space left on device".
struct Error {
  Code code = Code::kInternal;
  std::string message;
  int sys_errno = 0;   // errno, or 0
  std::string reason;  // Kubernetes Status reason where it came from an API server, else empty

  Error with_context(std::string_view what) && {
    message = std::string(what) + ": " + message;
    return std::move(*this);
  }
};

Error make_error(Code code, std::string message);
// Adds strerror(err) to `what`; the code follows from err (ENOENT -> kNotFound, EEXIST -> kAlreadyExists ...).
Error errno_error(int err, std::string_view what);

template <typename T>
class [[nodiscard]] Result {
 public:
  using value_type = T;
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}      // NOLINT: conversion is the point
  Result(Error error) : state_(std::in_place_index<1>, std::move(error)) {}  // NOLINT

  bool ok() const { return state_.index() == 0; }
  explicit operator bool() const { return ok(); }
  T& value() & {
    require(0);
    return *std::get_if<0>(&state_);
  }
  const T& value() const& {
    require(0);
    return *std::get_if<0>(&state_);
  }
  T&& value() && {
    require(0);
    return std::move(*std::get_if<0>(&state_));
  }
  T& operator*() & { return value(); }
  const T& operator*() const& { return value(); }
  T&& operator*() && { return std::move(*this).value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  Error& error() & {
    require(1);
    return *std::get_if<1>(&state_);
  }
  const Error& error() const& {
    require(1);
    return *std::get_if<1>(&state_);
  }
  Error&& error() && {
    require(1);
    return std::move(*std::get_if<1>(&state_));
  }
  T value_or(T other) && { return ok() ? std::move(*this).value() : std::move(other); }

 private:
  void require(std::size_t index) const {
    if (state_.index() != index) std::abort();
  }
  std::variant<T, Error> state_;
};

template <>
class [[nodiscard]] Result<void> {
 public:
  using value_type = void;
  Result() = default;
  Result(Error error) : error_(std::move(error)) {}  // NOLINT
  bool ok() const { return !error_; }
  explicit operator bool() const { return ok(); }
  void value() const {
    if (error_) std::abort();
  }
  Error& error() & {
    if (!error_) std::abort();
    return *error_;
  }
  const Error& error() const& {
    if (!error_) std::abort();
    return *error_;
  }
  Error&& error() && {
    if (!error_) std::abort();
    return std::move(*error_);
  }

 private:
  std::optional<Error> error_;
};

using Status = Result<void>;

}  // namespace fairway

#define FW_CONCAT_(a, b) a##b
#define FW_CONCAT(a, b) FW_CONCAT_(a, b)
// FW_TRY(expr): return the error of a Result<void> (or of any Result whose value is not needed).
#define FW_TRY(expr)                                                                               \
  do {                                                                                             \
    if (auto fw_try_result = (expr); !fw_try_result.ok()) return std::move(fw_try_result).error(); \
  } while (false)
// FW_ASSIGN(auto x, expr): x = the value, or return the error.
#define FW_ASSIGN(decl, expr) FW_ASSIGN_(FW_CONCAT(fw_result_, __LINE__), decl, expr)
#define FW_ASSIGN_(tmp, decl, expr)             \
  auto tmp = (expr);                            \
  if (!tmp.ok()) return std::move(tmp).error(); \
  decl = std::move(tmp).value()
