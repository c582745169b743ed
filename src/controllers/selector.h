// Label selectors (metav1.LabelSelector and plain maps) and node selector terms, as the API defines them:
// a selector that is absent matches nothing, one that is empty matches everything, an unknown operator nothing.
#pragma once

#include "controllers/json.h"

namespace fairway::controllers {

class LabelSelector {
 public:
  static LabelSelector of(const Json* selector) { return LabelSelector(selector); }
  bool matches(const json::object& labels) const;
  bool is_empty() const;

 private:
  explicit LabelSelector(const Json* selector) : selector_(selector) {}
  const Json* selector_;  // must outlive this
};

bool matches_map(const json::object& wanted, const json::object& labels);  // spec.selector of a Service, nodeSelector

// One matchExpressions entry: In, NotIn, Exists, DoesNotExist, and (nodes) Gt, Lt.
bool matches_requirement(const Json& requirement, const json::object& labels);

// requiredDuringSchedulingIgnoredDuringExecution: terms are ORed, what is in a term is ANDed, an empty term matches nothing.
bool matches_node_terms(const json::array& terms, const Json& node);

}  // namespace fairway::controllers
