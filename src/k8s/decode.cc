#include "k8s/decode.h"

#include <charconv>

#include "k8s/decode_policy.h"
#include "k8s/json_walk.h"

namespace fairway::k8s {
namespace {

static_assert(Decoder::kPadding >= simdjson::SIMDJSON_PADDING);

// The kind's fields are read by walking every object once, in the order of the text: no look-up ever goes back.
// A broken document shows as an exception of simdjson's, caught at the three entry points.
class Walker final : JsonWalk {
 public:
  explicit Walker(SlimObject& out) : out_(out) {}

  void object(od::object value) {
    for (auto field : value) {
      const std::string_view key = field.unescaped_key();
      if (key == "metadata") metadata(field.value());
      else if (key == "spec") spec(field.value());
      else if (key == "status") status(field.value());
      else if (out_.kind == Kind::kEndpointSlice) slice(key, field.value());
    }
  }

 private:
  void bad(std::string_view field, std::string_view reason) override {
    if (!out_.bad_field.empty()) return;
    out_.bad_field = field;
    out_.bad_reason = reason;
  }
  void metadata(od::value value) {
    SlimMeta& meta = out_.meta;
    fields(value, "metadata", [&](std::string_view key, od::value v) {
      if (key == "name") text(v, "metadata.name", meta.name);
      else if (key == "namespace") text(v, "metadata.namespace", meta.ns);
      else if (key == "uid") text(v, "metadata.uid", meta.uid);
      else if (key == "resourceVersion") {
        std::string_view rv;
        text(v, "metadata.resourceVersion", rv);
        version = rv;
        std::from_chars(rv.data(), rv.data() + rv.size(), meta.resource_version);
      } else if (key == "generation" && is_policy(out_.kind)) {
        number(v, "metadata.generation", out_.policy.generation);
      } else if (key == "deletionTimestamp") {
        meta.deleting = !is_null(v);
      } else if (key == "labels") {
        fields(v, "metadata.labels", [&](std::string_view name, od::value label) {
          std::string_view content;
          text(label, "metadata.labels", content);
          meta.labels.emplace_back(name, content);
        });
      }
    });
  }

  void spec(od::value value) {
    switch (out_.kind) {
      case Kind::kNode:
        fields(value, "spec", [&](std::string_view k, od::value v) { node_spec(k, v); });
        return;
      case Kind::kPod:
        fields(value, "spec", [&](std::string_view k, od::value v) { pod_spec(k, v); });
        return;
      case Kind::kService:
        fields(value, "spec", [&](std::string_view k, od::value v) { service_spec(k, v); });
        return;
      case Kind::kNetworkPolicy:
      case Kind::kClusterNetworkPolicy:
        return decode_policy_spec(out_.kind, value, out_.policy);
      case Kind::kNamespace:
      case Kind::kEndpointSlice:
        return;
    }
  }
  void node_spec(std::string_view key, od::value v) {
    if (key == "podCIDRs") {
      out_.pod_cidrs.clear();  // the plural holds the singular's content too
      texts(v, "spec.podCIDRs", out_.pod_cidrs);
    } else if (key == "podCIDR" && out_.pod_cidrs.empty()) {
      std::string_view one;
      text(v, "spec.podCIDR", one);
      if (!one.empty()) out_.pod_cidrs.push_back(one);
    }
  }
  void pod_spec(std::string_view key, od::value v) {
    if (key == "nodeName") text(v, "spec.nodeName", out_.node_name);
    else if (key == "hostNetwork") boolean(v, "spec.hostNetwork", out_.host_network);
    else if (key == "containers" || key == "initContainers") {
      items(v, "spec.containers", [&](od::value container) {
        fields(container, "spec.containers[]", [&](std::string_view k, od::value cv) {
          if (k == "ports") ports(cv, "spec.containers[].ports");
        });
      });
    }
  }
  void ports(od::value value, std::string_view field) {
    items(value, field, [&](od::value item) {
      SlimPort port;
      fields(item, field, [&](std::string_view key, od::value v) {
        if (key == "name") text(v, "ports[].name", port.name);
        else if (key == "protocol") text(v, "ports[].protocol", port.protocol);
        else if (key == "port" || key == "containerPort") number(v, "ports[].port", port.port);
        else if (key == "nodePort") number(v, "ports[].nodePort", port.node_port);
      });
      out_.ports.push_back(port);
    });
  }
  void service_spec(std::string_view key, od::value v) {
    if (key == "type") text(v, "spec.type", out_.type);
    else if (key == "clusterIPs") {
      out_.cluster_ips.clear();
      texts(v, "spec.clusterIPs", out_.cluster_ips);
    } else if (key == "clusterIP" && out_.cluster_ips.empty()) {
      std::string_view one;
      text(v, "spec.clusterIP", one);
      if (!one.empty()) out_.cluster_ips.push_back(one);
    } else if (key == "ports") ports(v, "spec.ports");
    else if (key == "externalName") text(v, "spec.externalName", out_.external_name);
    else if (key == "sessionAffinity") text(v, "spec.sessionAffinity", out_.session_affinity);
    else if (key == "internalTrafficPolicy") text(v, "spec.internalTrafficPolicy", out_.internal_policy);
    else if (key == "externalTrafficPolicy") text(v, "spec.externalTrafficPolicy", out_.external_policy);
    else if (key == "publishNotReadyAddresses") boolean(v, "spec.publishNotReadyAddresses", out_.publish_not_ready);
    else if (key == "externalIPs") items(v, "spec.externalIPs", [&](od::value) { ++out_.external_ips; });
    else if (key == "sessionAffinityConfig") {
      fields(v, "spec.sessionAffinityConfig", [&](std::string_view k, od::value client) {
        if (k != "clientIP") return;
        fields(client, "spec.sessionAffinityConfig.clientIP", [&](std::string_view n, od::value seconds) {
          if (n == "timeoutSeconds") number(seconds, "spec.sessionAffinityConfig.clientIP.timeoutSeconds", out_.affinity_seconds);
        });
      });
    }
  }

  void status(od::value value) {
    fields(value, "status", [&](std::string_view key, od::value v) {
      if (key == "phase") text(v, "status.phase", out_.phase);
      else if (key == "addresses" && out_.kind == Kind::kNode) node_addresses(v);
      else if (key == "conditions" && out_.kind == Kind::kNode) node_conditions(v);
      else if (out_.kind == Kind::kPod) pod_status(key, v);
    });
  }
  void node_addresses(od::value value) {
    items(value, "status.addresses", [&](od::value item) {
      std::pair<std::string_view, std::string_view> address;
      fields(item, "status.addresses[]", [&](std::string_view key, od::value v) {
        if (key == "type") text(v, "status.addresses[].type", address.first);
        else if (key == "address") text(v, "status.addresses[].address", address.second);
      });
      out_.addresses.push_back(address);
    });
  }
  void node_conditions(od::value value) {
    items(value, "status.conditions", [&](od::value item) {
      std::string_view type, ready, since, message;
      fields(item, "status.conditions[]", [&](std::string_view key, od::value v) {
        if (key == "type") text(v, "status.conditions[].type", type);
        else if (key == "status") text(v, "status.conditions[].status", ready);
        else if (key == "lastTransitionTime") text(v, "status.conditions[].lastTransitionTime", since);
        else if (key == "message") text(v, "status.conditions[].message", message);
      });
      if (type == "Ready") out_.ready = ready, out_.ready_since = since, out_.ready_message = message;
    });
  }
  void pod_status(std::string_view key, od::value v) {
    if (key == "podIPs") {
      out_.pod_ips.clear();
      items(v, "status.podIPs", [&](od::value item) {
        fields(item, "status.podIPs[]", [&](std::string_view k, od::value ip) {
          if (k != "ip") return;
          std::string_view one;
          text(ip, "status.podIPs[].ip", one);
          if (!one.empty()) out_.pod_ips.push_back(one);
        });
      });
    } else if (key == "podIP" && out_.pod_ips.empty()) {
      std::string_view one;
      text(v, "status.podIP", one);
      if (!one.empty()) out_.pod_ips.push_back(one);
    }
  }

  void slice(std::string_view key, od::value v) {
    if (key == "addressType") text(v, "addressType", out_.address_type);
    else if (key == "ports") ports(v, "ports");
    else if (key == "endpoints") items(v, "endpoints", [&](od::value item) { endpoint(item); });
  }
  void endpoint(od::value item) {
    if (out_.endpoint_count == out_.endpoints.size()) out_.endpoints.emplace_back();
    SlimEndpoint& e = out_.endpoints[out_.endpoint_count++];
    auto addresses = std::move(e.addresses);
    addresses.clear();
    e = SlimEndpoint{};
    e.addresses = std::move(addresses);
    fields(item, "endpoints[]", [&](std::string_view key, od::value v) {
      if (key == "addresses") texts(v, "endpoints[].addresses", e.addresses);
      else if (key == "hostname") text(v, "endpoints[].hostname", e.hostname);
      else if (key == "nodeName") text(v, "endpoints[].nodeName", e.node_name);
      else if (key == "zone") text(v, "endpoints[].zone", e.zone);
      else if (key == "conditions") {
        fields(v, "endpoints[].conditions", [&](std::string_view k, od::value c) {
          if (k == "ready") boolean(c, "endpoints[].conditions.ready", e.ready);
          else if (k == "serving") boolean(c, "endpoints[].conditions.serving", e.serving);
          else if (k == "terminating") boolean(c, "endpoints[].conditions.terminating", e.terminating);
        });
      } else if (key == "targetRef") {
        fields(v, "endpoints[].targetRef", [&](std::string_view k, od::value t) {
          if (k == "kind") text(t, "endpoints[].targetRef.kind", e.target_kind);
          else if (k == "namespace") text(t, "endpoints[].targetRef.namespace", e.target_ns);
          else if (k == "name") text(t, "endpoints[].targetRef.name", e.target_name);
        });
      }
    });
  }

  SlimObject& out_;

 public:
  std::string_view version;  // metadata.resourceVersion as text
};

Error broken(const simdjson::simdjson_error& e) { return make_error(Code::kInvalid, std::string("broken JSON: ") + e.what()); }

WatchType watch_type(std::string_view text) {
  if (text == "ADDED") return WatchType::kAdded;
  if (text == "MODIFIED") return WatchType::kModified;
  if (text == "DELETED") return WatchType::kDeleted;
  if (text == "BOOKMARK") return WatchType::kBookmark;
  return WatchType::kError;
}

}  // namespace

std::string_view to_string(Kind kind) {
  switch (kind) {
    case Kind::kNamespace:
      return "Namespace";
    case Kind::kNode:
      return "Node";
    case Kind::kPod:
      return "Pod";
    case Kind::kService:
      return "Service";
    case Kind::kEndpointSlice:
      return "EndpointSlice";
    case Kind::kNetworkPolicy:
      return "NetworkPolicy";
    case Kind::kClusterNetworkPolicy:
      return "ClusterNetworkPolicy";
  }
  return "";
}

void SlimObject::clear() {
  meta.ns = meta.name = meta.uid = {};
  meta.resource_version = 0;
  meta.deleting = false;
  meta.labels.clear();
  phase = ready = ready_since = ready_message = node_name = type = external_name = session_affinity = internal_policy = external_policy =
      address_type = {};
  addresses.clear();
  pod_cidrs.clear();
  pod_ips.clear();
  cluster_ips.clear();
  ports.clear();
  host_network = publish_not_ready = false;
  affinity_seconds.reset();
  external_ips = endpoint_count = 0;
  if (is_policy(kind)) policy = SlimPolicy{};
  bad_field.clear();
  bad_reason.clear();
}

struct Decoder::Impl {
  od::parser parser;
  SlimObject object;

  od::document iterate(std::string_view text) {
    return parser.iterate(simdjson::padded_string_view(text.data(), text.size(), text.size() + kPadding));
  }
};

Decoder::Decoder(Kind kind) : impl_(std::make_unique<Impl>()) { impl_->object.kind = kind; }
Decoder::~Decoder() = default;
const SlimObject& Decoder::object() const { return impl_->object; }

Result<WatchEvent> Decoder::decode_event(std::string_view line) {
  WatchEvent event;
  Walker walker(impl_->object);
  impl_->object.clear();
  try {
    bool typed = false;
    od::document document = impl_->iterate(line);
    for (auto field : document.get_object()) {
      const std::string_view key = field.unescaped_key();
      if (key == "type") {
        event.type = watch_type(field.value().get_string());
        typed = true;
      } else if (key == "object") {
        if (typed && event.type == WatchType::kError) {
          for (auto f : od::object(field.value().get_object())) {
            const std::string_view k = f.unescaped_key();
            if (k == "code") event.error_code = static_cast<int>(std::int64_t(f.value().get_int64()));
            else if (k == "message") event.error_message = f.value().get_string();
          }
        } else {
          walker.object(field.value().get_object());
        }
      }
    }
    if (!typed) return make_error(Code::kInvalid, "a watch event without a type");
    if (document.current_location().error() == simdjson::SUCCESS) return make_error(Code::kInvalid, "broken JSON: text behind the event");
  } catch (const simdjson::simdjson_error& e) { return broken(e); }
  event.resource_version = walker.version;
  return event;
}

Result<ListMeta> Decoder::decode_list(std::string_view page, const std::function<void()>& each) {
  ListMeta meta;
  try {
    od::document document = impl_->iterate(page);
    for (auto field : document.get_object()) {
      const std::string_view key = field.unescaped_key();
      if (key == "metadata") {
        for (auto f : od::object(field.value().get_object())) {
          const std::string_view k = f.unescaped_key();
          if (k == "resourceVersion") meta.resource_version = std::string_view(f.value().get_string());
          else if (k == "continue") meta.continue_token = std::string_view(f.value().get_string());
        }
      } else if (key == "items") {
        od::value items = field.value();
        if (items.type() == od::json_type::null) continue;
        for (auto item : items.get_array()) {
          impl_->object.clear();
          Walker(impl_->object).object(item.get_object());
          each();
        }
      }
    }
  } catch (const simdjson::simdjson_error& e) { return broken(e); }
  return meta;
}

Status Decoder::decode_object(std::string_view text) {
  impl_->object.clear();
  try {
    od::document document = impl_->iterate(text);
    Walker(impl_->object).object(document.get_object());
  } catch (const simdjson::simdjson_error& e) { return broken(e); }
  return {};
}

}  // namespace fairway::k8s
