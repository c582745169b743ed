#include "compile/policy/block_tree.h"

namespace fairway::compile::policy {
namespace {

bool same_bits(const std::array<std::uint8_t, 16>& a, const std::array<std::uint8_t, 16>& b, unsigned length) {
  const unsigned whole = length / 8;
  if (!std::equal(a.begin(), a.begin() + whole, b.begin())) return false;
  return length % 8 == 0 || ((a[whole] ^ b[whole]) >> (8 - length % 8)) == 0;
}
std::array<std::uint8_t, 16> first_bits(std::array<std::uint8_t, 16> bytes, unsigned length) {
  for (unsigned i = length; i < 128; i += 8 - i % 8) bytes[i / 8] &= static_cast<std::uint8_t>(0xff00 >> (i % 8));
  return bytes;
}
constexpr unsigned kV4Bits = 96;

}  // namespace

std::size_t Block::hash() const {
  const auto one = [](const net::Prefix& p) { return mix(std::hash<net::IpAddr>{}(p.addr()), p.length()); };
  std::uint64_t h = one(network);
  for (const auto& e : except) h = mix(h, one(e));
  return h;
}

std::optional<Block> make_block(const net::Prefix& network, const std::vector<net::Prefix>& except) {
  Block block{network, {}};
  for (const auto& e : except) {
    if (!e.overlaps(network)) continue;
    if (e.length() <= network.length()) return std::nullopt;
    block.except.push_back(e);
  }
  std::sort(block.except.begin(), block.except.end());
  block.except.erase(std::unique(block.except.begin(), block.except.end()), block.except.end());
  return block;
}

bool BlockTree::Key::holds(const Key& other) const { return length <= other.length && same_bits(bytes, other.bytes, length); }

BlockTree::Key BlockTree::key_of(const net::Prefix& prefix) {
  return {prefix.addr().bytes(), prefix.length() + (prefix.family() == net::Family::kV4 ? kV4Bits : 0)};
}
net::Prefix BlockTree::prefix_of(const Key& key) {
  const auto addr = net::IpAddr::from_bytes(key.bytes);
  return {addr, addr.is_v4() ? key.length - kV4Bits : key.length};
}
bool BlockTree::over_v4(const Key& key) {
  const Key v4 = key_of(net::Prefix(net::IpAddr::v4(0), 0));
  return key.length < kV4Bits && key.holds(v4);
}

std::vector<BlockTree::Member> BlockTree::members_below(const Key& key, const std::vector<Member>& above, const Cut& cut) {
  std::vector<Member> out;
  if (key != key_of(net::Prefix(net::IpAddr::v4(0), 0))) out = above;
  for (const Member m : cut.begins) out.insert(std::lower_bound(out.begin(), out.end(), m), m);
  std::erase_if(out, [&](Member m) { return std::find(cut.ends.begin(), cut.ends.end(), m) != cut.ends.end(); });
  return out;
}

void BlockTree::edit_cut(const Key& key, Member member, bool begins, bool add) {
  const auto [at, fresh] = cuts_.try_emplace(key);
  if (fresh) ++lengths_[key.length];
  auto& list = begins ? at->second.begins : at->second.ends;
  if (add) list.push_back(member);
  else list.erase(std::find(list.begin(), list.end(), member));
}

void BlockTree::edit(Member member, const Block& block, bool add) {
  const Key network = key_of(block.network);
  edit_cut(network, member, true, add);
  roots_.push_back(network);
  for (const auto& e : block.except) edit_cut(key_of(e), member, false, add);
  if (!over_v4(network)) return;
  const Key v4 = key_of(net::Prefix(net::IpAddr::v4(0), 0));
  const auto [at, fresh] = cuts_.try_emplace(v4);
  if (fresh) ++lengths_[v4.length];
  at->second.fences += add ? 1U : ~0U;
}
void BlockTree::add(Member member, const Block& block) { edit(member, block, true); }
void BlockTree::remove(Member member, const Block& block) { edit(member, block, false); }

// What has to be looked at again, without what lies within another.
std::vector<BlockTree::Key> BlockTree::take_roots() {
  std::sort(roots_.begin(), roots_.end());
  std::vector<Key> out;
  touched_.clear();
  for (const Key& key : roots_) {
    if (!out.empty() && out.back().holds(key)) continue;
    out.push_back(key);
    auto last = key.bytes;
    for (unsigned i = key.length; i < 128; ++i) last[i / 8] |= static_cast<std::uint8_t>(0x80 >> i % 8);
    touched_.emplace_back(net::IpAddr::from_bytes(key.bytes), net::IpAddr::from_bytes(last));
  }
  roots_.clear();
  return out;
}

const BlockTree::Cut* BlockTree::find_over(const Key& key) const {
  for (unsigned length = key.length; length-- > 0;) {
    if (lengths_[length] == 0) continue;
    const auto at = cuts_.find(Key{first_bits(key.bytes, length), length});
    if (at != cuts_.end()) return &at->second;
  }
  return nullptr;
}

const BlockTree::Cut* BlockTree::find(const net::IpAddr& addr) const {
  if (cuts_.empty()) return nullptr;
  const auto whole = cuts_.find(Key{addr.bytes(), 128});
  return whole != cuts_.end() ? &whole->second : find_over(Key{addr.bytes(), 128});
}

}  // namespace fairway::compile::policy
