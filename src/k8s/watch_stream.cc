#include "k8s/watch_stream.h"

namespace fairway::k8s {

Status WatchStream::feed(std::string_view data) {
  if (buffer_.size() + data.size() > kMaxLineBytes + (1 << 20)) return make_error(Code::kInvalid, "a watch event is larger than 8 MiB");
  const std::size_t needed = buffer_.size() + data.size() + Decoder::kPadding;
  if (buffer_.capacity() < needed) buffer_.reserve(std::max(needed, buffer_.capacity() * 2));
  buffer_.append(data);
  std::size_t begin = 0;
  for (;;) {
    const std::size_t end = buffer_.find('\n', scanned_);
    if (end == std::string::npos) break;
    scanned_ = end + 1;
    const std::string_view line(buffer_.data() + begin, end - begin);
    begin = end + 1;
    if (line.empty() || line == "\r") continue;
    FW_ASSIGN(const WatchEvent event, decoder_.decode_event(line));
    on_event_(event);
  }
  buffer_.erase(0, begin);
  scanned_ = buffer_.size();
  if (buffer_.empty() && buffer_.capacity() > (256 << 10)) buffer_ = {};  // a large object's room is given back
  return {};
}

}  // namespace fairway::k8s
