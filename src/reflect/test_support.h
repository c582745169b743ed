// For tests: an object of the API, as JSON, into a Cluster.
#pragma once

#include <gtest/gtest.h>

#include <string>

#include "k8s/decode.h"
#include "reflect/cluster.h"

namespace fairway::reflect {

inline void feed(Cluster& cluster, k8s::Kind kind, std::string json, bool gone) {
  k8s::Decoder decoder(kind);
  json.reserve(json.size() + k8s::Decoder::kPadding);
  ASSERT_TRUE(decoder.decode_object(json).ok()) << json;
  if (gone) cluster.remove(decoder.object());
  else cluster.put(decoder.object());
}

}  // namespace fairway::reflect
