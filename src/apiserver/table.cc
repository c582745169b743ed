#include "apiserver/table.h"

#include <fmt/format.h>

#include <algorithm>

#include "apiserver/crd_schema.h"
#include "apiserver/formats.h"

namespace fairway::apiserver {
namespace {

Json definition(std::string name, std::string type, std::string format, std::string description, int priority) {
  return Object{{"name", name}, {"type", type}, {"format", format}, {"description", description}, {"priority", priority}};
}

Json custom_cell(const PrinterColumn& column, const Json& object) {
  const Json* value = at_json_path(object, column.json_path);
  if (value == nullptr || value->is_null()) return nullptr;
  if (column.type == "date") return boost::json::string(value->is_string() ? age_text(view(value->get_string())) : "<unknown>");
  if (column.type == "string" && !value->is_string()) return boost::json::string(to_text(*value));
  return *value;
}

Array custom_cells(const CustomSchema& schema, const Json& object) {
  Array cells{boost::json::string(text_at(object, "metadata.name"))};
  for (const PrinterColumn& column : schema.columns) cells.push_back(custom_cell(column, object));
  if (schema.columns.empty()) cells.emplace_back(boost::json::string(age_text(text_at(object, "metadata.creationTimestamp"))));
  return cells;
}

}  // namespace

// k8s.io/apimachinery/pkg/util/duration.HumanDuration
std::string human_duration(std::int64_t seconds) {
  if (seconds < -1) return "<invalid>";
  if (seconds < 0) return "0s";
  if (seconds < 120) return fmt::format("{}s", seconds);
  const std::int64_t minutes = seconds / 60;
  if (minutes < 10) return seconds % 60 == 0 ? fmt::format("{}m", minutes) : fmt::format("{}m{}s", minutes, seconds % 60);
  if (minutes < 180) return fmt::format("{}m", minutes);
  const std::int64_t hours = seconds / 3600;
  if (hours < 8) return minutes % 60 == 0 ? fmt::format("{}h", hours) : fmt::format("{}h{}m", hours, minutes % 60);
  if (hours < 48) return fmt::format("{}h", hours);
  const std::int64_t days = hours / 24;
  if (hours < 192) return hours % 24 == 0 ? fmt::format("{}d", days) : fmt::format("{}d{}h", days, hours % 24);
  if (days < 730) return fmt::format("{}d", days);
  const std::int64_t years = days / 365;
  if (years < 8) return days % 365 == 0 ? fmt::format("{}y", years) : fmt::format("{}y{}d", years, days % 365);
  return fmt::format("{}y", years);
}

std::string age_text(std::string_view time) {
  const auto then = parse_time(time);
  return then ? human_duration(now_seconds() - *then) : "<unknown>";
}

Array column_definitions(const Kind& kind) {
  Array list;
  if (kind.custom) {
    list.push_back(definition("Name", "string", "name", "Name must be unique within a namespace", 0));
    for (const PrinterColumn& column : kind.custom->columns)
      list.push_back(definition(column.name, column.type, column.format, column.description, column.priority));
    if (kind.custom->columns.empty()) list.push_back(definition("Age", "date", "", "Time since creation", 0));
    return list;
  }
  std::string_view rest = kind.printer->columns;
  int priority = 0;
  while (!rest.empty()) {
    const auto end = rest.find_first_of(" |");
    std::string name(rest.substr(0, end));
    std::replace(name.begin(), name.end(), '_', ' ');
    list.push_back(definition(name, "string", name == "Name" ? "name" : "", "", priority));
    if (end == std::string_view::npos) break;
    if (rest[end] == '|') priority = 1 - priority;
    rest.remove_prefix(end + 1);
  }
  return list;
}

Json table_row(const Kind& kind, const StoredObject& object, IncludeObject include) {
  Array cells;
  if (kind.custom) {
    cells = custom_cells(*kind.custom, object.value);
  } else {
    for (std::string& cell : kind.printer->cells(object.value.get_object())) cells.emplace_back(boost::json::string(cell));
  }
  Object row{{"cells", std::move(cells)}};
  if (include == IncludeObject::kObject) row["object"] = object.value;
  if (include == IncludeObject::kMetadata)
    row["object"] = Object{{"kind", "PartialObjectMetadata"}, {"apiVersion", "meta.k8s.io/v1"}, {"metadata", object.value.at("metadata")}};
  return row;
}

Json make_table(const Kind& kind, Array rows, Object metadata, bool with_columns) {
  return Object{{"kind", "Table"},
                {"apiVersion", "meta.k8s.io/v1"},
                {"metadata", std::move(metadata)},
                {"columnDefinitions", with_columns ? Json(column_definitions(kind)) : Json(nullptr)},
                {"rows", std::move(rows)}};
}

}  // namespace fairway::apiserver
