// Table output: what `kubectl get` prints. Columns are upstream's (pkg/printers/internalversion/printers.go).
#pragma once

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "apiserver/json_util.h"
#include "apiserver/kinds.h"
#include "apiserver/store.h"

namespace fairway::apiserver {

// `columns` names them; '|' goes to those of `-o wide` alone, and back: "Name Ready Status|IP Node". Underscores stand for spaces.
struct Printer {
  std::string_view columns;
  std::vector<std::string> (*cells)(const Object& object);
};

enum class IncludeObject { kNone, kMetadata, kObject };

Array column_definitions(const Kind& kind);
Json table_row(const Kind& kind, const StoredObject& object, IncludeObject include);
// A Table of these rows; `metadata` is the list's.
Json make_table(const Kind& kind, Array rows, Object metadata, bool with_columns);

std::string age_text(std::string_view time);  // "5m12s", "<unknown>"
std::string human_duration(std::int64_t seconds);

// columns_*.cc
namespace printers {
extern const Printer kDefault, kNamespace, kNode, kPod, kService, kEndpoints, kConfigMap, kSecret, kServiceAccount, kEvent, kDeployment,
    kReplicaSet, kDaemonSet, kControllerRevision, kLease, kEndpointSlice, kNetworkPolicy, kIngress, kIngressClass, kCrd;
}  // namespace printers

}  // namespace fairway::apiserver
