// Defaults and validation of Namespace, Node, ConfigMap, Secret and Event, beyond the tables.
#include <fmt/format.h>

#include <set>

#include "apiserver/formats.h"
#include "apiserver/kinds.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver::rules {
namespace {

constexpr std::size_t kMaxDataBytes = 1 << 20;

std::string_view key_of(const boost::json::key_value_pair& entry) { return {entry.key().data(), entry.key().size()}; }

// `decoded`: the values are base64.
std::size_t check_keys(const Object& object, const char* field, bool decoded, FieldErrors& errors) {
  std::size_t total = 0;
  const Object* data = object_at(object, field);
  if (data == nullptr) return 0;
  for (const auto& entry : *data) {
    for (const std::string& why : check_format(Format::kConfigKey, key_of(entry)))
      errors.invalid_text(item(field, key_of(entry)), key_of(entry), why);
    if (entry.value().is_string()) total += decoded ? entry.value().get_string().size() / 4 * 3 : entry.value().get_string().size();
  }
  return total;
}

void check_immutable_data(const Object& object, const Object* before, std::initializer_list<const char*> fields, FieldErrors& errors) {
  if (before == nullptr || !bool_at(*before, "immutable")) return;
  if (!bool_at(object, "immutable")) errors.forbidden("immutable", "field is immutable when `immutable` is set");
  for (const char* field : fields) {
    const Json *now = object.if_contains(field), *old = before->if_contains(field);
    if ((now == nullptr) != (old == nullptr) || (now != nullptr && *now != *old))
      errors.forbidden(field, "field is immutable when `immutable` is set");
  }
}

}  // namespace

// Every namespace is found by its label (KEP-2161).
void default_namespace(Object& object) {
  Object& labels = ensure_object(object, "metadata.labels");
  labels["kubernetes.io/metadata.name"] = boost::json::string(text_at(object, "metadata.name"));
  if (find(object, "metadata.deletionTimestamp") == nullptr && array_at(object, "spec.finalizers").empty())
    set_at(object, "spec.finalizers", Array{"kubernetes"});
}

void prepare_namespace_update(Object& object, const Object& before) {
  set_at(object, "spec.finalizers", array_at(before, "spec.finalizers"));
  if (array_at(object, "spec.finalizers").empty()) erase_at(object, "spec.finalizers");
}

void validate_node(const Object& object, const Object* before, FieldErrors& errors) {
  std::set<std::pair<std::string_view, std::string_view>> seen;
  const Array& taints = array_at(object, "spec.taints");
  for (std::size_t i = 0; i < taints.size(); ++i) {
    if (!seen.emplace(text_at(taints[i], "key"), text_at(taints[i], "effect")).second) errors.duplicate(item("spec.taints", i), taints[i]);
    for (const std::string& why : check_format(Format::kLabelValue, text_at(taints[i], "value")))
      errors.invalid_text(item("spec.taints", i) + ".value", text_at(taints[i], "value"), why);
  }
  const Array& ranges = array_at(object, "spec.podCIDRs");
  for (std::size_t i = 0; i < ranges.size(); ++i) {
    if (!ranges[i].is_string() || !lenient_cidr(view(ranges[i].get_string())))
      errors.invalid(item("spec.podCIDRs", i), ranges[i], "must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)");
  }
  if (before == nullptr) return;
  const Array& old = array_at(*before, "spec.podCIDRs");
  if (!old.empty() && old != ranges) errors.forbidden("spec.podCIDRs", "node updates may not change podCIDR except from \"\" to valid");
}

void validate_config_map(const Object& object, const Object* before, FieldErrors& errors) {
  const std::size_t total = check_keys(object, "data", false, errors) + check_keys(object, "binaryData", true, errors);
  if (const Object* text = object_at(object, "data"), *binary = object_at(object, "binaryData"); text != nullptr && binary != nullptr) {
    for (const auto& entry : *text) {
      if (binary->contains(entry.key()))
        errors.invalid_text(item("data", key_of(entry)), key_of(entry), "duplicate of key present in binaryData");
    }
  }
  if (total > kMaxDataBytes) errors.add({"FieldValueTooLong", fmt::format("Too long: may not be more than {} bytes", kMaxDataBytes), "[]"});
  check_immutable_data(object, before, {"data", "binaryData"}, errors);
}

void default_secret(Object& object) {
  const Json* plain = object.if_contains("stringData");
  if (plain != nullptr && plain->is_object()) {
    Object& data = ensure_object(object, "data");
    // `plain` may have moved with the insertion.
    for (const auto& entry : object.at("stringData").get_object())
      data[entry.key()] = boost::json::string(base64_encode(view(entry.value().get_string())));
    erase_key(object, "stringData");
  }
}

void validate_secret(const Object& object, const Object* before, FieldErrors& errors) {
  if (check_keys(object, "data", true, errors) > kMaxDataBytes) errors.too_long("data", kMaxDataBytes);
  static constexpr std::pair<std::string_view, std::string_view> kNeeded[] = {{"kubernetes.io/dockercfg", ".dockercfg"},
                                                                              {"kubernetes.io/dockerconfigjson", ".dockerconfigjson"},
                                                                              {"kubernetes.io/ssh-auth", "ssh-privatekey"},
                                                                              {"kubernetes.io/tls", "tls.crt"},
                                                                              {"kubernetes.io/tls", "tls.key"}};
  for (const auto& [type, key] : kNeeded) {
    const Object* data = object_at(object, "data");
    if (text_at(object, "type") == type && (data == nullptr || !data->contains(key))) errors.required(item("data", key));
  }
  if (before != nullptr) validate_immutable(object, *before, "type", errors);
  check_immutable_data(object, before, {"data"}, errors);
}

void validate_event(const Object& object, const Object*, FieldErrors& errors) {
  const std::string_view ns = text_at(object, "involvedObject.namespace");
  const std::string_view own = text_at(object, "metadata.namespace");
  if (ns.empty() ? own != "default" && own != "kube-system" : ns != own)
    errors.invalid_text("involvedObject.namespace", ns, "does not match event.namespace");
}

void validate_label_selector(const Json& selector, const std::string& path, FieldErrors& errors) {
  validate_labels(object_at(selector, "matchLabels"), path + ".matchLabels", errors);
  const Array& expressions = array_at(selector, "matchExpressions");
  for (std::size_t i = 0; i < expressions.size(); ++i) {
    const std::string at = item(path + ".matchExpressions", i);
    const std::string_view op = text_at(expressions[i], "operator");
    const Array& values = array_at(expressions[i], "values");
    const bool listed = op == "In" || op == "NotIn", bare = op == "Exists" || op == "DoesNotExist";
    if (!listed && !bare) errors.invalid_text(at + ".operator", op, "not a valid selector operator");
    if (listed && values.empty()) errors.required(at + ".values", "must be specified when `operator` is 'In' or 'NotIn'");
    if (bare && !values.empty()) errors.forbidden(at + ".values", "may not be specified when `operator` is 'Exists' or 'DoesNotExist'");
    for (const std::string& why : check_format(Format::kQualifiedName, text_at(expressions[i], "key")))
      errors.invalid_text(at + ".key", text_at(expressions[i], "key"), why);
    for (std::size_t k = 0; k < values.size(); ++k) {
      for (const std::string& why : check_format(Format::kLabelValue, view(values[k].get_string())))
        errors.invalid(item(at + ".values", k), values[k], why);
    }
  }
}

}  // namespace fairway::apiserver::rules
