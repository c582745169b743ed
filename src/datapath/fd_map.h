// FdMap<K, V>: the kernel's map behind a file descriptor.
#pragma once

#include <cstring>

#include "datapath/map.h"
#include "datapath/raw_map.h"

namespace fairway::datapath {

template <AbiType K, AbiType V>
class FdMap final : public Map<K, V> {
 public:
  using Row = typename Map<K, V>::Row;

  // kInvalid where the kernel's map has other sizes than K and V.
  static Result<FdMap> from_fd(sys::Fd fd) {
    FW_ASSIGN(RawMap raw, RawMap::from_fd(std::move(fd)));
    if (raw.key_size() != sizeof(K) || raw.value_size() != sizeof(V))
      return make_error(Code::kInvalid, "map " + raw.name() + ": its rows have other sizes than this program's");
    return FdMap(std::move(raw));
  }
  FdMap(FdMap&& other) noexcept : raw_(std::move(other.raw_)) {}
  // Another map of the same layout takes its place: who holds a reference to this goes on with that.
  Status rebind(sys::Fd fd) {
    FW_ASSIGN(FdMap fresh, from_fd(std::move(fd)));
    raw_ = std::move(fresh.raw_);
    return {};
  }

  std::string_view name() const override { return raw_.name(); }
  std::size_t capacity() const override { return raw_.capacity(); }
  Status update(const K& key, const V& value) override { return raw_.update(&key, &value); }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override {
    if (keys.size() != values.size()) return make_error(Code::kInternal, "update_batch: keys and values differ in number");
    return raw_.update_batch(keys.data(), values.data(), keys.size());
  }
  Result<V> lookup(const K& key) const override {
    V value{};
    FW_TRY(raw_.lookup(&key, &value));
    return value;
  }
  Status remove(const K& key) override { return raw_.remove(&key); }
  Status remove_batch(std::span<const K> keys) override { return raw_.remove_batch(keys.data(), keys.size()); }
  Result<std::vector<Row>> dump() const override {
    std::vector<Row> rows;
    FW_TRY(raw_.dump([&](const void* key, const void* value) {
      Row& row = rows.emplace_back();
      std::memcpy(&row.first, key, sizeof(K));
      std::memcpy(&row.second, value, sizeof(V));
    }));
    return rows;
  }

 private:
  explicit FdMap(RawMap raw) : raw_(std::move(raw)) {}
  RawMap raw_;
};

}  // namespace fairway::datapath
