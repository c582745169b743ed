// Numbers for values, counted, and sets of numbers that forget lazily: what keeps the engine's work proportional to a change.
//
// Invariant: a number whose last holder has gone is given again only two ticks later (a tick is a Delta), and until then the
// value behind it can still be read: a packet may still carry it.
#pragma once

#include <algorithm>
#include <cstdint>
#include <deque>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>
#include <vector>

#include "base/check.h"

namespace fairway::compile::policy {

inline std::uint64_t mix(std::uint64_t x) {
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  x ^= x >> 32;
  x *= 0xd6e8feb86659fd93ULL;
  return x ^ x >> 32;
}
inline std::uint64_t mix(std::uint64_t seed, std::uint64_t value) { return mix(seed * 0x9e3779b97f4a7c15ULL + value); }

struct ValueHash {
  std::size_t operator()(std::string_view text) const { return std::hash<std::string_view>{}(text); }
  template <typename T>
  std::size_t operator()(const std::vector<T>& words) const {
    std::uint64_t h = words.size();
    for (const T& w : words) h = mix(h, static_cast<std::uint64_t>(w));
    return h;
  }
  template <typename T>
  requires requires(const T& t) { t.hash(); }
  std::size_t operator()(const T& value) const { return value.hash(); }
};

template <typename Value>
class Interner {
 public:
  using Id = std::uint32_t;
  explicit Interner(Id first = 1) : slots_(first), index_(0, HashOf{this}, Same{this}) {}
  Interner(const Interner&) = delete;
  Interner& operator=(const Interner&) = delete;

  // One more holder of the value; and whether it is the first.
  template <typename Probe>
  std::pair<Id, bool> acquire(Probe&& value) {
    const std::size_t hash = ValueHash{}(value);
    if (auto found = index_.find(Wanted<std::remove_cvref_t<Probe>>{value, hash}); found != index_.end()) {
      ++slots_[*found].holders;
      return {*found, false};
    }
    Id id;
    if (!freed_.empty() && freed_.front().second + 2 <= now_) {
      id = freed_.front().first;
      freed_.pop_front();
    } else {
      id = static_cast<Id>(slots_.size());
      slots_.emplace_back();
    }
    slots_[id] = {Value(std::forward<Probe>(value)), hash, 1};
    index_.insert(id);
    return {id, true};
  }
  void hold(Id id) { ++slots_[id].holders; }
  // Whether that was the last.
  bool release(Id id) {
    FW_CHECK(slots_[id].holders > 0);
    if (slots_[id].holders > 1) return --slots_[id].holders, false;
    index_.erase(index_.find(id));
    slots_[id].holders = 0;
    freed_.emplace_back(id, now_);
    return true;
  }
  const Value& operator[](Id id) const { return slots_[id].value; }
  bool alive(Id id) const { return id < slots_.size() && slots_[id].holders > 0; }
  bool readable(Id id) const { return id < slots_.size() && (slots_[id].holders > 0 || slots_[id].hash != 0); }
  template <typename Probe>
  Id find(const Probe& value) const {  // 0: not there
    auto found = index_.find(Wanted<Probe>{value, ValueHash{}(value)});
    return found == index_.end() ? 0 : *found;
  }
  std::size_t size() const { return index_.size(); }
  std::size_t limit() const { return slots_.size(); }
  void tick() { ++now_; }
  // Numbers that nobody holds and that are not given again yet, the latest first.
  template <typename Visit>
  void for_each_kept(Visit visit) const {
    for (auto at = freed_.rbegin(); at != freed_.rend() && at->second + 2 > now_; ++at) visit(at->first);
  }

 private:
  struct Slot {
    Value value{};
    std::size_t hash = 0;
    std::uint32_t holders = 0;
  };
  template <typename Probe>
  struct Wanted {
    const Probe& value;
    std::size_t hash;
  };
  struct HashOf {
    using is_transparent = void;
    const Interner* of;
    std::size_t operator()(Id id) const { return of->slots_[id].hash; }
    template <typename Probe>
    std::size_t operator()(const Wanted<Probe>& w) const {
      return w.hash;
    }
  };
  struct Same {
    using is_transparent = void;
    const Interner* of;
    bool operator()(Id a, Id b) const { return a == b; }
    template <typename Probe>
    bool operator()(const Wanted<Probe>& w, Id id) const {
      return of->slots_[id].hash == w.hash && of->slots_[id].value == w.value;
    }
    template <typename Probe>
    bool operator()(Id id, const Wanted<Probe>& w) const {
      return (*this)(w, id);
    }
  };
  std::vector<Slot> slots_;
  std::unordered_set<Id, HashOf, Same> index_;
  std::deque<std::pair<Id, std::uint64_t>> freed_;
  std::uint64_t now_ = 0;
};

// Numbers alone, with the same delay.
class Numbers {
 public:
  Numbers(std::uint32_t first, std::uint32_t last) : next_(first), last_(last) {}
  std::uint32_t take() {  // 0: none is left
    if (!freed_.empty() && freed_.front().second + 2 <= now_) {
      const auto id = freed_.front().first;
      freed_.pop_front();
      ++taken_;
      return id;
    }
    if (next_ > last_) return 0;
    ++taken_;
    return next_++;
  }
  void give(std::uint32_t id) { freed_.emplace_back(id, now_), --taken_; }
  std::size_t taken() const { return taken_; }
  void tick() { ++now_; }

 private:
  std::uint32_t next_, last_;
  std::size_t taken_ = 0;
  std::deque<std::pair<std::uint32_t, std::uint64_t>> freed_;
  std::uint64_t now_ = 0;
};

// Numbers in no order. What has gone stays until half of them have; whoever reads says which still hold. One that came
// back may be seen twice.
class LazySet {
 public:
  void add(std::uint32_t id) { ids_.push_back(id); }
  template <typename Valid>
  void removed(Valid valid) {
    if (++gone_ * 2 <= ids_.size()) return;
    std::sort(ids_.begin(), ids_.end());
    ids_.erase(std::unique(ids_.begin(), ids_.end()), ids_.end());
    std::erase_if(ids_, [&](std::uint32_t id) { return !valid(id); });
    gone_ = 0;
  }
  std::size_t size() const { return ids_.size(); }
  const std::vector<std::uint32_t>& maybe() const { return ids_; }

 private:
  std::vector<std::uint32_t> ids_;
  std::size_t gone_ = 0;
};

}  // namespace fairway::compile::policy
