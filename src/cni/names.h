// Which names the CNI specification and Linux allow. Plain C++ without allocation: the plugin includes it too.
#pragma once

#include <cstddef>
#include <string_view>

namespace fairway::cni {

inline constexpr std::size_t kMaxIdBytes = 256;
inline constexpr std::size_t kMaxIfnameBytes = 15;  // IFNAMSIZ - 1

inline bool is_id_start(char c) { return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z'); }

// Container ids and network names: [A-Za-z0-9][A-Za-z0-9_.-]*
inline bool is_valid_id(std::string_view text) {
  if (text.empty() || text.size() > kMaxIdBytes || !is_id_start(text.front())) return false;
  for (const char c : text)
    if (!is_id_start(c) && c != '_' && c != '.' && c != '-') return false;
  return true;
}

// dev_valid_name() of the kernel, and printable ASCII alone.
inline bool is_valid_ifname(std::string_view text) {
  if (text.empty() || text.size() > kMaxIfnameBytes || text == "." || text == "..") return false;
  for (const char c : text)
    if (c <= ' ' || c >= 0x7f || c == '/' || c == ':') return false;
  return true;
}

}  // namespace fairway::cni
