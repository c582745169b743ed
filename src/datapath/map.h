// Map<K, V>: a BPF map as the sinks see it, typed by the structs of bpf/abi.
//
// Place: under the sinks. Three implementations: FdMap (fd_map.h), the kernel's; MemoryMap (memory_map.h), for
// tests; FaultyMap (faulty_map.h), another map that fails at a given share of operations.
// Invariants: update and remove are idempotent; a failed batch may have applied a part of its rows, in order, so the
// caller repeats it whole. Control thread only.
#pragma once

#include <concepts>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <type_traits>
#include <utility>
#include <vector>

#include "base/result.h"

namespace fairway::datapath {

// What may be a key or a value: plain bytes, no padding that would make equal keys differ.
template <typename T>
concept AbiType = std::is_trivially_copyable_v<T> && std::is_standard_layout_v<T>;

template <AbiType K, AbiType V>
class Map {
 public:
  using Key = K;
  using Value = V;
  using Row = std::pair<K, V>;

  Map() = default;
  Map(const Map&) = delete;
  Map& operator=(const Map&) = delete;
  virtual ~Map() = default;

  virtual std::string_view name() const = 0;
  virtual std::size_t capacity() const = 0;
  // kExhausted where the map is full.
  virtual Status update(const K& key, const V& value) = 0;
  // keys[i] -> values[i]; both of one length.
  virtual Status update_batch(std::span<const K> keys, std::span<const V> values) = 0;
  // kNotFound where there is no such row. An array's row that was never written is zeros.
  virtual Result<V> lookup(const K& key) const = 0;
  // A missing row is no error. An array's row becomes zeros.
  virtual Status remove(const K& key) = 0;
  virtual Status remove_batch(std::span<const K> keys) = 0;
  // All rows, in no order; of an array those that are not all zeros. Rows written meanwhile may be in it or not.
  virtual Result<std::vector<Row>> dump() const = 0;
};

}  // namespace fairway::datapath
