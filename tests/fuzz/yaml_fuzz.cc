// Bodies of requests, and the CLI's manifests, as YAML: within the limits, and what is read can be printed and read again.
// fuzz-deps: fw_apiserver
#include <cstddef>
#include <cstdint>

#include "apiserver/body_reader.h"

using namespace fairway::apiserver;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto body = read_yaml({reinterpret_cast<const char*>(data), size});
  if (body.ok() && to_text(body->value).empty()) __builtin_trap();
  return 0;
}
