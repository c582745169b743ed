// Decoder: bytes of the Kubernetes API -> slim objects, by simdjson's on-demand parser: only the fields of objects.h
// are looked at, the rest is skipped without being built.
//
// Place: watch stream -> [decode] -> reflect. Input is hostile until proven otherwise: sizes are bounded by the caller,
// broken JSON is an error, a wrong type marks the object bad (SlimObject::bad_field) and the stream goes on.
// One decoder belongs to one stream; views in the object it hands out live until its next call.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "base/result.h"
#include "k8s/objects.h"

namespace fairway::k8s {

enum class WatchType { kAdded, kModified, kDeleted, kBookmark, kError };

struct WatchEvent {
  WatchType type = WatchType::kBookmark;
  std::string_view resource_version;  // the object's own, as text: where to go on from
  int error_code = 0;                 // kError: the Status's code and message
  std::string_view error_message;
};

struct ListMeta {
  std::string resource_version;
  std::string continue_token;
};

class Decoder {
 public:
  // Bytes that must be readable behind any text handed in; what they hold does not matter.
  static constexpr std::size_t kPadding = 64;

  explicit Decoder(Kind kind);
  ~Decoder();
  Decoder(const Decoder&) = delete;
  Decoder& operator=(const Decoder&) = delete;

  // One line of a watch.
  Result<WatchEvent> decode_event(std::string_view line);
  // A page of a list. `each` is called for every item, in order; object() is that item.
  Result<ListMeta> decode_list(std::string_view page, const std::function<void()>& each);
  // A single object.
  Status decode_object(std::string_view text);

  const SlimObject& object() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace fairway::k8s
