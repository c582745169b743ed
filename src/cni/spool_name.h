// The name under which the plugin keeps a DEL while no agent answers, and under which the agent finds it.
// Plain C++ without allocation: the plugin includes it too.
#pragma once

#include <cstdint>
#include <string_view>

namespace fairway::cni {

inline constexpr char kSpoolSuffix[] = ".del";
inline constexpr unsigned kSpoolNameBytes = 21;  // 16 hex digits, suffix, NUL

inline void spool_name(std::string_view container_id, std::string_view ifname, char (&out)[kSpoolNameBytes]) {
  std::uint64_t hash = 0xcbf29ce484222325ULL;  // FNV-1a
  const auto add = [&hash](std::string_view text) {
    for (const char c : text) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3ULL;
    hash = (hash ^ 0xff) * 0x100000001b3ULL;
  };
  add(container_id);
  add(ifname);
  for (unsigned i = 0; i < 16; ++i) out[i] = "0123456789abcdef"[(hash >> (60 - 4 * i)) & 15];
  for (unsigned i = 0; i < sizeof kSpoolSuffix; ++i) out[16 + i] = kSpoolSuffix[i];
}

}  // namespace fairway::cni
