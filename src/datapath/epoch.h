// The epoch: a number that is raised after each change of a table whose answers the programs remember (bpf/lib/straight.h).
// It lies in a map that this process shares by mmap with the programs, which raise it too (SharedWord).
#pragma once

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <memory>

#include "datapath/map.h"
#include "sys/fd.h"

namespace fairway::datapath {

// The first word of an array map that allows mmap: read and written without a system call, by one atomic operation.
class SharedWord {
 public:
  static Result<std::unique_ptr<SharedWord>> open(sys::Fd map);
  SharedWord(const SharedWord&) = delete;
  SharedWord& operator=(const SharedWord&) = delete;
  ~SharedWord();
  std::atomic_ref<std::uint32_t> value() const { return std::atomic_ref<std::uint32_t>(*value_); }

 private:
  explicit SharedWord(std::uint32_t* value) : value_(value) {}
  std::uint32_t* value_;
};

class Epoch {
 public:
  // Takes the map `epoch`; starts it where it is 0.
  static Result<std::unique_ptr<Epoch>> open(sys::Fd map);
  void raise();

 private:
  explicit Epoch(std::unique_ptr<SharedWord> word) : word_(std::move(word)) {}
  std::unique_ptr<SharedWord> word_;
};

// A map whose rows the programs remember: every write raises the epoch after it, also one that failed half-way.
template <AbiType K, AbiType V>
class RememberedMap final : public Map<K, V> {
 public:
  using Row = typename Map<K, V>::Row;
  RememberedMap(std::unique_ptr<Map<K, V>> inner, Epoch& epoch) : inner_(std::move(inner)), epoch_(epoch) {}

  std::string_view name() const override { return inner_->name(); }
  std::size_t capacity() const override { return inner_->capacity(); }
  Status update(const K& key, const V& value) override { return raised(inner_->update(key, value)); }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override { return raised(inner_->update_batch(keys, values)); }
  Result<V> lookup(const K& key) const override { return inner_->lookup(key); }
  Status remove(const K& key) override { return raised(inner_->remove(key)); }
  Status remove_batch(std::span<const K> keys) override { return raised(inner_->remove_batch(keys)); }
  Result<std::vector<Row>> dump() const override { return inner_->dump(); }

 private:
  Status raised(Status status) {
    epoch_.raise();
    return status;
  }
  std::unique_ptr<Map<K, V>> inner_;
  Epoch& epoch_;
};

}  // namespace fairway::datapath
