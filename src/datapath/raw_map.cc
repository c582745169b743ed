#include "datapath/raw_map.h"

#include <bpf/bpf.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <vector>

namespace fairway::datapath {
namespace {

constexpr std::uint32_t kBatch = 4096;

bool is_percpu(std::uint32_t type) {
  return type == BPF_MAP_TYPE_PERCPU_ARRAY || type == BPF_MAP_TYPE_PERCPU_HASH || type == BPF_MAP_TYPE_LRU_PERCPU_HASH;
}

bool all_zero(const std::byte* bytes, std::size_t size) {
  return std::all_of(bytes, bytes + size, [](std::byte b) { return b == std::byte{0}; });
}

}  // namespace

Result<RawMap> RawMap::from_fd(sys::Fd fd) {
  bpf_map_info info{};
  __u32 size = sizeof(info);
  if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) < 0) return errno_error(errno, "read a BPF map's description");
  RawMap map;
  map.fd_ = std::move(fd);
  map.name_ = info.name;
  map.type_ = info.type;
  map.capacity_ = info.max_entries;
  map.key_size_ = info.key_size;
  map.value_size_ = info.value_size;
  return map;
}

Error RawMap::failed(int err, const char* what) const {
  Error error = errno_error(err, "map " + name_ + ": " + what);
  if (err == E2BIG || err == ENOSPC || err == ENOMEM) {
    error.code = Code::kExhausted;
    if (err == E2BIG) error.message = "map " + name_ + ": " + what + ": full at " + std::to_string(capacity_) + " rows";
  }
  return error;
}

bool RawMap::is_array() const { return type_ == BPF_MAP_TYPE_ARRAY || type_ == BPF_MAP_TYPE_PERCPU_ARRAY; }

Status RawMap::update(const void* key, const void* value) {
  if (bpf_map_update_elem(fd_.get(), key, value, BPF_ANY) < 0) return failed(errno, "update");
  return {};
}

Status RawMap::update_batch(const void* keys, const void* values, std::size_t count) {
  const auto* key = static_cast<const std::byte*>(keys);
  const auto* value = static_cast<const std::byte*>(values);
  while (count > 0) {
    auto done = static_cast<__u32>(std::min<std::size_t>(count, 1u << 16));
    LIBBPF_OPTS(bpf_map_batch_opts, opts);
    if (bpf_map_update_batch(fd_.get(), key, value, &done, &opts) < 0) return failed(errno, "update_batch");
    key += done * key_size_;
    value += done * value_size_;
    count -= done;
  }
  return {};
}

Status RawMap::lookup(const void* key, void* value) const {
  if (is_percpu(type_)) return make_error(Code::kInternal, "map " + name_ + ": is per CPU");
  if (bpf_map_lookup_elem(fd_.get(), key, value) < 0) return failed(errno, "lookup");
  return {};
}

Status RawMap::remove(const void* key) {
  if (is_array()) {
    const std::vector<std::byte> zeros(value_size_);
    return update(key, zeros.data());
  }
  if (bpf_map_delete_elem(fd_.get(), key) < 0 && errno != ENOENT) return failed(errno, "remove");
  return {};
}

// One call per row: the kernel's batch stops at the first key that is missing.
Status RawMap::remove_batch(const void* keys, std::size_t count) {
  const auto* key = static_cast<const std::byte*>(keys);
  for (std::size_t i = 0; i < count; ++i) FW_TRY(remove(key + i * key_size_));
  return {};
}

Status RawMap::dump(const Visit& visit) const {
  if (is_percpu(type_)) return make_error(Code::kInternal, "map " + name_ + ": is per CPU");
  std::vector<std::byte> keys(kBatch * key_size_), values(kBatch * value_size_);
  std::vector<std::byte> token(std::max<std::size_t>(key_size_, 8));
  bool first = true;
  for (;;) {
    __u32 count = kBatch;
    LIBBPF_OPTS(bpf_map_batch_opts, opts);
    const int rc = bpf_map_lookup_batch(fd_.get(), first ? nullptr : token.data(), token.data(), keys.data(), values.data(), &count, &opts);
    const int err = rc < 0 ? errno : 0;
    if (err == ENOSPC || err == EINVAL || err == EOPNOTSUPP) return dump_by_key(visit);  // a bucket longer than the batch
    if (err != 0 && err != ENOENT) return failed(err, "dump");
    for (__u32 i = 0; i < count; ++i) {
      const std::byte* value = values.data() + i * value_size_;
      if (!is_array() || !all_zero(value, value_size_)) visit(keys.data() + i * key_size_, value);
    }
    if (err == ENOENT) return {};
    first = false;
  }
}

Status RawMap::dump_by_key(const Visit& visit) const {
  std::vector<std::byte> key(key_size_), next(key_size_), value(value_size_);
  bool first = true;
  while (bpf_map_get_next_key(fd_.get(), first ? nullptr : key.data(), next.data()) == 0) {
    first = false;
    key = next;
    if (bpf_map_lookup_elem(fd_.get(), key.data(), value.data()) == 0 && (!is_array() || !all_zero(value.data(), value_size_)))
      visit(key.data(), value.data());
  }
  return errno == ENOENT ? Status{} : Status(failed(errno, "dump"));
}

}  // namespace fairway::datapath
