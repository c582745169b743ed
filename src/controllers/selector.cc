#include "controllers/selector.h"

#include <algorithm>
#include <charconv>

namespace fairway::controllers {
namespace {

bool has_value(const Json& requirement, std::string_view value) {
  const auto& values = items(requirement, "values");
  return std::any_of(values.begin(), values.end(), [&](const Json& v) { return as_text(&v) == value; });
}

std::optional<std::int64_t> to_number(std::string_view digits) {
  std::int64_t n = 0;
  const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), n);
  if (error != std::errc{} || end != digits.data() + digits.size()) return std::nullopt;
  return n;
}

bool compares(const Json& requirement, std::string_view label, bool greater) {
  const auto& values = items(requirement, "values");
  const auto left = to_number(label);
  const auto right = values.size() == 1 ? to_number(as_text(&values[0])) : std::nullopt;
  return left && right && (greater ? *left > *right : *left < *right);
}

}  // namespace

bool matches_map(const json::object& wanted, const json::object& labels) {
  return std::all_of(wanted.begin(), wanted.end(), [&](const auto& pair) {
    const Json* label = labels.if_contains(pair.key());
    return label && as_text(label) == as_text(&pair.value());
  });
}

bool matches_requirement(const Json& requirement, const json::object& labels) {
  const auto op = text(requirement, "operator");
  const Json* label = labels.if_contains(text(requirement, "key"));
  if (op == "In") return label && has_value(requirement, as_text(label));
  if (op == "NotIn") return !label || !has_value(requirement, as_text(label));
  if (op == "Exists") return label != nullptr;
  if (op == "DoesNotExist") return label == nullptr;
  if (op == "Gt" || op == "Lt") return label && compares(requirement, as_text(label), op == "Gt");
  return false;
}

bool LabelSelector::matches(const json::object& labels) const {
  if (!selector_ || !selector_->is_object()) return false;
  if (!matches_map(fields(*selector_, "matchLabels"), labels)) return false;
  const auto& expressions = items(*selector_, "matchExpressions");
  return std::all_of(expressions.begin(), expressions.end(), [&](const Json& e) { return matches_requirement(e, labels); });
}

bool LabelSelector::is_empty() const {
  return !selector_ || (fields(*selector_, "matchLabels").empty() && items(*selector_, "matchExpressions").empty());
}

bool matches_node_terms(const json::array& terms, const Json& node) {
  const json::object node_fields{{"metadata.name", name_of(node)}};
  return std::any_of(terms.begin(), terms.end(), [&](const Json& term) {
    const auto& expressions = items(term, "matchExpressions");
    const auto& on_fields = items(term, "matchFields");
    if (expressions.empty() && on_fields.empty()) return false;
    const auto& labels = fields(node, "metadata", "labels");
    return std::all_of(expressions.begin(), expressions.end(), [&](const Json& e) { return matches_requirement(e, labels); }) &&
           std::all_of(on_fields.begin(), on_fields.end(), [&](const Json& e) { return matches_requirement(e, node_fields); });
  });
}

}  // namespace fairway::controllers
