#include "k8s/token_file.h"

#include "sys/file.h"

namespace fairway::k8s {
namespace {

constexpr std::chrono::seconds kAge{60};
constexpr std::size_t kMaxBytes = 64 << 10;

}  // namespace

void TokenFile::authorize(io::HttpRequest& request, TimePoint now) {
  if (path_.empty()) return;
  if (!read_ || now - *read_ >= kAge) {
    // One that cannot be read leaves the old token: where that has ended, the server says so.
    if (auto text = sys::read_file(path_, kMaxBytes); text.ok()) {
      token_ = text->substr(0, text->find_last_not_of(" \r\n") + 1);
      read_ = now;
    }
  }
  if (!token_.empty()) request.headers.set("Authorization", "Bearer " + token_);
}

}  // namespace fairway::k8s
