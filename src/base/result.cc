#include "base/result.h"

#include <cerrno>
#include <cstring>

namespace fairway {

std::string_view to_string(Code code) {
  switch (code) {
    case Code::kInvalid:
      return "invalid";
    case Code::kNotFound:
      return "not found";
    case Code::kAlreadyExists:
      return "already exists";
    case Code::kConflict:
      return "conflict";
    case Code::kGone:
      return "gone";
    case Code::kForbidden:
      return "forbidden";
    case Code::kUnauthorized:
      return "unauthorized";
    case Code::kUnavailable:
      return "unavailable";
    case Code::kTimeout:
      return "timeout";
    case Code::kExhausted:
      return "exhausted";
    case Code::kUnsupported:
      return "unsupported";
    case Code::kIo:
      return "I/O error";
    case Code::kInternal:
      return "internal error";
  }
  return "unknown";
}

Error make_error(Code code, std::string message) { return Error{.code = code, .message = std::move(message)}; }

static Code code_of(int err) {
  switch (err) {
    case ENOENT:
    case ENODEV:
    case ESRCH:
    case ENOLINK:
      return Code::kNotFound;
    case EEXIST:
      return Code::kAlreadyExists;
    case EINVAL:
      return Code::kInvalid;
    case EPERM:
    case EACCES:
      return Code::kForbidden;
    case ENOSPC:
    case E2BIG:
    case ENOMEM:
    case EMFILE:
    case ENFILE:
      return Code::kExhausted;
    case ETIMEDOUT:
      return Code::kTimeout;
    case ECONNREFUSED:
    case ECONNRESET:
    case EAGAIN:
    case EHOSTUNREACH:
    case ENETUNREACH:
      return Code::kUnavailable;
    case EOPNOTSUPP:
    case ENOSYS:
      return Code::kUnsupported;
    default:
      return Code::kIo;
  }
}

Error errno_error(int err, std::string_view what) {
  char text[128];
  return Error{.code = code_of(err), .message = std::string(what) + ": " + strerror_r(err, text, sizeof text), .sys_errno = err};
}

}  // namespace fairway
