// StrongId<Tag, Int>: a number that cannot be mistaken for another kind of number.
#pragma once

#include <compare>
#include <cstdint>
#include <functional>

namespace fairway {

template <typename Tag, typename Int = std::uint32_t>
struct StrongId {
  Int value{};
  auto operator<=>(const StrongId&) const = default;
};

}  // namespace fairway

template <typename Tag, typename Int>
struct std::hash<fairway::StrongId<Tag, Int>> {
  std::size_t operator()(fairway::StrongId<Tag, Int> id) const noexcept { return std::hash<Int>{}(id.value); }
};
