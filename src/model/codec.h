// Codecs: model rows as compact bytes, for the tables (memory) and for the last known state on disk.
//
// A row decodes to what was encoded, and equal rows have equal bytes, so that the table can compare bytes.
// decode() takes bytes from disk too: it checks every length and answers nothing for what is not a row.
// Version: kCodecVersion changes with any layout; a file of another version is not read but relisted.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "model/policy.h"
#include "model/rows.h"
#include "table/packed_table.h"

namespace fairway::model {

constexpr unsigned kCodecVersion = 4;

// "ns/name" or "name": the key of every table of objects.
std::string key_of(const Name& name);
Name name_of(std::string_view key);

struct NamespaceCodec {
  using Row = Namespace;
  static std::string key(const Row& row) { return row.name; }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};
struct NodeCodec {
  using Row = Node;
  static std::string key(const Row& row) { return row.name; }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};
struct PodCodec {
  using Row = Pod;
  static std::string key(const Row& row) { return key_of(row.id); }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};
struct ServiceCodec {
  using Row = Service;
  static std::string key(const Row& row) { return key_of(row.id); }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};
struct EndpointSliceCodec {
  using Row = EndpointSlice;
  static std::string key(const Row& row) { return key_of(row.id); }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};
// Both kinds of policy: a key with a namespace is a NetworkPolicy's.
struct PolicyCodec {
  using Row = Policy;
  static std::string key(const Row& row) { return key_of(row.id); }
  static void encode(const Row& row, std::string& out);
  static std::optional<Row> decode(std::string_view key, std::string_view bytes);
};

using NamespaceTable = table::Table<NamespaceCodec>;
using NodeTable = table::Table<NodeCodec>;
using PodTable = table::Table<PodCodec>;
using ServiceTable = table::Table<ServiceCodec>;
using EndpointSliceTable = table::Table<EndpointSliceCodec>;
using PolicyTable = table::Table<PolicyCodec>;

}  // namespace fairway::model
