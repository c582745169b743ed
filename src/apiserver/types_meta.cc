// Types of metadata and what all kinds share. The notation is explained in schema_text.h; numbers are those of k8s.io/api's
// generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kMetaTypes = R"(
message ObjectMeta
  name                          1 string
  generateName                  2 string
  namespace                     3 string
  selfLink                      4 string
  uid                           5 string
  resourceVersion               6 string
  generation                    7 int64
  creationTimestamp             8 time
  deletionTimestamp             9 time?
  deletionGracePeriodSeconds   10 int64?
  labels                       11 map<string>
  annotations                  12 map<string>
  ownerReferences              13 []OwnerReference key(uid)
  finalizers                   14 []string set
  managedFields                17 []ManagedFieldsEntry
message LabelSelector; matchLabels 1 map<string>; matchExpressions 2 []LabelSelectorRequirement
message DeleteOptions
  gracePeriodSeconds    1 int64?
  preconditions         2 Preconditions?
  orphanDependents      3 bool?
  propagationPolicy     4 string?
  dryRun                5 []string
message Condition
  type                  1 string zero
  status                2 string zero
  observedGeneration    3 int64
  lastTransitionTime    4 time
  reason                5 string zero
  message               6 string zero
message OwnerReference
  apiVersion            5 string !
  kind                  1 string !
  name                  3 string !
  uid                   4 string !
  controller            6 bool?
  blockOwnerDeletion    7 bool?
message ManagedFieldsEntry
  manager        1 string
  operation      2 string
  apiVersion     3 string
  time           4 time?
  fieldsType     6 string
  fieldsV1       7 any?
  subresource    8 string
message LabelSelectorRequirement; key 1 string !; operator 2 string; values 3 []string
message Preconditions; uid 1 string?; resourceVersion 2 string?
)";

}  // namespace fairway::apiserver
