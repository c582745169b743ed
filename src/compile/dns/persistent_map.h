// PersistentMap: bytes -> bytes, where a copy costs nothing and a change copies only the path to it.
//
// Place: holds all rows of a Zone, so that a snapshot for reader threads is one copy and a new zone shares
// everything that did not change. A hash array mapped trie (Bagwell, "Ideal Hash Trees", 2001), 32 ways.
// Compact: an entry is one allocation, 12 bytes more than key and value.
// Threads: a map object belongs to one thread; copies may live on others, and only they are read there.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <string_view>

namespace fairway::compile::dns {

class PersistentMap {
 public:
  PersistentMap() = default;
  PersistentMap(const PersistentMap& other);
  PersistentMap(PersistentMap&& other) noexcept;
  PersistentMap& operator=(PersistentMap other) noexcept;
  ~PersistentMap();

  // Keys and values are at most 64 KiB and 4 GiB. Returns false where the value was there already.
  bool set(std::string_view key, std::string_view value);
  bool erase(std::string_view key);
  // The view lives as long as this map, or a copy, holds the entry.
  std::optional<std::string_view> find(std::string_view key) const;
  void for_each(const std::function<void(std::string_view key, std::string_view value)>& visit) const;
  std::size_t size() const { return size_; }

  struct Node;  // for the .cc alone

 private:
  Node* root_ = nullptr;
  std::size_t size_ = 0;
};

}  // namespace fairway::compile::dns
