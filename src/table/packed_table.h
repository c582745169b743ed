// PackedTable: key -> row as bytes, with a change feed, versions, mark-and-sweep and "initialized" marks.
//
// Place: sources (reflect/) write it, the flow reads what changed and compiles it. Layer 2: it knows no row type;
// Table<Codec> below adds one. A row is one allocation, 16 bytes more than key and content: 50,000 pods fit in 10 MB.
// Invariants:
// - a change feed names each changed key once, whatever happened to it between two reads (level-triggered);
// - writing an equal row changes nothing and wakes nobody, so duplicates are free;
// - a version older than the row's (or than its deletion) is ignored, so late events are harmless.
// Belongs to the control thread.
#pragma once

#include <cstdint>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace fairway::table {

class PackedTable {
 public:
  using Reader = std::size_t;
  using Visit = std::function<void(std::string_view key, std::string_view row)>;
  static constexpr std::uint64_t kAnyVersion = 0;  // always newer than what is there

  explicit PackedTable(std::string name);
  ~PackedTable();
  PackedTable(PackedTable&&) noexcept;
  PackedTable& operator=(PackedTable&&) noexcept;

  // True if the table changed.
  bool set(std::string_view key, std::string_view row, std::uint64_t version = kAnyVersion);
  bool erase(std::string_view key, std::uint64_t version = kAnyVersion);
  // Views live until the key is written again.
  std::optional<std::string_view> find(std::string_view key) const;
  void for_each(const Visit& visit) const;
  std::size_t size() const;
  std::uint64_t revision() const;  // grows with each change
  std::size_t bytes() const;       // of rows and keys

  // A relist: what is neither set nor touched between begin and end is erased at the end. A relist may be abandoned
  // by beginning another. While one runs, versions do not count: a list is the truth, older or not
  // (a store restored from a backup counts anew).
  void begin_relist();
  bool touch(std::string_view key);             // keeps the row that is there; false if there is none
  std::vector<std::string> not_listed() const;  // what end_relist() would erase, for callers that keep indexes
  std::size_t end_relist();                     // rows erased

  // A new reader is told of every row that is there.
  Reader subscribe();
  bool has_changes(Reader reader) const;
  std::vector<std::string> take_changes(Reader reader);

  // The table is initialized once every source that was added has marked itself.
  void add_source(std::string_view source);
  void mark_initialized(std::string_view source);
  bool initialized() const;
  std::vector<std::string> missing_sources() const;

  const std::string& name() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

// The typed form. Codec: `Row`, `static std::string key(const Row&)`, `static void encode(const Row&, std::string&)`,
// `static std::optional<Row> decode(std::string_view key, std::string_view bytes)`.
template <typename Codec>
class Table {
 public:
  using Row = typename Codec::Row;
  explicit Table(std::string name) : packed_(std::move(name)) {}

  bool set(const Row& row, std::uint64_t version = PackedTable::kAnyVersion) {
    buffer_.clear();
    Codec::encode(row, buffer_);
    return packed_.set(Codec::key(row), buffer_, version);
  }
  bool erase(std::string_view key, std::uint64_t version = PackedTable::kAnyVersion) { return packed_.erase(key, version); }
  std::optional<Row> find(std::string_view key) const {
    const auto bytes = packed_.find(key);
    return bytes ? Codec::decode(key, *bytes) : std::nullopt;
  }
  template <typename Visitor>
  void for_each(Visitor visit) const {
    packed_.for_each([&](std::string_view key, std::string_view bytes) {
      if (const auto row = Codec::decode(key, bytes)) visit(key, *row);
    });
  }
  PackedTable& packed() { return packed_; }
  const PackedTable& packed() const { return packed_; }
  std::size_t size() const { return packed_.size(); }

 private:
  PackedTable packed_;
  std::string buffer_;
};

}  // namespace fairway::table
