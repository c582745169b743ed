#include <fmt/format.h>

#include <charconv>
#include <set>
#include <utility>

#include "apiserver/body_reader.h"
#include "apiserver/yaml_merge.h"

namespace fairway::apiserver {
namespace {

// A plain scalar's type by YAML 1.1's core rules as sigs.k8s.io/yaml reads them; quoted ones are strings.
Json scalar(const YAML::Node& node) {
  const std::string& text = node.Scalar();
  if (node.Tag() != "?") return Json(boost::json::string(text));
  if (text.empty() || text == "~" || text == "null" || text == "Null" || text == "NULL") return nullptr;
  for (const char* yes : {"true", "True", "TRUE", "yes", "Yes", "YES", "on", "On", "ON", "y", "Y"}) {
    if (text == yes) return true;
  }
  for (const char* no : {"false", "False", "FALSE", "no", "No", "NO", "off", "Off", "OFF", "n", "N"}) {
    if (text == no) return false;
  }
  std::string_view digits = text;
  int base = 10;
  const bool negative = digits.starts_with('-');
  if (negative || digits.starts_with('+')) digits.remove_prefix(1);
  if (digits.starts_with("0x")) base = 16;
  else if (digits.starts_with("0o")) base = 8;
  if (base != 10) digits.remove_prefix(2);
  else if (digits.size() > 1 && digits[0] == '0' && digits.find_first_not_of("01234567") == std::string_view::npos) base = 8;
  std::int64_t number = 0;
  const auto whole = std::from_chars(digits.data(), digits.data() + digits.size(), number, base);
  if (whole.ec == std::errc{} && whole.ptr == digits.data() + digits.size() && !digits.starts_with('-')) return negative ? -number : number;
  if (!digits.empty() && (digits[0] == '.' || (digits[0] >= '0' && digits[0] <= '9'))) {
    double real = 0;
    const auto fraction = std::from_chars(digits.data(), digits.data() + digits.size(), real);
    if (fraction.ec == std::errc{} && fraction.ptr == digits.data() + digits.size()) return negative ? -real : real;
  }
  return Json(boost::json::string(text));
}

class Converter {
 public:
  explicit Converter(std::vector<std::string>& duplicates) : duplicates_(duplicates) {}

  // Throws YAML::Exception beyond the limits; caught in read_yaml.
  Json convert(const YAML::Node& node, const std::string& path, std::size_t depth) {
    if (depth > kMaxDepth) throw YAML::Exception(node.Mark(), "nested too deeply");
    if (++nodes_ > kMaxYamlNodes) throw YAML::Exception(node.Mark(), "too many nodes");
    switch (node.Type()) {
      case YAML::NodeType::Scalar:
        return scalar(node);
      case YAML::NodeType::Sequence: {
        Array list;
        for (std::size_t i = 0; i < node.size(); ++i) list.push_back(convert(node[i], fmt::format("{}[{}]", path, i), depth + 1));
        return list;
      }
      case YAML::NodeType::Map:
        return convert_map(node, path, depth);
      default:
        return nullptr;
    }
  }

 private:
  Object convert_map(const YAML::Node& node, const std::string& path, std::size_t depth) {
    Object object;
    std::set<std::string> merged;  // keys that only a merge key has given yet
    bool merges = false;
    for (const auto& entry : node) {
      if (!entry.first.IsScalar()) throw YAML::Exception(entry.first.Mark(), "a key is no scalar");
      const std::string& key = entry.first.Scalar();
      const std::string at = path.empty() ? key : path + "." + key;
      const bool merge_key = is_merge_key(entry.first);
      if (merge_key ? std::exchange(merges, true) : object.contains(key) && merged.erase(key) == 0)
        duplicates_.push_back(fmt::format("duplicate field \"{}\"", at));
      if (merge_key) merge(entry.second, path, depth + 1, object, merged);
      else object[key] = convert(entry.second, at, depth + 1);
    }
    return object;
  }

  // Of a list the first map wins, so it comes last.
  void merge(const YAML::Node& value, const std::string& path, std::size_t depth, Object& object, std::set<std::string>& merged) {
    const auto add = [&](const YAML::Node& map) {
      if (!map.IsMap()) throw YAML::Exception(map.Mark(), "map merge requires map or sequence of maps as the value");
      const Json fields = convert(map, path, depth);
      for (const auto& [key, field] : fields.get_object()) {
        if (!object.contains(key)) merged.emplace(key);
        object[key] = field;
      }
    };
    if (!value.IsSequence()) return add(value);
    for (std::size_t i = value.size(); i-- > 0;) add(value[i]);
  }

  std::vector<std::string>& duplicates_;
  std::size_t nodes_ = 0;
};

}  // namespace

ApiResult<Body> read_yaml(std::string_view text) {
  Body body;
  try {
    const YAML::Node root = YAML::Load(std::string(text));
    body.value = Converter(body.duplicates).convert(root, "", 0);
  } catch (const YAML::Exception& error) {
    return bad_request(fmt::format("error converting YAML to JSON: yaml: line {}: {}", error.mark.line + 1, error.msg));
  } catch (const std::exception& error) { return bad_request(fmt::format("error converting YAML to JSON: {}", error.what())); }
  return body;
}

}  // namespace fairway::apiserver
