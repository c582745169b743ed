// ipBlocks and their excepts as one tree of prefixes: each prefix with the set of blocks that hold for an address in it and in no
// longer prefix of the tree, which is what the kernel's trie finds.
//
// IPv4 lies within IPv6's space (::ffff:0:0/96), but no IPv6 block holds for an IPv4 address: where an IPv6 prefix would reach over
// it, 0.0.0.0/0 is in the tree as a fence.
#pragma once

#include <array>
#include <map>
#include <optional>

#include "compile/policy/interner.h"
#include "net/ip.h"

namespace fairway::compile::policy {

struct Block {
  net::Prefix network;
  std::vector<net::Prefix> except;  // within network, sorted, unique
  bool operator==(const Block&) const = default;
  std::size_t hash() const;
};
// Excepts that except nothing are left out. Nothing: an except leaves no address.
std::optional<Block> make_block(const net::Prefix& network, const std::vector<net::Prefix>& except);

class BlockTree {
 public:
  using Member = std::uint32_t;
  struct Cut {
    std::vector<Member> begins, ends;  // blocks whose network it is; whose except it is
    std::uint32_t fences = 0;          // IPv6 prefixes over it
    std::vector<Member> members;       // settled: sorted
    std::uint32_t value = 0;           // the user's
  };
  void add(Member member, const Block& block);
  void remove(Member member, const Block& block);

  // Brings members in line. For each cut that changed or is new, changed(prefix, cut); for each that goes, gone(prefix, cut).
  template <typename Changed, typename Gone>
  void settle(Changed changed, Gone gone) {
    for (const Key& key : take_roots()) {
      auto at = cuts_.lower_bound(key);
      std::vector<std::pair<Key, const std::vector<Member>*>> above;
      std::vector<Member> none;
      const Cut* over = find_over(key);
      above.emplace_back(Key{}, over != nullptr ? &over->members : &none);
      while (at != cuts_.end() && key.holds(at->first)) {
        if (at->second.begins.empty() && at->second.ends.empty() && at->second.fences == 0) {
          gone(prefix_of(at->first), at->second);
          --lengths_[at->first.length];
          at = cuts_.erase(at);
          continue;
        }
        while (above.size() > 1 && !above.back().first.holds(at->first)) above.pop_back();
        auto members = members_below(at->first, *above.back().second, at->second);
        if (members != at->second.members || at->second.value == 0) {
          at->second.members = std::move(members);
          changed(prefix_of(at->first), at->second);
        }
        above.emplace_back(at->first, &at->second.members);
        ++at;
      }
    }
  }
  // First and last address of the parts that were looked at in the last settle().
  const std::vector<std::pair<net::IpAddr, net::IpAddr>>& touched() const { return touched_; }
  const Cut* find(const net::IpAddr& addr) const;
  template <typename Fn>
  void for_each(Fn fn) const {
    for (const auto& [key, cut] : cuts_) fn(prefix_of(key), cut);
  }
  std::size_t size() const { return cuts_.size(); }

 private:
  struct Key {  // a prefix within 128 bits; in order each comes before what it holds
    std::array<std::uint8_t, 16> bytes{};
    unsigned length = 0;
    auto operator<=>(const Key&) const = default;
    bool holds(const Key& other) const;
  };
  static Key key_of(const net::Prefix& prefix);
  static net::Prefix prefix_of(const Key& key);
  static bool over_v4(const Key& key);
  static std::vector<Member> members_below(const Key& key, const std::vector<Member>& above, const Cut& cut);
  void edit(Member member, const Block& block, bool add);
  void edit_cut(const Key& key, Member member, bool begins, bool add);
  std::vector<Key> take_roots();
  const Cut* find_over(const Key& key) const;  // the longest that holds it, not itself

  std::map<Key, Cut> cuts_;
  std::array<std::uint32_t, 129> lengths_{};  // how many cuts have a length
  std::vector<Key> roots_;
  std::vector<std::pair<net::IpAddr, net::IpAddr>> touched_;
};

}  // namespace fairway::compile::policy
