// Manifests: files, folders and lists of an API -> objects as JSON, each with where it was read.
//
// Place: bytes from outside -> [manifest] -> inventory.h. Limits hold before and while parsing: a file's bytes, the number of files, depth
// and nodes (aliases count each time they are used; apiserver/body_reader.h). A document that is broken is a fault with file and line; what
// else there is goes on being read, so that all faults are told at once.
#pragma once

#include <filesystem>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "apiserver/json_util.h"
#include "base/result.h"
#include "model/rows.h"

namespace fairway::policycheck {

using apiserver::Json;

inline constexpr std::size_t kMaxFileBytes = 64 << 20;
inline constexpr std::size_t kMaxFiles = 20'000;

struct Place {
  std::string file;
  std::size_t line = 0;  // from 1 on; 0: not known
  std::string to_string() const { return line == 0 ? file : file + ":" + std::to_string(line); }
};

struct Fault {
  Place at;
  std::string object, field, reason;  // object and field where they are known
  std::string to_string() const;      // "web.yaml:7: NetworkPolicy default/web: spec.podSelector: is missing"
};

struct Document {
  std::string file, text;
  std::size_t first_line = 1;
  bool located = true;  // lines of it mean something to a reader
};

// Where an object stands.
struct Source {
  std::shared_ptr<const Document> document;
  std::string path;  // within it: "items[3]", or empty
  // The line of a field, or of what of its path there is. Reads the document again: for what is told to people.
  Place place(std::string_view field = {}) const;
};

struct ManifestObject {
  std::string kind, version;
  model::Name id;
  Json value;
  Source source;
  std::string name() const { return kind + " " + id.to_string(); }
};

struct Manifests {
  std::vector<ManifestObject> objects;  // in the order in which they were read
  std::vector<Fault> faults;
  std::vector<std::string> notes;  // what was passed over
};

class ManifestReader {
 public:
  explicit ManifestReader(std::string default_namespace) : default_namespace_(std::move(default_namespace)) {}
  // A file, a folder (its *.yaml, *.yml and *.json, and those of its folders), or "-": standard input.
  // One without any object is an error: a check of nothing would pass.
  Status read(const std::string& path);
  // Many YAML documents, or JSON.
  void read_text(const std::string& file, std::string_view text);
  // An answer of an API server; `name` says of what.
  void read_answer(const std::string& name, std::string text);
  Manifests take() { return std::move(out_); }

 private:
  Status read_any(const std::string& path);
  Result<bool> is_manifest(const std::filesystem::directory_entry& entry);
  Status read_folder(const std::string& path);
  void read_document(std::shared_ptr<const Document> document, bool json);
  void add(Json value, std::shared_ptr<const Document> document, const std::string& path, const std::string& list_kind);
  std::string default_namespace_;
  std::size_t files_ = 0;
  Manifests out_;
};

// What `change` says of an object replaces what `base` does.
Manifests applied_over(Manifests base, Manifests change);

}  // namespace fairway::policycheck
