#include "core/cluster_data.h"

#include <fmt/format.h>

namespace fairway::bench {

net::IpAddr service_addr(unsigned i) { return net::IpAddr::v4(0x0a600000u + 256 + i); }
net::IpAddr endpoint_addr(unsigned service, unsigned n) { return net::IpAddr::v4(0x0b000000u + service * 8 + n + 1); }

std::vector<net::IpAddr> usual_endpoints(unsigned service, unsigned count) {
  std::vector<net::IpAddr> out;
  for (unsigned n = 0; n < count; ++n) out.push_back(endpoint_addr(service, n));
  return out;
}

static std::string managed_fields(const char* what) {
  return fmt::format(
      R"("managedFields":[{{"manager":"kube-controller-manager","operation":"Update","apiVersion":"v1","time":"2026-11-01T00:00:00Z",)"
      R"("fieldsType":"FieldsV1","fieldsV1":{{"{}":{{"f:ports":{{}},"f:selector":{{}},"f:type":{{}}}}}}}}])",
      what);
}

std::string service_json(unsigned i) {
  return fmt::format(
      R"({{"metadata":{{"name":"svc-{0}","namespace":"default","uid":"00000000-0000-4000-8000-{0:012}","resourceVersion":"{1}",)"
      R"("creationTimestamp":"2026-11-01T00:00:00Z","labels":{{"app":"svc-{0}"}},{2}}},)"
      R"("spec":{{"ports":[{{"name":"http","protocol":"TCP","port":{3},"targetPort":8080}}],"selector":{{"app":"svc-{0}"}},)"
      R"("clusterIP":"{4}","clusterIPs":["{4}"],"type":"ClusterIP","sessionAffinity":"None","ipFamilies":["IPv4"],)"
      R"("ipFamilyPolicy":"SingleStack","internalTrafficPolicy":"Cluster"}},"status":{{"loadBalancer":{{}}}}}})",
      i, 1000 + i, managed_fields("f:spec"), kServicePort, service_addr(i).to_string());
}

std::string slice_json(unsigned service, const std::vector<net::IpAddr>& endpoints, std::uint16_t target_port, unsigned revision) {
  std::string list;
  for (std::size_t n = 0; n < endpoints.size(); ++n) {
    list += fmt::format(R"({}{{"addresses":["{}"],"conditions":{{"ready":true,"serving":true,"terminating":false}},"nodeName":"node-{}",)"
                        R"("targetRef":{{"kind":"Pod","namespace":"default","name":"svc-{}-{}","uid":"10000000-0000-4000-8000-{:012}"}}}})",
                        n == 0 ? "" : ",", endpoints[n].to_string(), n, service, n, service * 8 + n);
  }
  return fmt::format(
      R"({{"metadata":{{"name":"svc-{0}-abcde","namespace":"default","uid":"20000000-0000-4000-8000-{0:012}","resourceVersion":"{1}",)"
      R"("creationTimestamp":"2026-11-01T00:00:00Z","labels":{{"app":"svc-{0}","kubernetes.io/service-name":"svc-{0}",)"
      R"("endpointslice.kubernetes.io/managed-by":"endpointslice-controller.k8s.io"}},"ownerReferences":[{{"apiVersion":"v1","kind":"Service",)"
      R"("name":"svc-{0}","uid":"00000000-0000-4000-8000-{0:012}","controller":true,"blockOwnerDeletion":true}}],{2}}},)"
      R"("addressType":"IPv4","endpoints":[{3}],"ports":[{{"name":"http","protocol":"TCP","port":{4}}}]}})",
      service, revision, managed_fields("f:endpoints"), list, target_port);
}

std::string pod_json(unsigned i, std::size_t bytes) {
  return remote_pod_json(i, fmt::format("node-{}", i % 100), net::IpAddr::v4(0x0af40000u + i % 0xfffe + 1), bytes);
}

std::string remote_pod_json(unsigned i, const std::string& node, const net::IpAddr& addr, std::size_t bytes) {
  std::string head = fmt::format(
      R"({{"kind":"Pod","apiVersion":"v1","metadata":{{"name":"web-5d9c7b8f6d-{0:06}","generateName":"web-5d9c7b8f6d-","namespace":"default",)"
      R"("uid":"30000000-0000-4000-8000-{0:012}","resourceVersion":"{1}","creationTimestamp":"2026-11-01T00:00:00Z",)"
      R"("labels":{{"app":"web","pod-template-hash":"5d9c7b8f6d","tier":"front"}},"managedFields":[)",
      i, 5000 + i);
  std::string tail = fmt::format(
      R"(]}},"spec":{{"nodeName":"{0}","restartPolicy":"Always","dnsPolicy":"ClusterFirst","containers":[{{"name":"web","image":"nginx:1.27",)"
      R"("ports":[{{"name":"http","containerPort":8080,"protocol":"TCP"}}],"resources":{{"limits":{{"cpu":"1","memory":"256Mi"}}}},)"
      R"("volumeMounts":[{{"name":"token","readOnly":true,"mountPath":"/var/run/secrets/kubernetes.io/serviceaccount"}}]}}]}},)"
      R"("status":{{"phase":"Running","podIP":"{1}","podIPs":[{{"ip":"{1}"}}],"startTime":"2026-11-01T00:00:00Z",)"
      R"("conditions":[{{"type":"Ready","status":"True","lastTransitionTime":"2026-11-01T00:00:01Z"}}],"containerStatuses":[{{"name":"web",)"
      R"("ready":true,"restartCount":0,"image":"nginx:1.27","started":true}}]}}}})",
      node, addr.to_string());
  // What most of a real pod's bytes are: managed fields and environment.
  std::string fill;
  for (unsigned n = 0; head.size() + fill.size() + tail.size() + 200 < bytes; ++n) {
    fill += fmt::format(
        R"({}{{"manager":"manager-{}","operation":"Update","apiVersion":"v1","time":"2026-11-01T00:00:00Z","fieldsType":"FieldsV1",)"
        R"("fieldsV1":{{"f:spec":{{"f:containers":{{"k:{{\"name\":\"web\"}}":{{".":{{}},"f:env":{{".":{{}},"k:{{\"name\":\"VAR_{}\"}}":{{"f:value":{{}}}}}}}}}}}}}}}})",
        n == 0 ? "" : ",", n, n);
  }
  return head + fill + tail;
}

std::string node_json(const std::string& name, const net::IpAddr& addr, const std::string& pod_cidr) {
  return fmt::format(R"({{"metadata":{{"name":"{0}","uid":"node-{0}","resourceVersion":"1","labels":{{"kubernetes.io/hostname":"{0}"}}}},)"
                     R"("spec":{{"podCIDR":"{2}","podCIDRs":["{2}"]}},"status":{{"addresses":[{{"type":"InternalIP","address":"{1}"}},)"
                     R"({{"type":"Hostname","address":"{0}"}}],"conditions":[{{"type":"Ready","status":"True"}}]}}}})",
                     name, addr.to_string(), pod_cidr);
}

std::string list_json(const std::string& kind, const std::string& api_version, const std::vector<std::string>& items) {
  std::string out =
      fmt::format(R"({{"kind":"{}","apiVersion":"{}","metadata":{{"resourceVersion":"900000"}},"items":[)", kind, api_version);
  for (std::size_t i = 0; i < items.size(); ++i) {
    if (i != 0) out += ',';
    out += items[i];
  }
  return out + "]}\n";
}

std::string event_json(const std::string& type, const std::string& object) {
  return "{\"type\":\"" + type + "\",\"object\":" + object + "}\n";
}

}  // namespace fairway::bench
