#include "dns/socket_address.h"

#include <arpa/inet.h>

#include <cstring>

namespace fairway::dns {

RawAddr to_raw(const net::SocketAddr& addr) {
  RawAddr out;
  if (addr.addr.is_v4()) {
    sockaddr_in in{.sin_family = AF_INET, .sin_port = htons(addr.port), .sin_addr = {htonl(addr.addr.v4_host_order())}, .sin_zero = {}};
    std::memcpy(&out.storage, &in, sizeof in);
    out.size = sizeof in;
  } else {
    sockaddr_in6 in{};
    in.sin6_family = AF_INET6;
    in.sin6_port = htons(addr.port);
    std::memcpy(&in.sin6_addr, addr.addr.bytes().data(), 16);
    std::memcpy(&out.storage, &in, sizeof in);
    out.size = sizeof in;
  }
  return out;
}

net::SocketAddr from_raw(const sockaddr_storage& storage) {
  if (storage.ss_family == AF_INET) {
    sockaddr_in in;
    std::memcpy(&in, &storage, sizeof in);
    return {net::IpAddr::v4(ntohl(in.sin_addr.s_addr)), ntohs(in.sin_port)};
  }
  sockaddr_in6 in;
  std::memcpy(&in, &storage, sizeof in);
  return {net::IpAddr::from_bytes(std::span<const std::uint8_t, 16>(in.sin6_addr.s6_addr, 16)), ntohs(in.sin6_port)};
}

}  // namespace fairway::dns
