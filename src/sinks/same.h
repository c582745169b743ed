// Are two rows of a map the same bytes? The rows of bpf/abi have no padding that is not written.
#pragma once

#include <cstring>
#include <type_traits>

namespace fairway::sinks {

template <typename Row>
bool same(const Row& a, const Row& b) {
  static_assert(std::is_trivially_copyable_v<Row>);
  return std::memcmp(&a, &b, sizeof(Row)) == 0;
}

}  // namespace fairway::sinks
