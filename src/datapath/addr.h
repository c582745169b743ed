// Between net/ip.h and bpf/abi/types.h: the same 16 bytes.
#pragma once

#include <cstring>

#include "abi/types.h"
#include "net/ip.h"

namespace fairway::datapath {

inline fw_addr to_abi(const net::IpAddr& addr) {
  fw_addr out{};
  std::memcpy(out.bytes, addr.bytes().data(), sizeof(out.bytes));
  return out;
}

inline net::IpAddr from_abi(const fw_addr& addr) { return net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(addr.bytes)); }

// A prefix length as the maps count it: within 128 bits (an IPv4 /16 is 112).
inline std::uint8_t abi_length(const net::Prefix& prefix) {
  return static_cast<std::uint8_t>(prefix.length() + (prefix.family() == net::Family::kV4 ? 96 : 0));
}

}  // namespace fairway::datapath
