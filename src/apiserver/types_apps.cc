// Types of apps/v1 and Scale. The notation is explained in schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kAppsTypes = R"(
message Deployment; metadata 1 ObjectMeta; spec 2 DeploymentSpec ={}; status 3 DeploymentStatus ={}
message ReplicaSet; metadata 1 ObjectMeta; spec 2 ReplicaSetSpec ={}; status 3 ReplicaSetStatus ={}
message DaemonSet; metadata 1 ObjectMeta; spec 2 DaemonSetSpec ={}; status 3 DaemonSetStatus ={}
message ControllerRevision; metadata 1 ObjectMeta; data 2 any zero; revision 3 int64 zero
message Scale; metadata 1 ObjectMeta; spec 2 ScaleSpec; status 3 ScaleStatus
message DeploymentSpec
  replicas                   1 int32? =1 min(0)
  selector                   2 LabelSelector? ! atomic
  template                   3 PodTemplateSpec
  strategy                   4 DeploymentStrategy ={} retain
  minReadySeconds            5 int32 min(0)
  revisionHistoryLimit       6 int32? =10 min(0)
  paused                     7 bool
  progressDeadlineSeconds    9 int32? =600 min(0)
message DeploymentStatus
  observedGeneration     1 int64
  replicas               2 int32
  updatedReplicas        3 int32
  readyReplicas          7 int32
  availableReplicas      4 int32
  unavailableReplicas    5 int32
  conditions             6 []DeploymentCondition key(type)
  collisionCount         8 int32?
message ReplicaSetSpec
  replicas           1 int32? =1 min(0)
  minReadySeconds    4 int32 min(0)
  selector           2 LabelSelector? ! atomic
  template           3 PodTemplateSpec
message ReplicaSetStatus
  replicas                1 int32 zero
  fullyLabeledReplicas    2 int32
  readyReplicas           4 int32
  availableReplicas       5 int32
  observedGeneration      3 int64
  conditions              6 []ReplicaSetCondition key(type)
message DaemonSetSpec
  selector                1 LabelSelector? ! atomic
  template                2 PodTemplateSpec
  updateStrategy          3 DaemonSetUpdateStrategy ={}
  minReadySeconds         4 int32 min(0)
  revisionHistoryLimit    6 int32? =10 min(0)
message DaemonSetStatus
  currentNumberScheduled    1 int32 zero
  numberMisscheduled        2 int32 zero
  desiredNumberScheduled    3 int32 zero
  numberReady               4 int32 zero
  observedGeneration        5 int64
  updatedNumberScheduled    6 int32
  numberAvailable           7 int32
  numberUnavailable         8 int32
  collisionCount            9 int32?
  conditions               10 []DaemonSetCondition key(type)
message ScaleSpec; replicas 1 int32 zero min(0)
message ScaleStatus; replicas 1 int32 zero; selector 2 string
message PodTemplateSpec; metadata 1 ObjectMeta; spec 2 PodSpec
message DeploymentStrategy; type 1 string =RollingUpdate in(Recreate,RollingUpdate); rollingUpdate 2 RollingUpdateDeployment?
message DeploymentCondition
  type                  1 string
  status                2 string
  lastUpdateTime        6 time
  lastTransitionTime    7 time
  reason                4 string
  message               5 string
message ReplicaSetCondition
  type                  1 string
  status                2 string
  lastTransitionTime    3 time
  reason                4 string
  message               5 string
message DaemonSetUpdateStrategy; type 1 string =RollingUpdate in(OnDelete,RollingUpdate); rollingUpdate 2 RollingUpdateDaemonSet?
message DaemonSetCondition
  type                  1 string
  status                2 string
  lastTransitionTime    3 time
  reason                4 string
  message               5 string
message RollingUpdateDeployment; maxUnavailable 1 intorstring?; maxSurge 2 intorstring?
message RollingUpdateDaemonSet; maxUnavailable 1 intorstring?; maxSurge 2 intorstring?
)";

}  // namespace fairway::apiserver
