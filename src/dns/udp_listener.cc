#include <sys/socket.h>

#include <array>
#include <cerrno>
#include <cstring>

#include "dns/listeners.h"

namespace fairway::dns {

namespace {

constexpr unsigned kBatch = 16;
constexpr unsigned kBatchesPerWake = 8;  // then others of the loop have their turn
constexpr std::size_t kControlBytes = CMSG_SPACE(sizeof(in6_pktinfo)) + CMSG_SPACE(sizeof(in_pktinfo));

struct Batch {
  std::array<std::array<std::uint8_t, kMaxQueryBytes + 1>, kBatch> data;  // one more, so that too long is seen
  std::array<sockaddr_storage, kBatch> from;
  alignas(cmsghdr) std::array<std::array<char, kControlBytes>, kBatch> control;
  std::array<iovec, kBatch> iov;
  std::array<mmsghdr, kBatch> headers;

  void reset() {
    for (unsigned i = 0; i < kBatch; ++i) {
      iov[i] = {data[i].data(), data[i].size()};
      headers[i] = {};
      headers[i].msg_hdr = {.msg_name = &from[i],
                            .msg_namelen = sizeof from[i],
                            .msg_iov = &iov[i],
                            .msg_iovlen = 1,
                            .msg_control = control[i].data(),
                            .msg_controllen = control[i].size(),
                            .msg_flags = 0};
    }
  }
};

}  // namespace

void UdpListener::on_ready(std::uint32_t) {
  static thread_local Batch batch;
  for (unsigned round = 0; round < kBatchesPerWake; ++round) {
    batch.reset();
    int n = recvmmsg(fd_.get(), batch.headers.data(), kBatch, MSG_DONTWAIT, nullptr);
    if (n <= 0) return;
    for (unsigned i = 0; i < static_cast<unsigned>(n); ++i) {
      msghdr& header = batch.headers[i].msg_hdr;
      Peer peer;
      peer.from.storage = batch.from[i];
      peer.from.size = header.msg_namelen;
      for (cmsghdr* c = CMSG_FIRSTHDR(&header); c != nullptr; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == IPPROTO_IP && c->cmsg_type == IP_PKTINFO) {
          std::memcpy(&peer.to4, CMSG_DATA(c), sizeof peer.to4);
          peer.has4 = true;
        } else if (c->cmsg_level == IPPROTO_IPV6 && c->cmsg_type == IPV6_PKTINFO) {
          std::memcpy(&peer.to6, CMSG_DATA(c), sizeof peer.to6);
          peer.has6 = true;
        }
      }
      if (from_raw(peer.from.storage).port == 0) continue;
      sink_.query(Bytes(batch.data[i].data(), batch.headers[i].msg_len), Resolver::Via::kUdp,
                  [self = weak_from_this(), peer](std::vector<std::uint8_t> message) {
                    if (auto listener = self.lock()) listener->answer(peer, message);
                  });
    }
    if (static_cast<unsigned>(n) < kBatch) return;
  }
}

void UdpListener::answer(const Peer& peer, Bytes message) {
  alignas(cmsghdr) char control[kControlBytes] = {};
  iovec iov{const_cast<std::uint8_t*>(message.data()), message.size()};
  RawAddr to = peer.from;
  msghdr header{.msg_name = &to.storage,
                .msg_namelen = to.size,
                .msg_iov = &iov,
                .msg_iovlen = 1,
                .msg_control = nullptr,
                .msg_controllen = 0,
                .msg_flags = 0};
  auto attach = [&](int level, int type, const void* data, std::size_t size) {
    header.msg_control = control;
    header.msg_controllen = CMSG_SPACE(size);
    cmsghdr* c = CMSG_FIRSTHDR(&header);
    c->cmsg_level = level;
    c->cmsg_type = type;
    c->cmsg_len = CMSG_LEN(size);
    std::memcpy(CMSG_DATA(c), data, size);
  };
  if (peer.has4) {
    in_pktinfo info{.ipi_ifindex = 0, .ipi_spec_dst = peer.to4.ipi_addr, .ipi_addr = {}};
    attach(IPPROTO_IP, IP_PKTINFO, &info, sizeof info);
  } else if (peer.has6) {
    in6_pktinfo info = peer.to6;
    if (!IN6_IS_ADDR_LINKLOCAL(&info.ipi6_addr)) info.ipi6_ifindex = 0;
    attach(IPPROTO_IPV6, IPV6_PKTINFO, &info, sizeof info);
  }
  // A full buffer loses the answer, as a full queue anywhere on the way would: the client asks again.
  (void)sendmsg(fd_.get(), &header, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace fairway::dns
