// Bodies of requests as JSON: what is read must survive decoding, defaults, validation and printing.
// fuzz-deps: fw_apiserver
#include <cstddef>
#include <cstdint>

#include "apiserver/body_reader.h"
#include "apiserver/kinds.h"
#include "apiserver/patch.h"
#include "apiserver/schema_check.h"

using namespace fairway::apiserver;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  auto body = read_json({reinterpret_cast<const char*>(data), size});
  if (!body.ok() || !body->value.is_object()) return 0;
  static const KindTable kKinds;
  for (const KindPtr& kind : kKinds.all()) {
    Json object = body->value;
    Decoding decoding;
    decode(*kind->message, object.get_object(), decoding);
    if (decoding.type_error) continue;
    apply_defaults(*kind->message, object.get_object());
    if (kind->defaults != nullptr) kind->defaults(object.get_object());
    FieldErrors errors;
    validate(*kind->message, object.get_object(), "", errors);
    bool complete = true;
    for (const Cause& cause : errors.causes()) complete &= cause.reason != "FieldValueRequired";
    if (kind->validate != nullptr && complete) kind->validate(object.get_object(), nullptr, errors);
    (void)strategic_patch(*kind->message, object, body->value);
    Json merged = object;
    merge_patch(merged, body->value);
    if (to_text(merged).empty()) __builtin_trap();
  }
  return 0;
}
