// YAML 1.1's merge keys, "<<: *anchor", as go.yaml.in/yaml/v2 knows them, with which Kubernetes reads: a plain "<<", not a quoted one.
#pragma once

#include <yaml-cpp/yaml.h>

namespace fairway::apiserver {

inline bool is_merge_key(const YAML::Node& key) {
  return key.IsScalar() && key.Scalar() == "<<" && (key.Tag() == "?" || key.Tag() == "tag:yaml.org,2002:merge");
}

}  // namespace fairway::apiserver
