// Types of what a container is made of. The notation is explained in schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kContainerTypes = R"(
message Container
  name                        1 string ! is(dns_label)
  image                       2 string
  command                     3 []string
  args                        4 []string
  workingDir                  5 string
  ports                       6 []ContainerPort merge(containerPort) map(containerPort,protocol)
  envFrom                    19 []EnvFromSource
  env                         7 []EnvVar key(name)
  resources                   8 ResourceRequirements ={}
  resizePolicy               23 []ContainerResizePolicy
  restartPolicy              24 string? in(Always)
  volumeMounts                9 []VolumeMount unique key(mountPath)
  volumeDevices              21 []VolumeDevice key(devicePath)
  livenessProbe              10 Probe?
  readinessProbe             11 Probe?
  startupProbe               22 Probe?
  lifecycle                  12 Lifecycle?
  terminationMessagePath     13 string =/dev/termination-log
  terminationMessagePolicy   20 string =File in(FallbackToLogsOnError,File)
  imagePullPolicy            14 string in(Always,IfNotPresent,Never)
  securityContext            15 SecurityContext?
  stdin                      16 bool
  stdinOnce                  17 bool
  tty                        18 bool
message EphemeralContainer
  embed 1 Container
  targetContainerName 2 string
message ResourceRequirements; limits 1 map<quantity>; requests 2 map<quantity>; claims 3 []ResourceClaim map(name)
message ContainerStatus
  name                  1 string zero
  state                 2 ContainerState
  lastState             3 ContainerState
  ready                 4 bool zero
  restartCount          5 int32 zero
  image                 6 string zero
  imageID               7 string zero
  containerID           8 string
  started               9 bool?
  allocatedResources   10 map<quantity>
  resources            11 ResourceRequirements?
  volumeMounts         12 []VolumeMountStatus key(mountPath)
message ContainerPort
  name             1 string is(port_name)
  hostPort         2 int32 range(0,65535)
  containerPort    3 int32 ! range(1,65535)
  protocol         4 string =TCP in(SCTP,TCP,UDP)
  hostIP           5 string is(ip)
message EnvFromSource; prefix 1 string; configMapRef 2 ConfigMapEnvSource?; secretRef 3 SecretEnvSource?
message EnvVar; name 1 string ! is(env_name); value 2 string; valueFrom 3 EnvVarSource?
message ContainerResizePolicy; resourceName 1 string zero; restartPolicy 2 string zero
message VolumeMount
  name                 1 string !
  readOnly             2 bool
  recursiveReadOnly    7 string?
  mountPath            3 string !
  subPath              4 string
  mountPropagation     5 string? in(Bidirectional,HostToContainer,None)
  subPathExpr          6 string
message VolumeDevice; name 1 string zero; devicePath 2 string zero
message Probe
  exec                           1.1 ExecAction?
  httpGet                        1.2 HTTPGetAction?
  tcpSocket                      1.3 TCPSocketAction?
  grpc                           1.4 GRPCAction?
  initialDelaySeconds              2 int32 min(0)
  timeoutSeconds                   3 int32 =1 min(0)
  periodSeconds                    4 int32 =10 min(0)
  successThreshold                 5 int32 =1 min(0)
  failureThreshold                 6 int32 =3 min(0)
  terminationGracePeriodSeconds    7 int64?
message Lifecycle; postStart 1 LifecycleHandler?; preStop 2 LifecycleHandler?
message SecurityContext
  capabilities                1 Capabilities?
  privileged                  2 bool?
  seLinuxOptions              3 SELinuxOptions?
  windowsOptions             10 WindowsSecurityContextOptions?
  runAsUser                   4 int64?
  runAsGroup                  8 int64?
  runAsNonRoot                5 bool?
  readOnlyRootFilesystem      6 bool?
  allowPrivilegeEscalation    7 bool?
  procMount                   9 string?
  seccompProfile             11 SeccompProfile?
  appArmorProfile            12 AppArmorProfile?
message SELinuxOptions
  user     1 string
  role     2 string
  type     3 string
  level    4 string
message WindowsSecurityContextOptions
  gmsaCredentialSpecName    1 string?
  gmsaCredentialSpec        2 string?
  runAsUserName             3 string?
  hostProcess               4 bool?
message SeccompProfile; type 1 string zero; localhostProfile 2 string?
message AppArmorProfile; type 1 string zero; localhostProfile 2 string?
message ResourceClaim; name 1 string zero; request 2 string
message ContainerState; waiting 1 ContainerStateWaiting?; running 2 ContainerStateRunning?; terminated 3 ContainerStateTerminated?
message VolumeMountStatus
  name                 1 string zero
  mountPath            2 string zero
  readOnly             3 bool
  recursiveReadOnly    4 string?
message ConfigMapEnvSource; name 1.1 string; optional 2 bool?
message SecretEnvSource; name 1.1 string; optional 2 bool?
message EnvVarSource
  fieldRef            1 ObjectFieldSelector?
  resourceFieldRef    2 ResourceFieldSelector?
  configMapKeyRef     3 ConfigMapKeySelector?
  secretKeyRef        4 SecretKeySelector?
message ExecAction; command 1 []string !
message HTTPGetAction
  path           1 string =/
  port           2 intorstring zero
  host           3 string
  scheme         4 string =HTTP in(HTTP,HTTPS)
  httpHeaders    5 []HTTPHeader
message TCPSocketAction; port 1 intorstring zero; host 2 string
message GRPCAction; port 1 int32 ! range(1,65535); service 2 string? =
message LifecycleHandler
  exec         1 ExecAction?
  httpGet      2 HTTPGetAction?
  tcpSocket    3 TCPSocketAction?
  sleep        4 SleepAction?
message Capabilities; add 1 []string; drop 2 []string
message ContainerStateWaiting; reason 1 string; message 2 string
message ContainerStateRunning; startedAt 1 time
message ContainerStateTerminated
  exitCode       1 int32 zero
  signal         2 int32
  reason         3 string
  message        4 string
  startedAt      5 time
  finishedAt     6 time
  containerID    7 string
message ObjectFieldSelector; apiVersion 1 string =v1; fieldPath 2 string !
message ResourceFieldSelector; containerName 1 string; resource 2 string !; divisor 3 quantity =0
message ConfigMapKeySelector; name 1.1 string; key 2 string !; optional 3 bool?
message SecretKeySelector; name 1.1 string; key 2 string !; optional 3 bool?
message HTTPHeader; name 1 string zero; value 2 string zero
message SleepAction; seconds 1 int64 min(0) zero
)";

}  // namespace fairway::apiserver
