#include "datapath/flow_sweep.h"

#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <time.h>

#include "abi/timeouts.h"

namespace fairway::datapath {
namespace {

TEST(FlowSweep, TimeoutsFollowTheState) {
  EXPECT_EQ(fw_flow_timeout_s(IPPROTO_TCP, 0), FW_TIMEOUT_TCP_NEW_S);
  EXPECT_EQ(fw_flow_timeout_s(IPPROTO_TCP, FW_FLOW_REPLIED), FW_TIMEOUT_TCP_S);
  EXPECT_EQ(fw_flow_timeout_s(IPPROTO_TCP, FW_FLOW_REPLIED | FW_FLOW_FIN), FW_TIMEOUT_TCP_CLOSING_S);
  EXPECT_EQ(fw_flow_timeout_s(IPPROTO_UDP, FW_FLOW_REPLIED), FW_TIMEOUT_UDP_S);
  EXPECT_EQ(fw_flow_timeout_s(IPPROTO_ICMP, 0), FW_TIMEOUT_ICMP_S);
}

TEST(TrackSweep, TimeoutsFollowTheState) {
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_TCP, 0), FW_TIMEOUT_TCP_NEW_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_TCP, FW_TRACK_REPLIED), FW_TIMEOUT_TCP_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_TCP, FW_TRACK_REPLIED | FW_TRACK_LOW_FIN), FW_TIMEOUT_TCP_S) << "half-closed, and quiet";
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_TCP, FW_TRACK_REPLIED | FW_TRACK_LOW_FIN | FW_TRACK_HIGH_FIN), FW_TIMEOUT_TCP_CLOSING_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_TCP, FW_TRACK_RST), FW_TIMEOUT_TCP_CLOSING_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_UDP, FW_TRACK_REPLIED), FW_TIMEOUT_UDP_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_SCTP, FW_TRACK_REPLIED), FW_TIMEOUT_SCTP_S);
  EXPECT_EQ(fw_track_timeout_s(IPPROTO_ICMPV6, FW_TRACK_REPLIED), FW_TIMEOUT_ICMP_S);
}

TEST(FlowSweep, RemovesWhatHasExpiredAPartAtATime) {
  LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
  sys::Fd fd(bpf_map_create(BPF_MAP_TYPE_HASH, "flows", sizeof(fw_flow_key), sizeof(fw_flow), 8192, &opts));
  if (!fd) GTEST_SKIP() << "needs root: BPF maps";
  const int map = fd.get();
  timespec clock{};
  ::clock_gettime(CLOCK_MONOTONIC, &clock);
  const auto now = static_cast<__u32>(clock.tv_sec);
  for (std::uint32_t i = 0; i < 4000; ++i) {
    fw_flow_key key{};
    key.saddr.words[3] = i;
    key.protocol = IPPROTO_UDP;
    fw_flow row{};
    row.flags = FW_FLOW_REPLIED | FW_FLOW_ESTABLISHED;
    row.last_seen_s = i % 4 == 0 ? now : now - FW_TIMEOUT_UDP_S - 10;
    ASSERT_EQ(bpf_map_update_elem(map, &key, &row, BPF_ANY), 0);
  }
  FlowSweep sweep(std::move(fd));
  std::size_t removed = 0, runs = 0;
  while (removed < 3000 && runs < 100) {
    const auto n = sweep.run(1000);
    ASSERT_TRUE(n.ok()) << n.error().message;
    removed += *n;
    ++runs;
  }
  EXPECT_EQ(removed, 3000u) << "the fresh quarter stays";
  EXPECT_GT(runs, 1u) << "in parts";
  EXPECT_EQ(*sweep.run(10000), 0u);
}

}  // namespace
}  // namespace fairway::datapath
