// Types of volumes. The notation is explained in schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kVolumeTypes = R"(
message Volume
  name                     1 string ! is(dns_label)
  hostPath               2.1 HostPathVolumeSource?
  emptyDir               2.2 EmptyDirVolumeSource?
  gcePersistentDisk      2.3 any
  awsElasticBlockStore   2.4 any
  gitRepo                2.5 any
  secret                 2.6 SecretVolumeSource?
  nfs                    2.7 NFSVolumeSource?
  iscsi                  2.8 any
  glusterfs              2.9 any
  persistentVolumeClaim 2.10 PersistentVolumeClaimVolumeSource?
  rbd                   2.11 any
  flexVolume            2.12 any
  cinder                2.13 any
  cephfs                2.14 any
  flocker               2.15 any
  downwardAPI           2.16 DownwardAPIVolumeSource?
  fc                    2.17 any
  azureFile             2.18 any
  configMap             2.19 ConfigMapVolumeSource?
  vsphereVolume         2.20 any
  quobyte               2.21 any
  azureDisk             2.22 any
  photonPersistentDisk  2.23 any
  projected             2.26 ProjectedVolumeSource?
  portworxVolume        2.24 any
  scaleIO               2.25 any
  storageos             2.27 any
  csi                   2.28 CSIVolumeSource?
  ephemeral             2.29 any
  image                 2.30 ImageVolumeSource?
message HostPathVolumeSource; path 1 string !; type 2 string? =
message EmptyDirVolumeSource; medium 1 string in(Memory,HugePages); sizeLimit 2 quantity?
message SecretVolumeSource
  secretName     1 string !
  items          2 []KeyToPath
  defaultMode    3 int32? =420 range(0,511)
  optional       4 bool?
message NFSVolumeSource; server 1 string zero; path 2 string zero; readOnly 3 bool
message PersistentVolumeClaimVolumeSource; claimName 1 string zero; readOnly 2 bool
message DownwardAPIVolumeSource; items 1 []DownwardAPIVolumeFile; defaultMode 2 int32? =420 range(0,511)
message ConfigMapVolumeSource
  name         1.1 string !
  items          2 []KeyToPath
  defaultMode    3 int32? =420 range(0,511)
  optional       4 bool?
message ProjectedVolumeSource; sources 1 []VolumeProjection; defaultMode 2 int32? =420 range(0,511)
message CSIVolumeSource
  driver                  1 string zero
  readOnly                2 bool?
  fsType                  3 string?
  volumeAttributes        4 map<string>
  nodePublishSecretRef    5 LocalObjectReference? atomic
message ImageVolumeSource; reference 1 string; pullPolicy 2 string
message KeyToPath; key 1 string !; path 2 string !; mode 3 int32? range(0,511)
message DownwardAPIVolumeFile
  path                1 string !
  fieldRef            2 ObjectFieldSelector?
  resourceFieldRef    3 ResourceFieldSelector?
  mode                4 int32? range(0,511)
message VolumeProjection
  secret                 1 SecretProjection?
  downwardAPI            2 DownwardAPIProjection?
  configMap              3 ConfigMapProjection?
  serviceAccountToken    4 ServiceAccountTokenProjection?
message SecretProjection; name 1.1 string; items 2 []KeyToPath; optional 4 bool?
message DownwardAPIProjection; items 1 []DownwardAPIVolumeFile
message ConfigMapProjection; name 1.1 string; items 2 []KeyToPath; optional 4 bool?
message ServiceAccountTokenProjection; audience 1 string; expirationSeconds 2 int64? =3600 min(600); path 3 string !
)";

}  // namespace fairway::apiserver
