// MemoryMap<K, V>: a map in this process's memory, with the kernel map's manners (capacity, zero rows of an array).
#pragma once

#include <cstring>
#include <map>

#include "datapath/map.h"

namespace fairway::datapath {

enum class MapKind { kHash, kArray };

template <AbiType K, AbiType V>
class MemoryMap final : public Map<K, V> {
 public:
  using Row = typename Map<K, V>::Row;

  explicit MemoryMap(std::string name, std::size_t capacity = 1 << 20, MapKind kind = MapKind::kHash)
      : name_(std::move(name)), capacity_(capacity), kind_(kind) {}

  std::string_view name() const override { return name_; }
  std::size_t capacity() const override { return capacity_; }
  std::size_t size() const { return rows_.size(); }
  std::size_t writes() const { return writes_; }  // rows written or removed so far: work proportional to the change

  Status update(const K& key, const V& value) override {
    ++writes_;
    if (auto it = rows_.find(key); it != rows_.end()) {
      it->second = value;
      return {};
    }
    if (kind_ == MapKind::kArray ? !array_index_fits(key) : rows_.size() >= capacity_)
      return make_error(Code::kExhausted, "map " + name_ + ": full at " + std::to_string(capacity_) + " rows");
    rows_.emplace(key, value);
    return {};
  }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override {
    if (keys.size() != values.size()) return make_error(Code::kInternal, "update_batch: keys and values differ in number");
    for (std::size_t i = 0; i < keys.size(); ++i) FW_TRY(update(keys[i], values[i]));
    return {};
  }
  Result<V> lookup(const K& key) const override {
    if (auto it = rows_.find(key); it != rows_.end()) return it->second;
    if (kind_ == MapKind::kArray && array_index_fits(key)) return V{};
    return make_error(Code::kNotFound, "map " + name_ + ": no such row");
  }
  Status remove(const K& key) override {
    ++writes_;
    rows_.erase(key);
    return {};
  }
  Status remove_batch(std::span<const K> keys) override {
    for (const K& key : keys) FW_TRY(remove(key));
    return {};
  }
  Result<std::vector<Row>> dump() const override {
    std::vector<Row> rows;
    for (const auto& [key, value] : rows_)
      if (kind_ == MapKind::kHash || !is_zero(value)) rows.emplace_back(key, value);
    return rows;
  }

 private:
  struct BytesLess {
    bool operator()(const K& a, const K& b) const { return std::memcmp(&a, &b, sizeof(K)) < 0; }
  };
  bool array_index_fits(const K& key) const {
    std::uint32_t index = 0;
    std::memcpy(&index, &key, std::min(sizeof(index), sizeof(K)));
    return index < capacity_;
  }
  static bool is_zero(const V& value) {
    const V zero{};
    return std::memcmp(&value, &zero, sizeof(V)) == 0;
  }

  std::string name_;
  std::size_t capacity_;
  MapKind kind_;
  std::size_t writes_ = 0;
  std::map<K, V, BytesLess> rows_;
};

}  // namespace fairway::datapath
