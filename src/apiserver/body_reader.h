// Bodies from outside to JSON trees: JSON, YAML, and Kubernetes protobuf (protobuf.h). Limits hold while parsing;
// duplicate keys are found, as Boost.JSON and yaml-cpp would drop them in silence.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/json_util.h"

namespace fairway::apiserver {

inline constexpr std::size_t kMaxDepth = 128;
inline constexpr std::size_t kMaxYamlNodes = 200'000;  // aliases count each time they are used

struct Body {
  Json value;
  std::vector<std::string> duplicates;  // duplicate field "spec.bar"
};

ApiResult<Body> read_json(std::string_view text);
ApiResult<Body> read_yaml(std::string_view text);

}  // namespace fairway::apiserver
