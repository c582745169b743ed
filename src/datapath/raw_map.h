// The bpf(2) calls on one map, by sizes and not by types: what FdMap<K, V> stands on.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::datapath {

class RawMap {
 public:
  // Takes the map's sizes and type from the kernel.
  static Result<RawMap> from_fd(sys::Fd fd);

  const std::string& name() const { return name_; }
  std::size_t capacity() const { return capacity_; }
  std::uint32_t type() const { return type_; }
  std::size_t key_size() const { return key_size_; }
  std::size_t value_size() const { return value_size_; }  // of one CPU
  int fd() const { return fd_.get(); }

  Status update(const void* key, const void* value);
  Status update_batch(const void* keys, const void* values, std::size_t count);
  Status lookup(const void* key, void* value) const;
  Status remove(const void* key);
  Status remove_batch(const void* keys, std::size_t count);
  using Visit = std::function<void(const void* key, const void* value)>;
  Status dump(const Visit& visit) const;

 private:
  RawMap() = default;
  bool is_array() const;
  Status dump_by_key(const Visit& visit) const;
  Error failed(int err, const char* what) const;

  sys::Fd fd_;
  std::string name_;
  std::uint32_t type_ = 0;
  std::size_t capacity_ = 0, key_size_ = 0, value_size_ = 0;
};

}  // namespace fairway::datapath
