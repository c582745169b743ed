// Types of authentication.k8s.io/v1, authorization.k8s.io/v1, policy/v1, apiextensions.k8s.io/v1. The notation is explained in
// schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kExtensionTypes = R"(
message SelfSubjectReview; metadata 1 ObjectMeta; status 2 SelfSubjectReviewStatus
message SelfSubjectReviewStatus; userInfo 1 UserInfo
message UserInfo; username 1 string; uid 2 string; groups 3 []string; extra 4 any
message SelfSubjectAccessReview; metadata 1 ObjectMeta; spec 2 SelfSubjectAccessReviewSpec; status 3 SubjectAccessReviewStatus
message SelfSubjectRulesReview; metadata 1 ObjectMeta; spec 2 SelfSubjectRulesReviewSpec; status 3 SubjectRulesReviewStatus
message NotRun; metadata 1 ObjectMeta; spec 2 any
message Eviction; metadata 1 ObjectMeta; deleteOptions 2 DeleteOptions?
message SelfSubjectAccessReviewSpec; resourceAttributes 1 ResourceAttributes?; nonResourceAttributes 2 NonResourceAttributes?
message SubjectAccessReviewStatus
  allowed            1 bool zero
  denied             4 bool
  reason             2 string
  evaluationError    3 string
message SelfSubjectRulesReviewSpec; namespace 1 string
message SubjectRulesReviewStatus
  resourceRules       1 []ResourceRule
  nonResourceRules    2 []NonResourceRule
  incomplete          3 bool zero
  evaluationError     4 string
message ResourceAttributes
  namespace        1 string
  verb             2 string
  group            3 string
  version          4 string
  resource         5 string
  subresource      6 string
  name             7 string
  fieldSelector    8 FieldSelectorAttributes?
  labelSelector    9 LabelSelectorAttributes?
message NonResourceAttributes; path 1 string; verb 2 string
message ResourceRule
  verbs            1 []string zero
  apiGroups        2 []string
  resources        3 []string
  resourceNames    4 []string
message NonResourceRule; verbs 1 []string zero; nonResourceURLs 2 []string
message FieldSelectorAttributes; rawSelector 1 string; requirements 2 []FieldSelectorRequirement
message LabelSelectorAttributes; rawSelector 1 string; requirements 2 []LabelSelectorRequirement
message FieldSelectorRequirement; key 1 string zero; operator 2 string zero; values 3 []string
message CustomResourceDefinition; metadata 1 ObjectMeta; spec 2 CustomResourceDefinitionSpec ={}; status 3 CustomResourceDefinitionStatus
message CustomResourceDefinitionSpec
  group                    1 string ! is(dns_subdomain)
  names                    3 CustomResourceDefinitionNames
  scope                    4 string ! in(Cluster,Namespaced)
  versions                 7 []CustomResourceDefinitionVersion !
  conversion               9 CustomResourceConversion?
  preserveUnknownFields   10 bool
message CustomResourceDefinitionStatus
  conditions            1 []CustomResourceDefinitionCondition map(type)
  acceptedNames         2 CustomResourceDefinitionNames
  storedVersions        3 []string
  observedGeneration    4 int64
message CustomResourceDefinitionNames
  plural        1 string ! is(dns1035_label)
  singular      2 string
  shortNames    3 []string
  kind          4 string !
  listKind      5 string
  categories    6 []string
message CustomResourceDefinitionVersion
  name                        1 string ! is(dns1035_label)
  served                      2 bool zero
  storage                     3 bool zero
  deprecated                  7 bool
  deprecationWarning          8 string?
  schema                      4 CustomResourceValidation?
  subresources                5 CustomResourceSubresources?
  additionalPrinterColumns    6 []CustomResourceColumnDefinition
  selectableFields            9 []SelectableField
message CustomResourceConversion; strategy 1 string ! in(None,Webhook); webhook 2 WebhookConversion?
message CustomResourceDefinitionCondition
  type                  1 string zero
  status                2 string zero
  lastTransitionTime    3 time
  reason                4 string
  message               5 string
  observedGeneration    6 int64
message CustomResourceValidation; openAPIV3Schema 1 any
message CustomResourceSubresources; status 1 any?; scale 2 CustomResourceSubresourceScale?
message CustomResourceColumnDefinition
  name           1 string !
  type           2 string ! in(boolean,date,integer,number,string)
  format         3 string
  description    4 string
  priority       5 int32
  jsonPath       6 string !
message SelectableField; jsonPath 1 string zero
message WebhookConversion; clientConfig 2 WebhookClientConfig?; conversionReviewVersions 3 []string zero
message CustomResourceSubresourceScale; specReplicasPath 1 string zero; statusReplicasPath 2 string zero; labelSelectorPath 3 string?
message WebhookClientConfig; url 3 string?; service 1 ServiceReference?; caBundle 2 bytes
message ServiceReference
  namespace    1 string zero
  name         2 string zero
  path         3 string?
  port         4 int32?
)";

}  // namespace fairway::apiserver
