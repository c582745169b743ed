#include "k8s/status_code.h"

namespace fairway::k8s {

Code code_of_status(int http, std::string_view reason) {
  switch (http) {
    case 400:
    case 422:
      return Code::kInvalid;
    case 401:
      return Code::kUnauthorized;
    case 403:
      return Code::kForbidden;
    case 404:
      return Code::kNotFound;
    case 405:
    case 406:
    case 415:
    case 501:
      return Code::kUnsupported;
    case 409:
      return reason == "AlreadyExists" ? Code::kAlreadyExists : Code::kConflict;
    case 410:
      return Code::kGone;
    case 408:
    case 504:
      return Code::kTimeout;
    case 413:
      return Code::kExhausted;
    case 429:
    case 502:
    case 503:
      return Code::kUnavailable;
    default:
      return reason == "Expired" ? Code::kGone : Code::kInternal;
  }
}

}  // namespace fairway::k8s
