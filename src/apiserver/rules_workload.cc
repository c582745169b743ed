// Defaults and validation of Deployment, ReplicaSet and DaemonSet.
#include <fmt/format.h>

#include <algorithm>
#include <charconv>

#include "apiserver/kinds.h"
#include "apiserver/schema_check.h"
#include "apiserver/selectors.h"

namespace fairway::apiserver::rules {
namespace {

// An IntOrString of a rolling update: a count, or "25%".
bool is_zero(const Json* value) {
  if (value == nullptr) return true;
  if (value->is_int64()) return value->get_int64() == 0;
  const std::string_view text = value->is_string() ? view(value->get_string()) : std::string_view{};
  return text.find_first_not_of('0') == text.size() - 1 && text.ends_with('%');
}

void validate_share(const Json* value, const std::string& path, FieldErrors& errors) {
  if (value == nullptr) return;
  if (value->is_int64()) {
    if (value->get_int64() < 0) errors.invalid(path, *value, "must be greater than or equal to 0");
    return;
  }
  const std::string_view text = view(value->get_string());
  if (text.size() < 2 || !text.ends_with('%') ||
      text.substr(0, text.size() - 1).find_first_not_of("0123456789") != std::string_view::npos) {
    errors.invalid(path, *value,
                   "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for "
                   "validation is '[0-9]+%')");
  }
}

// What all three share: the selector and the pod template.
void validate_template(const Object& object, const Object* before, const char* what, FieldErrors& errors) {
  const Json& selector = *find(object, "spec.selector");
  validate_label_selector(selector, "spec.selector", errors);
  const Object* labels = object_at(object, "spec.template.metadata.labels");
  validate_labels(labels, "spec.template.metadata.labels", errors);
  if (selector.get_object().empty()) {
    errors.invalid("spec.selector", selector, fmt::format("empty selector is invalid for {}", what));
  } else if (auto parsed = LabelSelector::parse(selector_text(selector)); parsed.ok() && !parsed->matches(labels)) {
    errors.invalid("spec.template.metadata.labels", labels != nullptr ? Json(*labels) : Json(nullptr),
                   "`selector` does not match template `labels`");
  }
  if (const Object* spec = object_at(object, "spec.template.spec")) {
    validate_pod_spec(*spec, "spec.template.spec", errors);
    if (text_at(*spec, "restartPolicy") != "Always")
      errors.not_supported("spec.template.spec.restartPolicy", spec->at("restartPolicy"), {"Always"});
    if (spec->contains("activeDeadlineSeconds"))
      errors.forbidden("spec.template.spec.activeDeadlineSeconds", fmt::format("activeDeadlineSeconds in {} is not Supported", what));
  } else {
    errors.required("spec.template.spec.containers");
  }
  if (before != nullptr) validate_immutable(object, *before, "spec.selector", errors);
}

void validate_rolling(const Object& object, const std::string& path, bool surge_or_unavailable, FieldErrors& errors) {
  const Json* unavailable = find(object, path + ".rollingUpdate.maxUnavailable");
  const Json* surge = find(object, path + ".rollingUpdate.maxSurge");
  validate_share(unavailable, path + ".rollingUpdate.maxUnavailable", errors);
  validate_share(surge, path + ".rollingUpdate.maxSurge", errors);
  if (surge_or_unavailable && is_zero(unavailable) && is_zero(surge)) {
    errors.invalid(path + ".rollingUpdate.maxUnavailable", unavailable != nullptr ? *unavailable : Json(0),
                   "may not be 0 when `maxSurge` is 0");
  }
}

void default_template(Object& object) {
  if (Json* spec = find(object, "spec.template.spec"); spec != nullptr && spec->is_object()) default_pod_spec(spec->get_object());
}

}  // namespace

void default_workload(Object& object) {
  default_template(object);
  if (text_at(object, "spec.strategy.type") != "RollingUpdate") return;
  Object& rolling = ensure_object(object, "spec.strategy.rollingUpdate");
  rolling.emplace("maxUnavailable", "25%");
  rolling.emplace("maxSurge", "25%");
}

void default_daemon_set(Object& object) {
  default_template(object);
  if (text_at(object, "spec.updateStrategy.type") != "RollingUpdate") return;
  Object& rolling = ensure_object(object, "spec.updateStrategy.rollingUpdate");
  rolling.emplace("maxUnavailable", 1);
  rolling.emplace("maxSurge", 0);
}

void validate_workload(const Object& object, const Object* before, FieldErrors& errors) {
  const bool deployment = find(object, "spec.strategy") != nullptr;
  validate_template(object, before, deployment ? "deployment" : "replicaset", errors);
  if (!deployment) return;
  if (text_at(object, "spec.strategy.type") == "Recreate") {
    if (find(object, "spec.strategy.rollingUpdate") != nullptr)
      errors.forbidden("spec.strategy.rollingUpdate", "may not be specified when strategy `type` is 'Recreate'");
  } else {
    validate_rolling(object, "spec.strategy", true, errors);
  }
  const std::int64_t deadline = int_at(object, "spec.progressDeadlineSeconds");
  if (deadline <= int_at(object, "spec.minReadySeconds"))
    errors.invalid("spec.progressDeadlineSeconds", deadline, "must be greater than minReadySeconds");
}

void validate_daemon_set(const Object& object, const Object* before, FieldErrors& errors) {
  validate_template(object, before, "daemonset", errors);
  if (text_at(object, "spec.updateStrategy.type") == "RollingUpdate") validate_rolling(object, "spec.updateStrategy", true, errors);
}

}  // namespace fairway::apiserver::rules
