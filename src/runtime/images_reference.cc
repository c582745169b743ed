#include <algorithm>

#include "runtime/images.h"

namespace fairway::runtime {

std::string ImageReference::name() const {
  return registry + "/" + repository + (tag.empty() ? "" : ":" + tag) + (digest.empty() ? "" : "@" + digest);
}

static bool valid_path(const std::string& text) {
  return !text.empty() && text.front() != '/' && text.back() != '/' && text.find("//") == std::string::npos &&
         text.find("..") == std::string::npos && std::all_of(text.begin(), text.end(), [](unsigned char c) {
           return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '.' || c == '_' || c == '-' || c == '/';
         });
}

static bool valid_word(const std::string& text, std::string_view extra) {
  return !text.empty() && text.size() <= 140 && std::all_of(text.begin(), text.end(), [&](unsigned char c) {
    return std::isalnum(c) || extra.find(static_cast<char>(c)) != extra.npos;
  });
}

// https://github.com/distribution/reference: the first part is a registry if it has a dot, a colon, or is localhost.
Result<ImageReference> parse_image_reference(const std::string& text) {
  const auto refuse = [&] {
    return make_error(Code::kInvalid, "couldn't parse image name \"" + text.substr(0, 256) + "\": invalid reference format");
  };
  if (text.empty() || text.size() > 512) return refuse();
  ImageReference ref;
  std::string rest = text;
  if (const auto at = rest.find('@'); at != std::string::npos) {
    ref.digest = rest.substr(at + 1);
    rest.resize(at);
    if (ref.digest.size() != 71 || ref.digest.compare(0, 7, "sha256:") != 0 || !valid_word(ref.digest.substr(7), "")) return refuse();
  }
  const auto slash = rest.find('/');
  const std::string first = rest.substr(0, slash == std::string::npos ? 0 : slash);
  if (!first.empty() && (first.find_first_of(".:") != std::string::npos || first == "localhost")) {
    ref.registry = first;
    rest = rest.substr(slash + 1);
    if (!valid_word(ref.registry, ".:-")) return refuse();
  } else {
    ref.registry = "docker.io";
  }
  if (const auto colon = rest.rfind(':'); colon != std::string::npos) {
    ref.tag = rest.substr(colon + 1);
    rest.resize(colon);
    if (!valid_word(ref.tag, "._-")) return refuse();
  }
  if (ref.registry == "docker.io" && rest.find('/') == std::string::npos) rest = "library/" + rest;
  if (!valid_path(rest)) return refuse();
  ref.repository = rest;
  if (ref.tag.empty() && ref.digest.empty()) ref.tag = "latest";
  return ref;
}

}  // namespace fairway::runtime
