// Types of core/v1 but Service, Endpoints and Pod. The notation is explained in schema_text.h; numbers are those of k8s.io/api's
// generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kCoreTypes = R"(
message Namespace; metadata 1 ObjectMeta; spec 2 NamespaceSpec ={}; status 3 NamespaceStatus ={}
message Node; metadata 1 ObjectMeta; spec 2 NodeSpec ={}; status 3 NodeStatus
message ConfigMap
  metadata      1 ObjectMeta
  immutable     4 bool?
  data          2 map<string>
  binaryData    3 map<bytes>
message Secret
  metadata      1 ObjectMeta
  immutable     5 bool?
  data          2 map<bytes>
  stringData    4 map<string>
  type          3 string =Opaque
message ServiceAccount
  metadata                        1 ObjectMeta
  secrets                         2 []ObjectReference key(name)
  imagePullSecrets                3 []LocalObjectReference
  automountServiceAccountToken    4 bool?
message Event
  metadata              1 ObjectMeta
  involvedObject        2 ObjectReference atomic
  reason                3 string
  message               4 string
  source                5 EventSource
  firstTimestamp        6 time
  lastTimestamp         7 time
  count                 8 int32
  type                  9 string
  eventTime            10 microtime
  series               11 EventSeries?
  action               12 string
  related              13 ObjectReference? atomic
  reportingComponent   14 string
  reportingInstance    15 string
message Binding; metadata 1 ObjectMeta; target 2 ObjectReference ! atomic
message NamespaceSpec; finalizers 1 []string
message NamespaceStatus; phase 1 string =Active in(Active,Terminating); conditions 2 []NamespaceCondition key(type)
message NodeSpec
  podCIDR          1 string
  podCIDRs         7 []string set
  providerID       3 string
  unschedulable    4 bool
  taints           5 []Taint
  externalID       2 string
message NodeStatus
  capacity           1 map<quantity>
  allocatable        2 map<quantity>
  phase              3 string
  conditions         4 []NodeCondition key(type)
  addresses          5 []NodeAddress key(type)
  daemonEndpoints    6 NodeDaemonEndpoints
  nodeInfo           7 NodeSystemInfo
  images             8 []ContainerImage
  volumesInUse       9 []string
  volumesAttached   10 []AttachedVolume
  runtimeHandlers   12 []NodeRuntimeHandler
  features          13 NodeFeatures?
message ObjectReference
  kind               1 string
  namespace          2 string
  name               3 string
  uid                4 string
  apiVersion         5 string
  resourceVersion    6 string
  fieldPath          7 string
message LocalObjectReference; name 1 string
message EventSource; component 1 string; host 2 string
message EventSeries; count 1 int32; lastObservedTime 2 microtime
message NamespaceCondition
  type                  1 string zero
  status                2 string zero
  lastTransitionTime    4 time
  reason                5 string
  message               6 string
message Taint
  key          1 string ! is(qualified_name)
  value        2 string
  effect       3 string ! in(NoSchedule,PreferNoSchedule,NoExecute)
  timeAdded    4 time?
message NodeCondition
  type                  1 string zero
  status                2 string zero
  lastHeartbeatTime     3 time
  lastTransitionTime    4 time
  reason                5 string
  message               6 string
message NodeAddress; type 1 string zero; address 2 string zero
message NodeDaemonEndpoints; kubeletEndpoint 1 DaemonEndpoint
message NodeSystemInfo
  machineID                  1 string zero
  systemUUID                 2 string zero
  bootID                     3 string zero
  kernelVersion              4 string zero
  osImage                    5 string zero
  containerRuntimeVersion    6 string zero
  kubeletVersion             7 string zero
  kubeProxyVersion           8 string zero
  operatingSystem            9 string zero
  architecture              10 string zero
message ContainerImage; names 1 []string; sizeBytes 2 int64
message AttachedVolume; name 1 string zero; devicePath 2 string zero
message NodeRuntimeHandler; name 1 string; features 2 NodeRuntimeHandlerFeatures?
message NodeFeatures; supplementalGroupsPolicy 1 bool?
message DaemonEndpoint; Port 1 int32 zero
message NodeRuntimeHandlerFeatures; recursiveReadOnlyMounts 1 bool?; userNamespaces 2 bool?
)";

}  // namespace fairway::apiserver
