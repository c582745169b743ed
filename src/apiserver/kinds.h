// The kinds that are served: one row each, with what differs between them. A new kind is a row in kinds.cc, a message
// in a types_*.cc table, and, where it needs them, hooks (rules_*.cc) and columns (columns_*.cc).
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "apiserver/api_error.h"
#include "apiserver/schema.h"

namespace fairway::apiserver {

struct Printer;       // table.h
struct CustomSchema;  // crd_schema.h

enum class NameRule { kSubdomain, kLabel, kDns1035, kFree };

struct Kind {
  std::string group, version, kind, resource, singular;
  std::vector<std::string> short_names, categories;
  bool namespaced = true;
  std::vector<std::string> subresources;  // status, scale, and what is answered elsewhere (log, exec ...)
  NameRule name_rule = NameRule::kSubdomain;
  bool counts_generations = false;      // metadata.generation grows with spec
  bool keeps_status_on_create = false;  // Node: its kubelet registers it with a status
  bool review = false;                  // answered, never stored (SelfSubjectAccessReview)
  std::string_view not_run;             // why nobody may make one, and what to do instead; listed, it is always empty
  std::vector<std::string_view> selectable_fields;
  const Message* message = nullptr;  // null only for objects of a CRD without a schema
  const Printer* printer = nullptr;
  // Hooks; each may be null.
  void (*defaults)(Object& object) = nullptr;  // beyond the table's
  void (*prepare_create)(Object& object) = nullptr;
  void (*prepare_update)(Object& object, const Object& before) = nullptr;
  void (*validate)(const Object& object, const Object* before, FieldErrors& errors) = nullptr;
  // Objects of a CustomResourceDefinition
  std::shared_ptr<const CustomSchema> custom;

  std::string api_version() const { return group.empty() ? version : group + "/" + version; }
  std::string collection() const { return group + "/" + resource; }
  std::string list_kind() const { return kind + "List"; }
  bool has(std::string_view subresource) const;
  std::vector<std::string> verbs() const;
};
using KindPtr = std::shared_ptr<const Kind>;

class KindTable {
 public:
  KindTable();  // the built-in kinds
  KindPtr find(std::string_view group, std::string_view version, std::string_view resource) const;
  KindPtr find_kind(std::string_view api_version, std::string_view kind) const;
  const std::vector<KindPtr>& all() const { return kinds_; }
  bool has_group_version(std::string_view group, std::string_view version) const;
  // Those of a CustomResourceDefinition, by its name ("widgets.example.com").
  void set_custom(const std::string& definition, std::vector<KindPtr> kinds);

 private:
  void rebuild();
  std::vector<KindPtr> builtin_;
  std::map<std::string, std::vector<KindPtr>> custom_;
  std::vector<KindPtr> kinds_;
};

// The hooks of rules_*.cc.
namespace rules {
using Validate = void(const Object&, const Object*, FieldErrors&);
using Defaults = void(Object&);
using Prepare = void(Object&, const Object&);

Defaults default_namespace, default_secret, default_pod, default_workload, default_daemon_set, default_service, default_network_policy,
    default_crd, prepare_pod_create;
Prepare prepare_service_update, prepare_namespace_update, prepare_pod_update;
Validate validate_config_map, validate_secret, validate_node, validate_event, validate_pod, validate_workload, validate_daemon_set,
    validate_service, validate_endpoints, validate_endpoint_slice, validate_network_policy, validate_ingress, validate_ingress_class,
    validate_crd, validate_cluster_network_policy;

void validate_pod_spec(const Object& spec, const std::string& path, FieldErrors& errors);
void default_pod_spec(Object& spec);
void validate_label_selector(const Json& selector, const std::string& path, FieldErrors& errors);
void validate_immutable(const Object& object, const Object& before, std::string_view field, FieldErrors& errors);
void validate_labels(const Object* labels, const std::string& path, FieldErrors& errors);
std::string qos_class(const Object& spec);
}  // namespace rules

}  // namespace fairway::apiserver
