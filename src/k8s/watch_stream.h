// WatchStream: the bytes of a watch, in any cut, as events. Splits lines in place, decodes each, bounds their size.
//
// Place: HttpClient's stream -> [WatchStream] -> ListWatch. No copy but the one into its buffer.
#pragma once

#include <functional>
#include <string>
#include <string_view>

#include "base/result.h"
#include "k8s/decode.h"

namespace fairway::k8s {

class WatchStream {
 public:
  // An object is at most 1.5 MiB in etcd; with the envelope and escapes this is ample.
  static constexpr std::size_t kMaxLineBytes = 8 << 20;

  // `on_event` may read decoder.object() during the call.
  WatchStream(Decoder& decoder, std::function<void(const WatchEvent&)> on_event) : decoder_(decoder), on_event_(std::move(on_event)) {}

  // An error ends the stream: what was cut off cannot be told from what is wrong.
  Status feed(std::string_view data);

 private:
  Decoder& decoder_;
  std::function<void(const WatchEvent&)> on_event_;
  std::string buffer_;
  std::size_t scanned_ = 0;  // no line ends before this
};

}  // namespace fairway::k8s
