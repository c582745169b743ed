// TimedMap: another map, and the time spent in it.
#pragma once

#include <chrono>

#include "datapath/map.h"

namespace fairway::bench {

struct MapTime {
  double seconds = 0;
  std::size_t rows = 0;
};

template <datapath::AbiType K, datapath::AbiType V>
class TimedMap final : public datapath::Map<K, V> {
 public:
  TimedMap(datapath::Map<K, V>& map, MapTime& time) : map_(map), time_(time) {}
  std::string_view name() const override { return map_.name(); }
  std::size_t capacity() const override { return map_.capacity(); }
  Status update(const K& key, const V& value) override {
    return timed(1, [&] { return map_.update(key, value); });
  }
  Status update_batch(std::span<const K> keys, std::span<const V> values) override {
    return timed(keys.size(), [&] { return map_.update_batch(keys, values); });
  }
  Result<V> lookup(const K& key) const override { return map_.lookup(key); }
  Status remove(const K& key) override {
    return timed(1, [&] { return map_.remove(key); });
  }
  Status remove_batch(std::span<const K> keys) override {
    return timed(keys.size(), [&] { return map_.remove_batch(keys); });
  }
  Result<std::vector<std::pair<K, V>>> dump() const override { return map_.dump(); }

 private:
  template <typename Call>
  Status timed(std::size_t rows, Call call) {
    auto begin = std::chrono::steady_clock::now();
    Status out = call();
    time_.seconds += std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    time_.rows += rows;
    return out;
  }
  datapath::Map<K, V>& map_;
  MapTime& time_;
};

}  // namespace fairway::bench
