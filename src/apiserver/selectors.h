// Label selectors (equality and set-based, as text in a query and as LabelSelector objects) and field selectors.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/json_util.h"

namespace fairway::apiserver {

class LabelSelector {
 public:
  static ApiResult<LabelSelector> parse(std::string_view text);
  bool empty() const { return requirements_.empty(); }
  bool matches(const Object* labels) const;

 private:
  enum class Op { kIn, kNotIn, kExists, kNotExists, kGreater, kLess };
  struct Requirement {
    std::string key;
    Op op;
    std::vector<std::string> values;
  };
  friend class LabelParser;
  std::vector<Requirement> requirements_;
};

class FieldSelector {
 public:
  // `allowed` are the kind's own fields; metadata.name and metadata.namespace always are.
  static ApiResult<FieldSelector> parse(std::string_view text, const std::vector<std::string_view>& allowed);
  bool empty() const { return terms_.empty(); }
  bool matches(const Json& object) const;
  // The name that metadata.name= asks for, or empty.
  std::string_view name() const;

 private:
  struct Term {
    std::string field, value;
    bool negated;
  };
  std::vector<Term> terms_;
};

// The text form of a LabelSelector object, for scale subresources and Table cells: "app=web,tier in (a,b)".
std::string selector_text(const Json& selector);

}  // namespace fairway::apiserver
