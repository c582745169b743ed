#include "apiserver/selectors.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <optional>

#include "apiserver/formats.h"

namespace fairway::apiserver {

// requirement := key | !key | key (=|==|!=|>|<) value | key (in|notin) (v,...)
class LabelParser {
 public:
  explicit LabelParser(std::string_view text) : text_(text) {}

  ApiResult<LabelSelector> parse() {
    LabelSelector selector;
    skip_space();
    while (!text_.empty()) {
      LabelSelector::Requirement requirement;
      if (std::string problem = read(requirement); !problem.empty()) return bad_request("unable to parse requirement: " + problem);
      selector.requirements_.push_back(std::move(requirement));
      skip_space();
      if (text_.empty()) break;
      if (text_[0] != ',')
        return bad_request(fmt::format("unable to parse requirement: found '{}', expected: ',' or 'end of string'", text_));
      text_.remove_prefix(1);
      skip_space();
      if (text_.empty()) return bad_request("unable to parse requirement: found '', expected: identifier after ','");
    }
    return selector;
  }

 private:
  using Op = LabelSelector::Op;

  void skip_space() { text_.remove_prefix(std::min(text_.find_first_not_of(" \t"), text_.size())); }

  bool eat(std::string_view token) {
    skip_space();
    if (!text_.starts_with(token)) return false;
    text_.remove_prefix(token.size());
    return true;
  }

  std::string word() {
    skip_space();
    std::string found(text_.substr(0, text_.find_first_of(" \t,=!()<>")));
    text_.remove_prefix(found.size());
    return found;
  }

  std::string read(LabelSelector::Requirement& into) {
    const bool negated = eat("!");
    into.key = word();
    if (const auto errors = check_format(Format::kQualifiedName, into.key); !errors.empty())
      return fmt::format("<nil>: Invalid value: {}: {}", quoted(into.key), errors[0]);
    if (negated) {
      into.op = Op::kNotExists;
      return {};
    }
    into.op = Op::kExists;
    skip_space();
    if (text_.empty() || text_[0] == ',') return {};
    if (eat("==") || eat("=")) return one_value(into, Op::kIn);
    if (eat("!=")) return one_value(into, Op::kNotIn);
    if (eat(">")) return one_value(into, Op::kGreater);
    if (eat("<")) return one_value(into, Op::kLess);
    const std::string op = word();
    if (op == "in") return value_list(into, Op::kIn);
    if (op == "notin") return value_list(into, Op::kNotIn);
    return fmt::format("found '{}', expected: in, notin, =, ==, !=, gt, lt", op);
  }

  std::string one_value(LabelSelector::Requirement& into, Op op) {
    into.op = op;
    into.values.push_back(word());
    return check_value(into.values.back());
  }

  std::string value_list(LabelSelector::Requirement& into, Op op) {
    into.op = op;
    if (!eat("(")) return fmt::format("found '{}' expected: '('", text_.substr(0, 1));
    do {
      into.values.push_back(word());
      if (std::string problem = check_value(into.values.back()); !problem.empty()) return problem;
    } while (eat(","));
    return eat(")") ? std::string() : fmt::format("found '{}', expected: ',' or ')'", text_.substr(0, 1));
  }

  static std::string check_value(const std::string& value) {
    const auto errors = check_format(Format::kLabelValue, value);
    return errors.empty() ? std::string() : fmt::format("values[0]: Invalid value: {}: {}", quoted(value), errors[0]);
  }

  std::string_view text_;
};

ApiResult<LabelSelector> LabelSelector::parse(std::string_view text) { return LabelParser(text).parse(); }

namespace {

std::optional<std::int64_t> to_int(std::string_view text) {
  std::int64_t number = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  return error == std::errc{} && end == text.data() + text.size() ? std::optional(number) : std::nullopt;
}

}  // namespace

bool LabelSelector::matches(const Object* labels) const {
  for (const Requirement& requirement : requirements_) {
    const Json* found = labels != nullptr ? labels->if_contains(requirement.key) : nullptr;
    const std::string_view value = found != nullptr && found->is_string() ? view(found->get_string()) : std::string_view{};
    const bool listed =
        found != nullptr && std::find(requirement.values.begin(), requirement.values.end(), value) != requirement.values.end();
    bool fine = false;
    switch (requirement.op) {
      case Op::kIn:
        fine = listed;
        break;
      case Op::kNotIn:
        fine = !listed;
        break;
      case Op::kExists:
        fine = found != nullptr;
        break;
      case Op::kNotExists:
        fine = found == nullptr;
        break;
      case Op::kGreater:
      case Op::kLess: {
        const auto have = found != nullptr ? to_int(value) : std::nullopt;
        const auto bound = to_int(requirement.values[0]);
        fine = have && bound && (requirement.op == Op::kGreater ? *have > *bound : *have < *bound);
        break;
      }
    }
    if (!fine) return false;
  }
  return true;
}

ApiResult<FieldSelector> FieldSelector::parse(std::string_view text, const std::vector<std::string_view>& allowed) {
  FieldSelector selector;
  while (!text.empty()) {
    const auto comma = text.find(',');
    std::string_view term = text.substr(0, comma);
    text = comma == std::string_view::npos ? std::string_view{} : text.substr(comma + 1);
    if (term.empty()) continue;
    const auto equals = term.find('=');
    if (equals == std::string_view::npos || equals == 0)
      return bad_request(fmt::format("invalid selector: '{}'; can't understand '{}'", term, term));
    const bool negated = term[equals - 1] == '!';
    const std::string_view field = term.substr(0, equals - (negated ? 1 : 0));
    std::string_view value = term.substr(equals + 1);
    if (value.starts_with('=') && !negated) value.remove_prefix(1);
    if (field != "metadata.name" && field != "metadata.namespace" && std::find(allowed.begin(), allowed.end(), field) == allowed.end()) {
      return bad_request(fmt::format("field label not supported: {}", field));
    }
    selector.terms_.push_back({std::string(field), std::string(value), negated});
  }
  return selector;
}

bool FieldSelector::matches(const Json& object) const {
  for (const Term& term : terms_) {
    const Json* found = find(object, term.field);
    std::string text;
    if (found != nullptr) text = found->is_string() ? std::string(view(found->get_string())) : scalar_text(*found);
    else if (term.value == "false") text = "false";  // Go's zero: spec.unschedulable=false
    if ((text == term.value) == term.negated) return false;
  }
  return true;
}

std::string_view FieldSelector::name() const {
  for (const Term& term : terms_) {
    if (term.field == "metadata.name" && !term.negated) return term.value;
  }
  return {};
}

std::string selector_text(const Json& selector) {
  std::vector<std::string> parts;
  if (const Object* labels = object_at(selector, "matchLabels")) {
    for (const auto& [key, value] : *labels) {
      if (value.is_string()) parts.push_back(fmt::format("{}={}", std::string_view(key.data(), key.size()), view(value.get_string())));
    }
  }
  std::sort(parts.begin(), parts.end());
  for (const Json& expression : array_at(selector, "matchExpressions")) {
    const std::string_view key = text_at(expression, "key"), op = text_at(expression, "operator");
    std::string values;
    for (const Json& value : array_at(expression, "values"))
      values += (values.empty() ? "" : ",") + (value.is_string() ? std::string(view(value.get_string())) : scalar_text(value));
    if (op == "Exists") parts.emplace_back(key);
    else if (op == "DoesNotExist") parts.push_back(fmt::format("!{}", key));
    else parts.push_back(fmt::format("{} {} ({})", key, op == "In" ? "in" : "notin", values));
  }
  std::string text;
  for (const std::string& part : parts) text += (text.empty() ? "" : ",") + part;
  return text;
}

}  // namespace fairway::apiserver
