// Types of networking.k8s.io/v1, discovery.k8s.io/v1, coordination.k8s.io/v1. The notation is explained in schema_text.h; numbers are those
// of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kNetworkingTypes = R"(
message NetworkPolicy; metadata 1 ObjectMeta; spec 2 NetworkPolicySpec ={}
message Ingress; metadata 1 ObjectMeta; spec 2 IngressSpec ={}; status 3 IngressStatus ={}
message IngressClass; metadata 1 ObjectMeta; spec 2 IngressClassSpec ={}
message EndpointSlice
  metadata       1 ObjectMeta
  addressType    4 string ! in(FQDN,IPv4,IPv6)
  endpoints      2 []Endpoint
  ports          3 []SlicePort
message Lease; metadata 1 ObjectMeta; spec 2 LeaseSpec ={}
message NetworkPolicySpec
  podSelector    1 LabelSelector ={} atomic
  ingress        2 []NetworkPolicyIngressRule
  egress         3 []NetworkPolicyEgressRule
  policyTypes    4 []string in(Egress,Ingress)
message IngressSpec
  ingressClassName    4 string?
  defaultBackend      1 IngressBackend?
  tls                 2 []IngressTLS
  rules               3 []IngressRule
message IngressStatus; loadBalancer 1 IngressLoadBalancerStatus ={}
message IngressClassSpec; controller 1 string !; parameters 2 IngressClassParametersReference?
message Endpoint
  addresses             1 []string ! set
  conditions            2 EndpointConditions
  hostname              3 string? is(dns_label)
  targetRef             4 ObjectReference? atomic
  deprecatedTopology    5 map<string>
  nodeName              6 string?
  zone                  7 string?
  hints                 8 EndpointHints?
message SlicePort
  name           1 string? =
  protocol       2 string? =TCP in(SCTP,TCP,UDP)
  port           3 int32? range(1,65535)
  appProtocol    4 string?
message LeaseSpec
  holderIdentity          1 string?
  leaseDurationSeconds    2 int32? min(1)
  acquireTime             3 microtime?
  renewTime               4 microtime?
  leaseTransitions        5 int32? min(0)
  strategy                6 string?
  preferredHolder         7 string?
message NetworkPolicyIngressRule; ports 1 []NetworkPolicyPort; from 2 []NetworkPolicyPeer
message NetworkPolicyEgressRule; ports 1 []NetworkPolicyPort; to 2 []NetworkPolicyPeer
message IngressBackend; service 4 IngressServiceBackend?; resource 3 TypedLocalObjectReference? atomic
message IngressTLS; hosts 1 []string; secretName 2 string
message IngressRule; host 1 string; http 2.1 HTTPIngressRuleValue?
message IngressLoadBalancerStatus; ingress 1 []IngressLoadBalancerIngress
message IngressClassParametersReference
  apiGroup     1 string?
  kind         2 string !
  name         3 string !
  scope        4 string? in(Cluster,Namespace)
  namespace    5 string?
message EndpointConditions; ready 1 bool?; serving 2 bool?; terminating 3 bool?
message EndpointHints; forZones 1 []ForZone
message NetworkPolicyPort; protocol 1 string? =TCP in(SCTP,TCP,UDP); port 2 intorstring?; endPort 3 int32?
message NetworkPolicyPeer; podSelector 1 LabelSelector? atomic; namespaceSelector 2 LabelSelector? atomic; ipBlock 3 IPBlock?
message IngressServiceBackend; name 1 string ! is(dns1035_label); port 2 ServiceBackendPort ={}
message TypedLocalObjectReference; apiGroup 1 string?; kind 2 string !; name 3 string !
message HTTPIngressRuleValue; paths 1 []HTTPIngressPath !
message IngressLoadBalancerIngress; ip 1 string; hostname 2 string; ports 4 []IngressPortStatus
message ForZone; name 1 string zero
message IPBlock; cidr 1 string ! is(cidr); except 2 []string is(cidr)
message ServiceBackendPort; name 1 string; number 2 int32
message HTTPIngressPath; path 1 string; pathType 3 string? ! in(Exact,ImplementationSpecific,Prefix); backend 2 IngressBackend
message IngressPortStatus; port 1 int32 zero; protocol 2 string zero; error 3 string?
)";

}  // namespace fairway::apiserver
