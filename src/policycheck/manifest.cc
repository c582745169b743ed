#include "policycheck/manifest.h"

#include <algorithm>
#include <charconv>
#include <iostream>
#include <iterator>
#include <map>
#include <optional>

#include "apiserver/body_reader.h"
#include "apiserver/yaml_merge.h"
#include "sys/file.h"

namespace fairway::policycheck {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kMaxLocatedBytes = 1 << 20;  // of a document in which a field's line is looked up
constexpr const char* kClusterKinds[] = {"Namespace", "Node", "ClusterNetworkPolicy"};

std::size_t lines_in(std::string_view text) { return static_cast<std::size_t>(std::count(text.begin(), text.end(), '\n')); }

// The parser's words: "…: yaml: line 3: REASON", "… at byte 17: REASON".
Fault fault_of(const Document& document, const std::string& message) {
  Fault out{{document.file, document.first_line}, "", "", message};
  const auto number_behind = [&](std::string_view word) -> std::optional<std::size_t> {
    const auto at = message.find(word);
    std::size_t number = 0;
    if (at == std::string::npos) return std::nullopt;
    const auto [end, error] = std::from_chars(message.data() + at + word.size(), message.data() + message.size(), number);
    if (error != std::errc{} || !std::string_view(end, message.data() + message.size()).starts_with(": ")) return std::nullopt;
    out.reason = end + 2;
    return number;
  };
  if (const auto line = number_behind(" line ")) out.at.line = document.first_line + (*line > 0 ? *line - 1 : 0);
  else if (const auto byte = number_behind(" byte "))
    out.at.line = document.first_line + lines_in(std::string_view(document.text).substr(0, *byte));
  return out;
}

// "spec.ingress[0].from" -> spec, ingress, [0], from
std::vector<std::string> steps_of(std::string_view path) {
  std::vector<std::string> out;
  for (const char c : path) {
    if (c == '.') out.emplace_back();
    else if (c == '[') out.emplace_back("[");
    else if (c != ']') {
      if (out.empty()) out.emplace_back();
      out.back() += c;
    }
  }
  std::erase(out, "");
  return out;
}

// The value of a key, and of one that a merge key gives: the last that is written counts, as in apiserver/yaml_reader.cc.
void find_key(const YAML::Node& map, const std::string& key, YAML::Node& out, std::size_t depth = 0) {
  if (!map.IsMap() || depth > apiserver::kMaxDepth) return;
  for (const auto& entry : map) {
    if (!apiserver::is_merge_key(entry.first)) {
      if (entry.first.IsScalar() && entry.first.Scalar() == key) out.reset(entry.second);
      continue;
    }
    if (!entry.second.IsSequence()) find_key(entry.second, key, out, depth + 1);
    else
      for (std::size_t i = entry.second.size(); i-- > 0;) find_key(entry.second[i], key, out, depth + 1);
  }
}

bool is_marker(std::string_view line) {
  return line.starts_with("---") && (line.size() == 3 || line[3] == ' ' || line[3] == '\t' || line[3] == '\r');
}

}  // namespace

std::string Fault::to_string() const {
  std::string out = at.to_string() + ": ";
  if (!object.empty()) out += object + ": ";
  if (!field.empty()) out += field + ": ";
  return out + reason;
}

Place Source::place(std::string_view field) const {
  if (!document) return {};
  Place out{document->file, document->first_line};
  if (!document->located) return {document->file, 0};
  if (document->text.size() > kMaxLocatedBytes) return out;
  try {
    YAML::Node at = YAML::Load(document->text);
    if (path.empty() && field.empty()) {
      out.line = document->first_line + static_cast<std::size_t>(std::max(at.Mark().line, 0));
      return out;
    }
    for (const auto& step : steps_of(path + "." + std::string(field))) {
      YAML::Node next(YAML::NodeType::Undefined);
      if (step[0] == '[' && at.IsSequence() && at.size() > std::strtoul(step.c_str() + 1, nullptr, 10))
        next.reset(at[std::strtoul(step.c_str() + 1, nullptr, 10)]);
      else if (step[0] != '[') find_key(at, step, next);
      if (!next.IsDefined()) break;
      at.reset(next);
      if (at.Mark().line >= 0) out.line = document->first_line + static_cast<std::size_t>(at.Mark().line);
    }
  } catch (const YAML::Exception&) { return out; }
  return out;
}

Status ManifestReader::read(const std::string& path) {
  const std::size_t objects = out_.objects.size(), faults = out_.faults.size();
  FW_TRY(read_any(path));
  if (out_.objects.size() > objects || out_.faults.size() > faults) return {};
  return make_error(Code::kNotFound, (path == "-" ? "standard input" : path) + ": has no Kubernetes object");
}

Status ManifestReader::read_any(const std::string& path) {
  if (path == "-") {
    std::string text;
    for (char part[1 << 16]; text.size() <= kMaxFileBytes && (std::cin.read(part, sizeof part), std::cin.gcount() > 0);)
      text.append(part, static_cast<std::size_t>(std::cin.gcount()));
    if (text.size() > kMaxFileBytes) return make_error(Code::kInvalid, "standard input has more than 64 MiB");
    read_text("stdin", text);
    return {};
  }
  std::error_code error;
  if (fs::is_directory(path, error)) return read_folder(path);
  FW_ASSIGN(const std::string text, sys::read_file(path, kMaxFileBytes));
  read_text(path, text);
  return {};
}

// By its name; one that cannot be read is an error, as a policy may not be missed in silence.
Result<bool> ManifestReader::is_manifest(const fs::directory_entry& entry) {
  std::error_code error;
  const std::string path = entry.path().string(), ending = entry.path().extension().string();
  const auto status = entry.status(error);
  if (fs::is_directory(status)) {
    if (entry.is_symlink(error)) out_.notes.push_back(path + ": is a link to a folder, passed over; name it to have it read");
    return false;
  }
  if ((ending != ".yaml" && ending != ".yml" && ending != ".json") || entry.path().filename().string().starts_with("kustomization."))
    return false;
  if (status.type() == fs::file_type::not_found) return make_error(Code::kNotFound, path + ": is a link to nothing");
  if (error) return make_error(Code::kIo, path + ": " + error.message());
  if (!fs::is_regular_file(status)) return make_error(Code::kInvalid, path + ": is no file");
  return true;
}

Status ManifestReader::read_folder(const std::string& path) {
  std::vector<std::string> files;
  std::error_code error;
  for (auto at = fs::recursive_directory_iterator(path, error); !error && at != fs::recursive_directory_iterator(); at.increment(error)) {
    const std::string name = at->path().filename().string();
    if (name.starts_with('.') && at->is_directory(error)) at.disable_recursion_pending();
    FW_ASSIGN(const bool wanted, is_manifest(*at));
    if (!wanted) continue;
    files.push_back(at->path().string());
    if (files_ + files.size() > kMaxFiles) return make_error(Code::kInvalid, path + ": has more than 20000 manifests");
  }
  if (error) return make_error(Code::kIo, path + ": " + error.message());
  if (files.empty()) return make_error(Code::kNotFound, path + ": has no *.yaml, *.yml or *.json");
  files_ += files.size();
  std::sort(files.begin(), files.end());
  for (const auto& file : files) {
    FW_ASSIGN(const std::string text, sys::read_file(file, kMaxFileBytes));
    read_text(file, text);
  }
  return {};
}

void ManifestReader::read_answer(const std::string& name, std::string text) {
  read_document(std::make_shared<Document>(Document{name, std::move(text), 1, false}), true);
}

// Documents are parted by lines of "---", which can stand nowhere else (YAML 1.2, 9.1.2).
void ManifestReader::read_text(const std::string& file, std::string_view text) {
  if (text.starts_with("\xef\xbb\xbf")) text.remove_prefix(3);
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string_view::npos) return;
  if (text[first] == '{' || text[first] == '[') return read_document(std::make_shared<Document>(Document{file, std::string(text)}), true);
  Document part{file, ""};
  std::size_t line_number = 0;
  const auto finish = [&] {
    if (part.text.find_first_not_of(" \t\r\n") != std::string::npos) read_document(std::make_shared<Document>(std::move(part)), false);
    part = {file, "", line_number + 1};
  };
  while (!text.empty()) {
    const auto end = std::min(text.find('\n'), text.size() - 1);
    const std::string_view line = text.substr(0, end + 1);
    ++line_number;
    std::string_view bare = line;
    while (!bare.empty() && (bare.back() == '\n' || bare.back() == '\r')) bare.remove_suffix(1);
    if (is_marker(bare)) finish();
    else part.text += line;
    text.remove_prefix(line.size());
  }
  finish();
}

void ManifestReader::read_document(std::shared_ptr<const Document> document, bool json) {
  auto body = json ? apiserver::read_json(document->text) : apiserver::read_yaml(document->text);
  if (!body.ok()) {
    out_.faults.push_back(fault_of(*document, body.error().message));
    return;
  }
  if (!body->duplicates.empty()) {
    out_.faults.push_back({{document->file, document->first_line}, "", "", body->duplicates.front()});
    return;
  }
  if (body->value.is_null()) return;  // only comments
  add(std::move(body->value), document, "", "");
}

void ManifestReader::add(Json value, std::shared_ptr<const Document> document, const std::string& path, const std::string& list_kind) {
  ManifestObject object{.kind = std::string(apiserver::text_at(value, "kind", list_kind)),
                        .version = std::string(apiserver::text_at(value, "apiVersion")),
                        .id = {std::string(apiserver::text_at(value, "metadata.namespace", default_namespace_)),
                               std::string(apiserver::text_at(value, "metadata.name"))},
                        .value = std::move(value),
                        .source = {std::move(document), path}};
  const auto refuse = [&](const char* field, const char* reason) {
    out_.faults.push_back({object.source.place(field), object.kind.empty() ? "" : object.name(), field, reason});
  };
  if (!object.value.is_object()) return refuse("", "is no object");
  if (object.kind.empty()) return refuse("kind", "is missing: this is no Kubernetes object");
  const auto* items = object.value.get_object().if_contains("items");
  if (items != nullptr && object.kind.ends_with("List")) {
    if (!items->is_array()) return refuse("items", "is no list");
    if (!path.empty()) return refuse("items", "is a list within a list");
    const std::string kind = object.kind.substr(0, object.kind.size() - 4);
    auto& list = object.value.get_object()["items"].get_array();
    for (std::size_t i = 0; i < list.size(); ++i) add(std::move(list[i]), object.source.document, "items[" + std::to_string(i) + "]", kind);
    return;
  }
  if (object.id.name.empty()) return refuse("metadata.name", "is missing");
  if (std::find(std::begin(kClusterKinds), std::end(kClusterKinds), object.kind) != std::end(kClusterKinds)) object.id.ns.clear();
  out_.objects.push_back(std::move(object));
}

Manifests applied_over(Manifests base, Manifests change) {
  if (base.objects.empty() && base.faults.empty()) return change;
  std::map<std::pair<std::string, model::Name>, std::size_t> known;
  for (std::size_t i = 0; i < base.objects.size(); ++i) known[{base.objects[i].kind, base.objects[i].id}] = i;
  for (auto& object : change.objects) {
    const auto [at, fresh] = known.try_emplace({object.kind, object.id}, base.objects.size());
    if (fresh) base.objects.push_back(std::move(object));
    else base.objects[at->second] = std::move(object);
  }
  for (auto& fault : change.faults) base.faults.push_back(std::move(fault));
  for (auto& note : change.notes) base.notes.push_back(std::move(note));
  return base;
}

}  // namespace fairway::policycheck
