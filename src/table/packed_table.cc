#include "table/packed_table.h"

#include <algorithm>
#include <boost/unordered/unordered_flat_set.hpp>
#include <cstring>
#include <deque>
#include <new>
#include <unordered_map>
#include <unordered_set>

#include "base/check.h"

namespace fairway::table {
namespace {

// How many deletions are remembered against events that come late. A watch delivers in order, so this only has to
// outlast what a faulty proxy or two overlapping watches can mix up.
constexpr std::size_t kTombstones = 1024;

struct Blob {
  std::uint64_t version;
  std::uint32_t row_bytes;
  std::uint16_t key_bytes;
  std::uint16_t epoch;
  char* data() { return reinterpret_cast<char*>(this + 1); }
  const char* data() const { return reinterpret_cast<const char*>(this + 1); }
  std::string_view key() const { return {data(), key_bytes}; }
  std::string_view row() const { return {data() + key_bytes, row_bytes}; }
};

struct FreeBlob {
  void operator()(Blob* blob) const { ::operator delete(blob); }
};
using BlobPtr = std::unique_ptr<Blob, FreeBlob>;

BlobPtr make_blob(std::string_view key, std::string_view row, std::uint64_t version, std::uint16_t epoch) {
  FW_CHECK(key.size() <= UINT16_MAX && row.size() <= UINT32_MAX);
  auto* blob = new (::operator new(sizeof(Blob) + key.size() + row.size()))
      Blob{version, static_cast<std::uint32_t>(row.size()), static_cast<std::uint16_t>(key.size()), epoch};
  std::memcpy(blob->data(), key.data(), key.size());
  std::memcpy(blob->data() + key.size(), row.data(), row.size());
  return BlobPtr(blob);
}

struct Hash {
  using is_transparent = void;
  std::size_t operator()(std::string_view key) const { return std::hash<std::string_view>{}(key); }
  std::size_t operator()(const BlobPtr& blob) const { return (*this)(blob->key()); }
};
struct Equal {
  using is_transparent = void;
  static std::string_view key(std::string_view k) { return k; }
  static std::string_view key(const BlobPtr& b) { return b->key(); }
  template <typename A, typename B>
  bool operator()(const A& a, const B& b) const {
    return key(a) == key(b);
  }
};

}  // namespace

struct PackedTable::Impl {
  std::string name;
  boost::unordered_flat_set<BlobPtr, Hash, Equal> rows;
  std::uint64_t revision = 0;
  std::size_t bytes = 0;
  std::uint16_t epoch = 0;
  bool relisting = false;
  std::vector<std::unordered_set<std::string>> feeds;
  std::unordered_map<std::string, std::uint64_t> tombstones;
  std::deque<std::string> tombstone_order;
  std::vector<std::pair<std::string, bool>> sources;

  void changed(std::string_view key) {
    ++revision;
    for (auto& feed : feeds) feed.emplace(key);
  }
  void bury(std::string_view key, std::uint64_t version) {
    if (version == kAnyVersion) return;
    if (tombstones.insert_or_assign(std::string(key), version).second) tombstone_order.emplace_back(key);
    while (tombstone_order.size() > kTombstones) {
      tombstones.erase(tombstone_order.front());
      tombstone_order.pop_front();
    }
  }
  bool stale(std::uint64_t version, std::uint64_t known) const { return !relisting && version != kAnyVersion && version < known; }
};

PackedTable::PackedTable(std::string name) : impl_(std::make_unique<Impl>()) { impl_->name = std::move(name); }
PackedTable::~PackedTable() = default;
PackedTable::PackedTable(PackedTable&&) noexcept = default;
PackedTable& PackedTable::operator=(PackedTable&&) noexcept = default;

bool PackedTable::set(std::string_view key, std::string_view row, std::uint64_t version) {
  Impl& t = *impl_;
  const auto found = t.rows.find(key);
  if (found == t.rows.end()) {
    if (!t.tombstones.empty()) {
      if (const auto grave = t.tombstones.find(std::string(key)); grave != t.tombstones.end() && t.stale(version, grave->second))
        return false;
    }
    t.bytes += key.size() + row.size() + sizeof(Blob);
    t.rows.insert(make_blob(key, row, version, t.epoch));
    t.changed(key);
    return true;
  }
  Blob& old = **found;
  if (t.stale(version, old.version)) return false;
  if (old.row() == row) {
    old.version = version;
    old.epoch = t.epoch;
    return false;
  }
  t.bytes += row.size() - old.row_bytes;
  if (old.row_bytes == row.size()) {
    std::memcpy(old.data() + old.key_bytes, row.data(), row.size());
    old.version = version;
    old.epoch = t.epoch;
    t.changed(key);
    return true;
  }
  BlobPtr fresh = make_blob(key, row, version, t.epoch);
  const std::string_view lasting = fresh->key();  // `key` may be a view into the old row
  t.rows.erase(found);
  t.rows.insert(std::move(fresh));
  t.changed(lasting);
  return true;
}

bool PackedTable::erase(std::string_view key, std::uint64_t version) {
  Impl& t = *impl_;
  const auto found = t.rows.find(key);
  if (found == t.rows.end()) {
    t.bury(key, version);
    return false;
  }
  if (t.stale(version, (*found)->version)) return false;
  t.bytes -= (*found)->key_bytes + (*found)->row_bytes + sizeof(Blob);
  t.bury(key, version);
  t.changed(key);
  t.rows.erase(found);
  return true;
}

std::optional<std::string_view> PackedTable::find(std::string_view key) const {
  const auto found = impl_->rows.find(key);
  if (found == impl_->rows.end()) return std::nullopt;
  return (*found)->row();
}

void PackedTable::for_each(const Visit& visit) const {
  for (const auto& blob : impl_->rows) visit(blob->key(), blob->row());
}

std::size_t PackedTable::size() const { return impl_->rows.size(); }
std::uint64_t PackedTable::revision() const { return impl_->revision; }
std::size_t PackedTable::bytes() const { return impl_->bytes; }
const std::string& PackedTable::name() const { return impl_->name; }

void PackedTable::begin_relist() {
  impl_->relisting = true;
  ++impl_->epoch;
  impl_->tombstones.clear();
  impl_->tombstone_order.clear();
}

bool PackedTable::touch(std::string_view key) {
  const auto found = impl_->rows.find(key);
  if (found == impl_->rows.end()) return false;
  (*found)->epoch = impl_->epoch;
  return true;
}

std::vector<std::string> PackedTable::not_listed() const {
  std::vector<std::string> out;
  if (!impl_->relisting) return out;
  for (const auto& blob : impl_->rows)
    if (blob->epoch != impl_->epoch) out.emplace_back(blob->key());
  return out;
}

std::size_t PackedTable::end_relist() {
  const auto gone = not_listed();
  for (const auto& key : gone) erase(key);
  impl_->relisting = false;
  return gone.size();
}

PackedTable::Reader PackedTable::subscribe() {
  auto& feed = impl_->feeds.emplace_back();
  for (const auto& blob : impl_->rows) feed.emplace(blob->key());
  return impl_->feeds.size() - 1;
}

bool PackedTable::has_changes(Reader reader) const { return !impl_->feeds[reader].empty(); }

std::vector<std::string> PackedTable::take_changes(Reader reader) {
  auto& feed = impl_->feeds[reader];
  std::vector<std::string> out;
  if (feed.empty()) return out;
  out.reserve(feed.size());
  const bool large = feed.bucket_count() > 4096;
  while (!feed.empty()) out.push_back(std::move(feed.extract(feed.begin()).value()));
  if (large) feed = std::unordered_set<std::string>();  // gives the buckets of a cold sync back; {} would keep them
  std::sort(out.begin(), out.end());
  return out;
}

void PackedTable::add_source(std::string_view source) { impl_->sources.emplace_back(source, false); }

void PackedTable::mark_initialized(std::string_view source) {
  for (auto& [name, done] : impl_->sources)
    if (name == source) done = true;
}

bool PackedTable::initialized() const {
  return std::all_of(impl_->sources.begin(), impl_->sources.end(), [](const auto& s) { return s.second; });
}

std::vector<std::string> PackedTable::missing_sources() const {
  std::vector<std::string> out;
  for (const auto& [name, done] : impl_->sources)
    if (!done) out.push_back(name);
  return out;
}

}  // namespace fairway::table
