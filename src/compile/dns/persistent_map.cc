#include "compile/dns/persistent_map.h"

#include <atomic>
#include <bit>
#include <cstdlib>
#include <cstring>
#include <new>
#include <utility>

#include "base/check.h"

namespace fairway::compile::dns {

namespace {

constexpr unsigned kBits = 5;
constexpr unsigned kLevelsPerHash = 12;  // 60 of 64 bits; deeper levels take a hash of another seed

std::uint64_t mix(std::uint64_t x) {  // the finaliser of SplitMix64
  x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9ull;
  x = (x ^ (x >> 27)) * 0x94d049bb133111ebull;
  return x ^ (x >> 31);
}

std::uint64_t hash_bytes(std::string_view key, std::uint64_t seed) {
  std::uint64_t h = mix(seed * 0x9e3779b97f4a7c15ull + key.size() + 1);
  while (!key.empty()) {
    std::uint64_t word = 0;
    std::size_t n = key.size() < 8 ? key.size() : 8;
    std::memcpy(&word, key.data(), n);
    h = mix(h ^ word);
    key.remove_prefix(n);
  }
  return h;
}

unsigned slot_of(std::string_view key, std::uint64_t first_hash, unsigned level) {
  std::uint64_t h = level < kLevelsPerHash ? first_hash : hash_bytes(key, level / kLevelsPerHash);
  return (h >> (kBits * (level % kLevelsPerHash))) & 31;
}

void* allocate(std::size_t size) {
  void* p = std::malloc(size);
  if (p == nullptr) throw std::bad_alloc();
  return p;
}

struct Leaf {
  std::atomic<std::uint32_t> refs;
  std::uint32_t value_size;
  std::uint32_t key_size;  // key and value follow

  char* bytes() { return reinterpret_cast<char*>(this + 1); }
  const char* bytes() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view key() const { return {bytes(), key_size}; }
  std::string_view value() const { return {bytes() + key_size, value_size}; }

  static Leaf* make(std::string_view key, std::string_view value) {
    auto* leaf = static_cast<Leaf*>(allocate(sizeof(Leaf) + key.size() + value.size()));
    new (&leaf->refs) std::atomic<std::uint32_t>(1);
    leaf->value_size = static_cast<std::uint32_t>(value.size());
    leaf->key_size = static_cast<std::uint32_t>(key.size());
    std::memcpy(leaf->bytes(), key.data(), key.size());
    if (!value.empty()) std::memcpy(leaf->bytes() + key.size(), value.data(), value.size());
    return leaf;
  }
};

}  // namespace

// One child follows for each bit of `bitmap`, in order; a pointer with its low bit set is a Leaf.
struct PersistentMap::Node {
  std::atomic<std::uint32_t> refs;
  std::uint32_t bitmap;

  std::uintptr_t* children() { return reinterpret_cast<std::uintptr_t*>(this + 1); }
  const std::uintptr_t* children() const { return reinterpret_cast<const std::uintptr_t*>(this + 1); }
  unsigned count() const { return static_cast<unsigned>(std::popcount(bitmap)); }
  bool has(unsigned slot) const { return (bitmap >> slot) & 1; }
  unsigned position(unsigned slot) const { return static_cast<unsigned>(std::popcount(bitmap & ((1u << slot) - 1))); }
};

namespace {

using Node = PersistentMap::Node;

bool is_leaf(std::uintptr_t child) { return child & 1; }
Leaf* as_leaf(std::uintptr_t child) { return reinterpret_cast<Leaf*>(child & ~std::uintptr_t{1}); }
Node* as_node(std::uintptr_t child) { return reinterpret_cast<Node*>(child); }
std::uintptr_t tagged(Leaf* leaf) { return reinterpret_cast<std::uintptr_t>(leaf) | 1; }
std::uintptr_t tagged(Node* node) { return reinterpret_cast<std::uintptr_t>(node); }

void retain(std::uintptr_t child) {
  auto& refs = is_leaf(child) ? as_leaf(child)->refs : as_node(child)->refs;
  refs.fetch_add(1, std::memory_order_relaxed);
}

void release(std::uintptr_t child) {
  auto& refs = is_leaf(child) ? as_leaf(child)->refs : as_node(child)->refs;
  if (refs.fetch_sub(1, std::memory_order_acq_rel) != 1) return;
  if (is_leaf(child)) {
    std::free(as_leaf(child));
    return;
  }
  Node* node = as_node(child);
  for (unsigned i = 0; i < node->count(); ++i) release(node->children()[i]);
  std::free(node);
}

Node* make_node(std::uint32_t bitmap) {
  auto* node = static_cast<Node*>(allocate(sizeof(Node) + sizeof(std::uintptr_t) * static_cast<unsigned>(std::popcount(bitmap))));
  new (&node->refs) std::atomic<std::uint32_t>(1);
  node->bitmap = bitmap;
  return node;
}

// A copy of `node` with the child at `slot` replaced, added, or (child 0) left out. Consumes `node` and `child`.
// A node that nobody else holds is changed in place: then no reader can come to it, as its parents are ours alone
// too (or it would not have been reached through them with the count at one).
Node* with_child(Node* node, bool sole_owner, unsigned slot, std::uintptr_t child) {
  unsigned at = node->position(slot);
  bool had = node->has(slot);
  if (sole_owner && had && child != 0) {
    release(node->children()[at]);
    node->children()[at] = child;
    return node;
  }
  std::uint32_t bit = 1u << slot;
  Node* copy = make_node(child != 0 ? node->bitmap | bit : node->bitmap & ~bit);
  unsigned to = 0;
  for (unsigned from = 0; from <= node->count(); ++from) {
    if (from == at && child != 0) copy->children()[to++] = child;
    if (from == node->count() || (from == at && had)) continue;
    copy->children()[to++] = node->children()[from];
    if (!sole_owner) retain(node->children()[from]);
  }
  if (!sole_owner) {
    release(tagged(node));
    return copy;
  }
  if (had) release(node->children()[at]);
  std::free(node);
  return copy;
}

bool sole(const Node* node, bool parent_sole) { return parent_sole && node->refs.load(std::memory_order_acquire) == 1; }

// Two leaves whose keys differ, below `level`.
Node* split(Leaf* a, std::uint64_t hash_a, Leaf* b, std::uint64_t hash_b, unsigned level) {
  unsigned slot_a = slot_of(a->key(), hash_a, level);
  unsigned slot_b = slot_of(b->key(), hash_b, level);
  if (slot_a == slot_b) {
    Node* node = make_node(1u << slot_a);
    node->children()[0] = tagged(split(a, hash_a, b, hash_b, level + 1));
    return node;
  }
  Node* node = make_node((1u << slot_a) | (1u << slot_b));
  node->children()[slot_a < slot_b ? 0 : 1] = tagged(a);
  node->children()[slot_a < slot_b ? 1 : 0] = tagged(b);
  return node;
}

struct Insert {
  std::string_view key, value;
  std::uint64_t hash;
  bool added = false;

  // Consumes one reference to `node`, returns one to what takes its place.
  Node* into(Node* node, bool parent_sole, unsigned level) {
    bool own = sole(node, parent_sole);
    unsigned slot = slot_of(key, hash, level);
    if (!node->has(slot)) {
      added = true;
      return with_child(node, own, slot, tagged(Leaf::make(key, value)));
    }
    std::uintptr_t child = node->children()[node->position(slot)];
    if (!is_leaf(child)) {
      if (own) {  // the slot's reference goes down and comes back, so a child that is ours alone is seen as such
        node->children()[node->position(slot)] = tagged(into(as_node(child), true, level + 1));
        return node;
      }
      retain(child);
      return with_child(node, false, slot, tagged(into(as_node(child), false, level + 1)));
    }
    Leaf* leaf = as_leaf(child);
    if (leaf->key() == key) return with_child(node, own, slot, tagged(Leaf::make(key, value)));
    added = true;
    retain(child);
    return with_child(node, own, slot, tagged(split(leaf, hash_bytes(leaf->key(), 0), Leaf::make(key, value), hash, level + 1)));
  }
};

// Removes a key that is there. Consumes one reference; returns 0 where nothing remains, a tagged leaf where one leaf
// remains (it moves up, so that the shape depends on the keys alone), else a node.
std::uintptr_t remove(Node* node, std::string_view key, std::uint64_t hash, unsigned level) {
  unsigned slot = slot_of(key, hash, level);
  std::uintptr_t child = node->children()[node->position(slot)];
  std::uintptr_t rest = 0;
  if (!is_leaf(child)) {
    retain(child);
    rest = remove(as_node(child), key, hash, level + 1);
  }
  if (rest == 0 && node->count() == 1) {
    release(tagged(node));
    return 0;
  }
  Node* copy = with_child(node, false, slot, rest);
  if (copy->count() == 1 && is_leaf(copy->children()[0]) && level > 0) {
    std::uintptr_t only = copy->children()[0];
    retain(only);
    release(tagged(copy));
    return only;
  }
  return tagged(copy);
}

void visit_all(const Node* node, const std::function<void(std::string_view, std::string_view)>& visit) {
  for (unsigned i = 0; i < node->count(); ++i) {
    std::uintptr_t child = node->children()[i];
    if (is_leaf(child)) visit(as_leaf(child)->key(), as_leaf(child)->value());
    else visit_all(as_node(child), visit);
  }
}

}  // namespace

PersistentMap::PersistentMap(const PersistentMap& other) : root_(other.root_), size_(other.size_) {
  if (root_ != nullptr) retain(tagged(root_));
}
PersistentMap::PersistentMap(PersistentMap&& other) noexcept
    : root_(std::exchange(other.root_, nullptr)), size_(std::exchange(other.size_, 0)) {}
PersistentMap& PersistentMap::operator=(PersistentMap other) noexcept {
  std::swap(root_, other.root_);
  std::swap(size_, other.size_);
  return *this;
}
PersistentMap::~PersistentMap() {
  if (root_ != nullptr) release(tagged(root_));
}

bool PersistentMap::set(std::string_view key, std::string_view value) {
  FW_CHECK(key.size() <= UINT16_MAX && value.size() <= UINT32_MAX);
  if (auto present = find(key); present && *present == value) return false;
  if (root_ == nullptr) root_ = make_node(0);
  Insert insert{key, value, hash_bytes(key, 0)};
  root_ = insert.into(root_, true, 0);
  if (insert.added) ++size_;
  return true;
}

bool PersistentMap::erase(std::string_view key) {
  if (!find(key)) return false;
  root_ = as_node(remove(root_, key, hash_bytes(key, 0), 0));
  --size_;
  return true;
}

std::optional<std::string_view> PersistentMap::find(std::string_view key) const {
  const Node* node = root_;
  std::uint64_t hash = hash_bytes(key, 0);
  for (unsigned level = 0; node != nullptr; ++level) {
    unsigned slot = slot_of(key, hash, level);
    if (!node->has(slot)) return std::nullopt;
    std::uintptr_t child = node->children()[node->position(slot)];
    if (is_leaf(child)) {
      if (as_leaf(child)->key() != key) return std::nullopt;
      return as_leaf(child)->value();
    }
    node = as_node(child);
  }
  return std::nullopt;
}

void PersistentMap::for_each(const std::function<void(std::string_view, std::string_view)>& visit) const {
  if (root_ != nullptr) visit_all(root_, visit);
}

}  // namespace fairway::compile::dns
