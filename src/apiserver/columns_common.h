// What the printers of several kinds share.
#pragma once

#include <fmt/format.h>

#include <string>
#include <vector>

#include "apiserver/json_util.h"
#include "apiserver/selectors.h"
#include "apiserver/table.h"

namespace fairway::apiserver::printers {

using Cells = std::vector<std::string>;

inline std::string name_of(const Object& object) { return std::string(text_at(object, "metadata.name")); }
inline std::string age_of(const Object& object) { return age_text(text_at(object, "metadata.creationTimestamp")); }
inline std::string or_none(const std::string& text) { return text.empty() ? "<none>" : text; }
inline std::string count_of(const Object& object, std::string_view path) { return std::to_string(int_at(object, path)); }

inline std::string join(const std::vector<std::string>& parts, std::string_view separator = ",") {
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : std::string(separator)) + part;
  return text;
}

// "app=web,tier=front", sorted as upstream's labels.Set prints it.
std::string labels_text(const Object* labels);
std::string containers_text(const Object& object, std::string_view path, std::string_view field);
inline std::string selector_cell(const Object& object, std::string_view path) {
  const Json* selector = find(object, path);
  return or_none(selector != nullptr ? selector_text(*selector) : "");
}

}  // namespace fairway::apiserver::printers
