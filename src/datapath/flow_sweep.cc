#include "datapath/flow_sweep.h"

#include <bpf/bpf.h>
#include <netinet/in.h>
#include <time.h>

#include <algorithm>
#include <cerrno>

#include "abi/timeouts.h"

namespace fairway::datapath {
namespace {

std::uint32_t now_s() {
  timespec now{};
  ::clock_gettime(CLOCK_MONOTONIC, &now);
  return static_cast<std::uint32_t>(now.tv_sec);
}

std::uint32_t timeout_s(const fw_flow_key& key, const fw_flow& row) { return fw_flow_timeout_s(key.protocol, row.flags); }
std::uint32_t timeout_s(const fw_track_key& key, const fw_track& row) { return fw_track_timeout_s(key.protocol, row.flags); }

template <typename Key, typename Row>
bool expired(const Key& key, const Row& row, std::uint32_t now) {
  const auto age = static_cast<std::int32_t>(now - row.last_seen_s);  // a packet may have come since `now` was read
  return age > 0 && static_cast<std::uint32_t>(age) > timeout_s(key, row);
}

}  // namespace

template <typename Key, typename Row>
Result<std::size_t> Sweep<Key, Row>::run(std::size_t budget) {
  constexpr std::uint32_t kBatch = 512;  // more than any bucket is long
  std::vector<Key> keys(kBatch);
  std::vector<Row> rows(kBatch);
  const std::uint32_t now = now_s();
  std::size_t removed = 0;
  for (std::size_t looked = 0; looked < budget;) {
    __u32 count = kBatch;
    LIBBPF_OPTS(bpf_map_batch_opts, opts);
    const int rc = bpf_map_lookup_batch(map_.get(), at_start_ ? nullptr : &token_, &token_, keys.data(), rows.data(), &count, &opts);
    const int err = rc < 0 ? errno : 0;
    if (err != 0 && err != ENOENT) {
      at_start_ = true;
      return errno_error(err, "sweep a table of flows");
    }
    for (__u32 i = 0; i < count; ++i)
      if (expired(keys[i], rows[i], now) && bpf_map_delete_elem(map_.get(), &keys[i]) == 0) ++removed;
    looked += std::max<std::size_t>(count, 1);
    at_start_ = err == ENOENT;
    if (at_start_) break;
  }
  return removed;
}

template class Sweep<fw_flow_key, fw_flow>;
template class Sweep<fw_track_key, fw_track>;

}  // namespace fairway::datapath
