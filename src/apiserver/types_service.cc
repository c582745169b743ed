// Types of Service and Endpoints. The notation is explained in schema_text.h; numbers are those of k8s.io/api's generated.proto.
#include "apiserver/schema_text.h"

namespace fairway::apiserver {

const char* const kServiceTypes = R"(
message Service; metadata 1 ObjectMeta; spec 2 ServiceSpec ={}; status 3 ServiceStatus ={}
message Endpoints; metadata 1 ObjectMeta; subsets 2 []EndpointSubset
message ServiceSpec
  ports                            1 []ServicePort merge(port) map(port,protocol)
  selector                         2 map<string> atomic
  clusterIP                        3 string
  clusterIPs                      18 []string
  type                             4 string =ClusterIP in(ClusterIP,ExternalName,LoadBalancer,NodePort)
  externalIPs                      5 []string is(ip)
  sessionAffinity                  7 string =None in(ClientIP,None)
  loadBalancerIP                   8 string
  loadBalancerSourceRanges         9 []string is(cidr)
  externalName                    10 string
  externalTrafficPolicy           11 string in(Cluster,Local)
  healthCheckNodePort             12 int32 range(0,65535)
  publishNotReadyAddresses        13 bool
  sessionAffinityConfig           14 SessionAffinityConfig?
  ipFamilies                      19 []string in(IPv4,IPv6)
  ipFamilyPolicy                  17 string? in(SingleStack,PreferDualStack,RequireDualStack)
  allocateLoadBalancerNodePorts   20 bool?
  loadBalancerClass               21 string?
  internalTrafficPolicy           22 string? in(Cluster,Local)
  trafficDistribution             23 string?
message ServiceStatus; loadBalancer 1 LoadBalancerStatus ={}; conditions 2 []Condition key(type)
message EndpointSubset; addresses 1 []EndpointAddress; notReadyAddresses 2 []EndpointAddress; ports 3 []EndpointPort
message ServicePort
  name           1 string is(dns_label)
  protocol       2 string =TCP in(SCTP,TCP,UDP)
  appProtocol    6 string?
  port           3 int32 zero range(1,65535)
  targetPort     4 intorstring =0
  nodePort       5 int32 range(0,65535)
message SessionAffinityConfig; clientIP 1 ClientIPConfig?
message LoadBalancerStatus; ingress 1 []LoadBalancerIngress
message EndpointAddress
  ip           1 string ! is(ip)
  hostname     3 string is(dns_label)
  nodeName     4 string?
  targetRef    2 ObjectReference? atomic
message EndpointPort
  name           1 string is(dns_label)
  port           2 int32 zero range(1,65535)
  protocol       3 string =TCP in(SCTP,TCP,UDP)
  appProtocol    4 string?
message ClientIPConfig; timeoutSeconds 1 int32? range(1,86400)
message LoadBalancerIngress
  ip          1 string
  hostname    2 string
  ipMode      3 string?
  ports       4 []PortStatus
message PortStatus; port 1 int32 zero; protocol 2 string =TCP; error 3 string?
)";

}  // namespace fairway::apiserver
