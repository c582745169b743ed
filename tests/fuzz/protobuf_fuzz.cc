// Kubernetes' protobuf bodies, as every built-in kind in turn.
// fuzz-deps: fw_apiserver
#include <cstddef>
#include <cstdint>

#include "apiserver/kinds.h"
#include "apiserver/protobuf.h"

using namespace fairway::apiserver;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  static const KindTable kKinds;
  for (const KindPtr& kind : kKinds.all()) {
    auto value = read_protobuf(*kind->message, {reinterpret_cast<const char*>(data), size});
    if (value.ok() && !value->is_object()) __builtin_trap();
  }
  return 0;
}
