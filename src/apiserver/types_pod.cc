// Types of Pod and PodSpec. The notation is explained in schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kPodTypes = R"(
message Pod; metadata 1 ObjectMeta; spec 2 PodSpec ={}; status 3 PodStatus ={}
message PodSpec
  volumes                          1 []Volume unique key(name) retain
  initContainers                  20 []Container unique key(name)
  containers                       2 []Container ! unique key(name)
  ephemeralContainers             34 []EphemeralContainer key(name)
  restartPolicy                    3 string =Always in(Always,Never,OnFailure)
  terminationGracePeriodSeconds    4 int64? =30 min(0)
  activeDeadlineSeconds            5 int64? range(1,2147483647)
  dnsPolicy                        6 string =ClusterFirst in(ClusterFirst,ClusterFirstWithHostNet,Default,None)
  nodeSelector                     7 map<string> atomic
  serviceAccountName               8 string is(dns_subdomain)
  serviceAccount                   9 string
  automountServiceAccountToken    21 bool?
  nodeName                        10 string is(dns_subdomain)
  hostNetwork                     11 bool
  hostPID                         12 bool
  hostIPC                         13 bool
  shareProcessNamespace           27 bool?
  securityContext                 14 PodSecurityContext? ={}
  imagePullSecrets                15 []LocalObjectReference key(name)
  hostname                        16 string is(dns_label)
  subdomain                       17 string is(dns_label)
  affinity                        18 Affinity?
  schedulerName                   19 string =default-scheduler
  tolerations                     22 []Toleration
  hostAliases                     23 []HostAlias key(ip)
  priorityClassName               24 string
  priority                        25 int32?
  dnsConfig                       26 PodDNSConfig?
  readinessGates                  28 []PodReadinessGate
  runtimeClassName                29 string?
  enableServiceLinks              30 bool? =true
  preemptionPolicy                31 string? in(Never,PreemptLowerPriority)
  overhead                        32 map<quantity>
  topologySpreadConstraints       33 []TopologySpreadConstraint merge(topologyKey) map(topologyKey,whenUnsatisfiable)
  setHostnameAsFQDN               35 bool?
  os                              36 PodOS?
  hostUsers                       37 bool?
  schedulingGates                 38 []PodSchedulingGate key(name)
  resources                       40 ResourceRequirements?
message PodStatus
  phase                         1 string =Pending
  conditions                    2 []PodCondition key(type)
  message                       3 string
  reason                        4 string
  nominatedNodeName            11 string
  hostIP                        5 string
  hostIPs                      16 []HostIP merge(ip)
  podIP                         6 string
  podIPs                       12 []PodIP key(ip)
  startTime                     7 time?
  initContainerStatuses        10 []ContainerStatus
  containerStatuses             8 []ContainerStatus
  qosClass                      9 string
  ephemeralContainerStatuses   13 []ContainerStatus
  resize                       14 string
message PodSecurityContext
  seLinuxOptions              1 SELinuxOptions?
  windowsOptions              8 WindowsSecurityContextOptions?
  runAsUser                   2 int64?
  runAsGroup                  6 int64?
  runAsNonRoot                3 bool?
  supplementalGroups          4 []int64
  supplementalGroupsPolicy   12 string?
  fsGroup                     5 int64?
  sysctls                     7 []Sysctl
  fsGroupChangePolicy         9 string?
  seccompProfile             10 SeccompProfile?
  appArmorProfile            11 AppArmorProfile?
  seLinuxChangePolicy        13 string?
message Affinity; nodeAffinity 1 NodeAffinity?; podAffinity 2 PodAffinity?; podAntiAffinity 3 PodAntiAffinity?
message Toleration
  key                  1 string
  operator             2 string in(Equal,Exists)
  value                3 string
  effect               4 string in(NoExecute,NoSchedule,PreferNoSchedule)
  tolerationSeconds    5 int64?
message HostAlias; ip 1 string ! is(ip); hostnames 2 []string is(dns_subdomain)
message PodDNSConfig; nameservers 1 []string is(ip); searches 2 []string; options 3 []PodDNSConfigOption
message PodReadinessGate; conditionType 1 string zero
message TopologySpreadConstraint
  maxSkew               1 int32 min(1) zero
  topologyKey           2 string ! is(qualified_name)
  whenUnsatisfiable     3 string ! in(DoNotSchedule,ScheduleAnyway)
  labelSelector         4 LabelSelector? atomic
  minDomains            5 int32?
  nodeAffinityPolicy    6 string?
  nodeTaintsPolicy      7 string?
  matchLabelKeys        8 []string
message PodOS; name 1 string zero
message PodSchedulingGate; name 1 string zero
message PodCondition
  type                  1 string zero
  status                2 string zero
  lastProbeTime         3 time
  lastTransitionTime    4 time
  reason                5 string
  message               6 string
message HostIP; ip 1 string zero
message PodIP; ip 1 string zero
message Sysctl; name 1 string !; value 2 string zero
message NodeAffinity
  requiredDuringSchedulingIgnoredDuringExecution     1 NodeSelector? atomic
  preferredDuringSchedulingIgnoredDuringExecution    2 []PreferredSchedulingTerm
message PodAffinity
  requiredDuringSchedulingIgnoredDuringExecution     1 []PodAffinityTerm
  preferredDuringSchedulingIgnoredDuringExecution    2 []WeightedPodAffinityTerm
message PodAntiAffinity
  requiredDuringSchedulingIgnoredDuringExecution     1 []PodAffinityTerm
  preferredDuringSchedulingIgnoredDuringExecution    2 []WeightedPodAffinityTerm
message PodDNSConfigOption; name 1 string; value 2 string?
message NodeSelector; nodeSelectorTerms 1 []NodeSelectorTerm !
message PreferredSchedulingTerm; weight 1 int32 range(1,100) zero; preference 2 NodeSelectorTerm atomic
message PodAffinityTerm
  labelSelector        1 LabelSelector? atomic
  namespaces           2 []string
  topologyKey          3 string !
  namespaceSelector    4 LabelSelector? atomic
  matchLabelKeys       5 []string
  mismatchLabelKeys    6 []string
message WeightedPodAffinityTerm; weight 1 int32 range(1,100) zero; podAffinityTerm 2 PodAffinityTerm
message NodeSelectorTerm; matchExpressions 1 []NodeSelectorRequirement; matchFields 2 []NodeSelectorRequirement
message NodeSelectorRequirement
  key         1 string ! is(qualified_name)
  operator    2 string ! in(DoesNotExist,Exists,Gt,In,Lt,NotIn)
  values      3 []string
)";

}  // namespace fairway::apiserver
