#include "k8s/token_file.h"

#include <algorithm>
#include <string_view>

#include "sys/file.h"

namespace fairway::k8s {
namespace {

constexpr std::chrono::seconds kAge{60};
constexpr std::size_t kMaxBytes = 64 << 10;

// What a header may carry.
bool is_token(std::string_view text) {
  return !text.empty() && std::all_of(text.begin(), text.end(), [](unsigned char c) { return c > 0x20 && c < 0x7f; });
}

}  // namespace

void TokenFile::authorize(io::HttpRequest& request, TimePoint now) {
  if (path_.empty()) return;
  if (!read_ || now - *read_ >= kAge) {
    // One that cannot be read, or holds none, leaves the old token: where that has ended, the server says so.
    if (auto text = sys::read_file(path_, kMaxBytes); text.ok()) {
      text->erase(text->find_last_not_of(" \t\r\n") + 1);
      if (is_token(*text)) {
        token_ = std::move(*text);
        read_ = now;
      }
    }
  }
  if (!token_.empty()) request.headers.set("Authorization", "Bearer " + token_);
}

}  // namespace fairway::k8s
