// Slim objects: the fields of Kubernetes objects that Fairway reads, in the API's own spelling and sense.
//
// Place: decode.h fills them, reflect/ judges them and makes model rows. Nothing here is validated beyond its JSON type.
// Texts are views into the decoder's buffers and live until its next call. One Object is reused for a whole stream,
// so that its vectors keep their memory: decoding allocates nothing per object, but for policies, of which there are few.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "k8s/policy_objects.h"

namespace fairway::k8s {

// Numbered in the order of their coming: the numbers lie in the last known state on disk.
enum class Kind { kNamespace, kNode, kPod, kService, kEndpointSlice, kNetworkPolicy, kClusterNetworkPolicy };
constexpr Kind kLastKind = Kind::kClusterNetworkPolicy;
constexpr bool is_policy(Kind kind) { return kind == Kind::kNetworkPolicy || kind == Kind::kClusterNetworkPolicy; }
std::string_view to_string(Kind kind);  // "Pod"

struct SlimMeta {
  std::string_view ns, name, uid;
  std::uint64_t resource_version = 0;  // 0: absent or no number
  bool deleting = false;
  std::vector<std::pair<std::string_view, std::string_view>> labels;
};

// A port of a container, a Service or a slice; what a kind does not have stays empty.
struct SlimPort {
  std::string_view name, protocol;
  std::optional<std::int64_t> port;  // containerPort, port
  std::int64_t node_port = 0;
};

struct SlimEndpoint {
  std::vector<std::string_view> addresses;
  std::optional<bool> ready, serving, terminating;
  std::string_view hostname, node_name, zone, target_kind, target_ns, target_name;
};

struct SlimObject {
  Kind kind = Kind::kPod;
  SlimMeta meta;

  // Namespace, Pod
  std::string_view phase;
  // Node
  std::vector<std::pair<std::string_view, std::string_view>> addresses;  // type, address
  std::vector<std::string_view> pod_cidrs;
  std::string_view ready, ready_since, ready_message;  // the condition Ready: "True"; empty: it has none
  // Pod
  std::string_view node_name;
  bool host_network = false;
  std::vector<std::string_view> pod_ips;
  // Service
  std::string_view type, external_name, session_affinity, internal_policy, external_policy;
  std::vector<std::string_view> cluster_ips;
  std::optional<std::int64_t> affinity_seconds;
  bool publish_not_ready = false;
  std::size_t external_ips = 0;  // their number: they are ignored, and that is said
  // EndpointSlice
  std::string_view address_type;
  std::vector<SlimEndpoint> endpoints;
  std::size_t endpoint_count = 0;  // of `endpoints` those that are in use (the rest keep their memory)
  // Pod, Service, EndpointSlice
  std::vector<SlimPort> ports;
  // NetworkPolicy, ClusterNetworkPolicy
  SlimPolicy policy;

  // The first field whose JSON type is wrong: the object is bad, though its name may be known.
  std::string bad_field;
  std::string bad_reason;

  void clear();
};

}  // namespace fairway::k8s
