#include "model/policy.h"

#include <algorithm>

namespace fairway::model {
namespace {

bool holds(const LabelRequirement& r, const Labels& labels) {
  const auto found = labels.find(r.key);
  const bool has = found != labels.end();
  const bool in = has && std::binary_search(r.values.begin(), r.values.end(), found->second);
  switch (r.op) {
    case LabelRequirement::Op::kIn:
      return in;
    case LabelRequirement::Op::kNotIn:
      return !in;  // an object without the key too
    case LabelRequirement::Op::kExists:
      return has;
    case LabelRequirement::Op::kDoesNotExist:
      return !has;
  }
  return false;
}

}  // namespace

bool matches(const LabelSelector& selector, const Labels& labels) {
  return std::all_of(selector.requirements.begin(), selector.requirements.end(), [&](const auto& r) { return holds(r, labels); });
}

void canonicalize(LabelSelector& selector) {
  const auto sort_unique = [](auto& list) {
    std::sort(list.begin(), list.end());
    list.erase(std::unique(list.begin(), list.end()), list.end());
  };
  for (LabelRequirement& r : selector.requirements) sort_unique(r.values);
  sort_unique(selector.requirements);
}

}  // namespace fairway::model
