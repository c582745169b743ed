// FaultyMap<K, V>: another map, of whose operations a share fails: for tests of reconcilers.
#pragma once

#include <random>

#include "datapath/map.h"

namespace fairway::datapath {

template <AbiType K, AbiType V>
class FaultyMap final : public Map<K, V> {
 public:
  using Row = typename Map<K, V>::Row;

  // `share` of the operations, 0 to 1, fail with `code`; a failing batch applies a random part of its rows first.
  // The same seed gives the same faults.
  FaultyMap(Map<K, V>& inner, double share, std::uint64_t seed = 1, Code code = Code::kExhausted)
      : inner_(inner), share_(share), random_(seed), code_(code) {}
  void set_share(double share) { share_ = share; }
  std::size_t faults() const { return faults_; }

  std::string_view name() const override { return inner_.name(); }
  std::size_t capacity() const override { return inner_.capacity(); }
  Status update(const K& key, const V& value) override {
    if (fails()) return fault("update");
    return inner_.update(key, value);
  }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override {
    if (!fails()) return inner_.update_batch(keys, values);
    const std::size_t part = part_of(keys.size());
    FW_TRY(inner_.update_batch(keys.first(part), values.first(part)));
    return fault("update_batch");
  }
  Result<V> lookup(const K& key) const override {
    if (fails()) return fault("lookup");
    return inner_.lookup(key);
  }
  Status remove(const K& key) override {
    if (fails()) return fault("remove");
    return inner_.remove(key);
  }
  Status remove_batch(std::span<const K> keys) override {
    if (!fails()) return inner_.remove_batch(keys);
    FW_TRY(inner_.remove_batch(keys.first(part_of(keys.size()))));
    return fault("remove_batch");
  }
  Result<std::vector<Row>> dump() const override {
    if (fails()) return fault("dump");
    return inner_.dump();
  }

 private:
  bool fails() const { return std::uniform_real_distribution<double>(0, 1)(random_) < share_; }
  std::size_t part_of(std::size_t n) const { return n == 0 ? 0 : random_() % n; }
  Error fault(const char* what) const {
    ++faults_;
    return make_error(code_, "map " + std::string(inner_.name()) + ": " + what + ": a fault that the test asked for");
  }

  Map<K, V>& inner_;
  double share_;
  mutable std::mt19937_64 random_;
  mutable std::size_t faults_ = 0;
  Code code_;
};

}  // namespace fairway::datapath
