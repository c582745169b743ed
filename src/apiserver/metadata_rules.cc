// Metadata: what holds for the objects of all kinds (k8s.io/apimachinery/pkg/api/validation/objectmeta.go).
#include <fmt/format.h>

#include <random>

#include "apiserver/engine.h"
#include "apiserver/formats.h"
#include "apiserver/schema_check.h"

namespace fairway::apiserver {
namespace {

constexpr std::size_t kMaxAnnotationBytes = 256 << 10;

std::mt19937_64& random_engine() {
  static std::mt19937_64 engine{(std::uint64_t{std::random_device{}()} << 32) ^ std::random_device{}()};
  return engine;
}

std::vector<std::string> check_name(NameRule rule, std::string_view name) {
  switch (rule) {
    case NameRule::kSubdomain:
      return check_format(Format::kDnsSubdomain, name);
    case NameRule::kLabel:
      return check_format(Format::kDnsLabel, name);
    case NameRule::kDns1035:
      return check_format(Format::kDns1035Label, name);
    case NameRule::kFree:
      return check_path_segment(name);
  }
  return {};
}

void validate_annotations(const Object& annotations, FieldErrors& errors) {
  std::size_t total = 0;
  for (const auto& [key, value] : annotations) {
    std::string lower(key.data(), key.size());
    std::transform(lower.begin(), lower.end(), lower.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    for (const std::string& why : check_format(Format::kQualifiedName, lower))
      errors.invalid_text("metadata.annotations", std::string_view(key.data(), key.size()), why);
    total += key.size() + (value.is_string() ? value.get_string().size() : 0);
  }
  if (total > kMaxAnnotationBytes) errors.too_long("metadata.annotations", kMaxAnnotationBytes);
}

void validate_owners(const Array& owners, FieldErrors& errors) {
  std::string controller;
  for (std::size_t i = 0; i < owners.size(); ++i) {
    const std::string path = item("metadata.ownerReferences", i);
    if (text_at(owners[i], "kind") == "Event" && text_at(owners[i], "apiVersion") == "v1")
      errors.invalid(path, owners[i], "/v1, Kind=Event is disallowed from being an owner");
    if (!bool_at(owners[i], "controller")) continue;
    if (!controller.empty()) {
      errors.invalid("metadata.ownerReferences", owners,
                     fmt::format("Only one reference can have Controller set to true. Found \"true\" in references for {} and {}",
                                 controller, text_at(owners[i], "name")));
      break;
    }
    controller = text_at(owners[i], "name");
  }
}

void validate_finalizers(const Object& metadata, const Object* before, FieldErrors& errors) {
  const Array& finalizers = array_at(metadata, "finalizers");
  for (std::size_t i = 0; i < finalizers.size(); ++i) {
    if (!finalizers[i].is_string()) continue;
    const std::string_view name = view(finalizers[i].get_string());
    for (const std::string& why : check_format(Format::kQualifiedName, name)) errors.invalid("metadata.finalizers", finalizers[i], why);
    if (before == nullptr || find(*before, "metadata.deletionTimestamp") == nullptr) continue;
    const Array& old = array_at(*before, "metadata.finalizers");
    if (std::find(old.begin(), old.end(), finalizers[i]) == old.end()) {
      errors.forbidden(
          "metadata.finalizers",
          fmt::format("no new finalizers can be added if the object is being deleted, found new finalizers []string{{{}}}", quoted(name)));
    }
  }
}

}  // namespace

void rules::validate_labels(const Object* labels, const std::string& path, FieldErrors& errors) {
  if (labels == nullptr) return;
  for (const auto& [key, value] : *labels) {
    const std::string_view name(key.data(), key.size());
    for (const std::string& why : check_format(Format::kQualifiedName, name)) errors.invalid_text(path, name, why);
    if (!value.is_string()) continue;
    for (const std::string& why : check_format(Format::kLabelValue, view(value.get_string()))) errors.invalid(path, value, why);
  }
}

void rules::validate_immutable(const Object& object, const Object& before, std::string_view field, FieldErrors& errors) {
  const Json* now = find(object, field);
  const Json* old = find(before, field);
  if ((now == nullptr) == (old == nullptr) && (now == nullptr || *now == *old)) return;
  errors.invalid(std::string(field), now != nullptr ? *now : Json(nullptr), "field is immutable");
}

void validate_metadata(const Kind& kind, const Object& object, const Object* before, FieldErrors& errors) {
  const Object* metadata = object_at(object, "metadata");
  if (metadata == nullptr) return errors.required("metadata");
  const std::string_view name = text_at(*metadata, "name");
  if (before == nullptr) {
    for (const std::string& why : check_name(kind.name_rule, name)) errors.invalid_text("metadata.name", name, why);
    if (kind.namespaced) {
      const std::string_view ns = text_at(*metadata, "namespace");
      for (const std::string& why : check_format(Format::kDnsLabel, ns)) errors.invalid_text("metadata.namespace", ns, why);
    }
  }
  rules::validate_labels(object_at(*metadata, "labels"), "metadata.labels", errors);
  if (const Object* annotations = object_at(*metadata, "annotations")) validate_annotations(*annotations, errors);
  validate_owners(array_at(*metadata, "ownerReferences"), errors);
  validate_finalizers(*metadata, before, errors);
}

std::string make_uid() {
  const std::uint64_t high = random_engine()(), low = random_engine()();
  return fmt::format("{:08x}-{:04x}-4{:03x}-{:04x}-{:012x}", high >> 32, high >> 16 & 0xffff, high & 0xfff, 0x8000 | (low >> 48 & 0x3fff),
                     low & 0xffffffffffffULL);
}

std::string random_suffix() {
  static constexpr std::string_view kLetters = "bcdfghjklmnpqrstvwxz2456789";
  std::string text;
  for (int i = 0; i < 5; ++i) text += kLetters[random_engine()() % kLetters.size()];
  return text;
}

bool ready_to_go(const Kind& kind, const Json& object) {
  if (find(object, "metadata.deletionTimestamp") == nullptr || !array_at(object, "metadata.finalizers").empty()) return false;
  if (kind.kind == "Namespace" && kind.group.empty()) return array_at(object, "spec.finalizers").empty();
  return int_at(object, "metadata.deletionGracePeriodSeconds") == 0;
}

}  // namespace fairway::apiserver
