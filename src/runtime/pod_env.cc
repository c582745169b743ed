#include "runtime/pod_env.h"

#include <algorithm>
#include <cctype>
#include <cmath>
#include <cstdlib>

#include "k8s/quantity.h"

namespace fairway::runtime {

std::string expand_variables(const std::string& in, const std::map<std::string, std::string>& variables) {
  std::string out;
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (in[i] != '$' || i + 1 >= in.size()) {
      out += in[i];
      continue;
    }
    if (in[i + 1] == '$') {
      out += '$';
      ++i;
      continue;
    }
    const auto close = in[i + 1] == '(' ? in.find(')', i + 2) : std::string::npos;
    if (close == std::string::npos) {
      out += in[i];
      continue;
    }
    const auto found = variables.find(in.substr(i + 2, close - i - 2));
    out += found == variables.end() ? in.substr(i, close - i + 1) : found->second;
    i = close;
  }
  return out;
}

static std::string joined(const std::vector<std::string>& items) {
  std::string out;
  for (const auto& item : items) out += (out.empty() ? "" : ",") + item;
  return out;
}

Result<std::string> pod_field(const PodFacts& facts, const std::string& path) {
  const auto first = [](const std::vector<std::string>& ips) { return ips.empty() ? std::string() : ips.front(); };
  if (path == "spec.nodeName") return facts.node_name;
  if (path == "status.podIP") return first(facts.pod_ips);
  if (path == "status.podIPs") return joined(facts.pod_ips);
  if (path == "status.hostIP") return first(facts.host_ips);
  if (path == "status.hostIPs") return joined(facts.host_ips);
  if (path == "spec.serviceAccountName") return text(*facts.pod, path, "default");
  if (path == "metadata.name" || path == "metadata.namespace" || path == "metadata.uid" || path == "spec.restartPolicy")
    return text(*facts.pod, path);
  for (const std::string_view map : {"metadata.labels", "metadata.annotations"}) {
    if (!path.starts_with(map)) continue;
    if (path.size() == map.size()) {
      std::string lines;
      std::map<std::string, std::string> sorted;
      for (const auto& [key, value] : object(*facts.pod, map))
        sorted[std::string(key)] = value.is_string() ? std::string(value.get_string()) : "";
      for (const auto& [key, value] : sorted) lines += (lines.empty() ? "" : "\n") + key + "=" + boost::json::serialize(Json(value));
      return lines;
    }
    if (path.size() > map.size() + 4 && path.compare(map.size(), 2, "['") == 0 && path.ends_with("']")) {
      const Json* found = find(*facts.pod, map);
      found = found ? member(*found, path.substr(map.size() + 2, path.size() - map.size() - 4)) : nullptr;
      return found && found->is_string() ? std::string(found->get_string()) : std::string();
    }
  }
  return make_error(Code::kInvalid, "unsupported fieldPath: " + path);
}

// In thousandths.
Result<std::int64_t> quantity(const std::string& text) {
  if (const auto milli = k8s::parse_quantity_milli(text)) return *milli;
  return make_error(Code::kInvalid, "quantity \"" + text.substr(0, 64) + "\" is none");
}

// A quantity may be written as a number. Nothing is 0.
static Result<std::int64_t> amount(const Json* found) {
  if (!found) return 0;
  if (found->is_string()) return quantity(std::string(found->get_string()));
  return found->is_int64() ? found->get_int64() * 1000 : 0;
}

Result<std::string> resource_field(const PodFacts& facts, const Json& container, const std::string& resource, const std::string& divisor) {
  const auto dot = resource.find('.');
  const std::string name = dot == std::string::npos ? "" : resource.substr(dot + 1), list = resource.substr(0, dot);
  const Json* group = find(container, "resources." + list);
  FW_ASSIGN(std::int64_t milli, amount(group ? member(*group, name) : nullptr));
  if (milli == 0 && list == "limits") { FW_ASSIGN(milli, amount(facts.allocatable.if_contains(name))); }
  FW_ASSIGN(std::int64_t by, quantity(divisor.empty() || divisor == "0" ? "1" : divisor));
  if (by == 0) by = 1000;
  return std::to_string(milli / by + (milli % by != 0 ? 1 : 0));
}

static std::string variable_name(std::string name) {
  for (char& c : name) c = c == '-' ? '_' : static_cast<char>(std::toupper(static_cast<unsigned char>(c)));
  return name;
}

static void add_service(const Json& service, std::map<std::string, std::string>& out) {
  const std::string ip = text(service, "spec.clusterIP");
  const JsonArray& ports = array(service, "spec.ports");
  if (ip.empty() || ip == "None" || ports.empty()) return;
  const std::string prefix = variable_name(text(service, "metadata.name"));
  out[prefix + "_SERVICE_HOST"] = ip;
  out[prefix + "_SERVICE_PORT"] = std::to_string(number(ports[0], "port"));
  const std::string host = ip.find(':') == std::string::npos ? ip : "[" + ip + "]";
  bool first = true;
  for (const auto& port : ports) {
    const std::string value = std::to_string(number(port, "port"));
    std::string protocol = text(port, "protocol", "TCP"), upper = protocol;
    std::transform(protocol.begin(), protocol.end(), protocol.begin(), [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    const std::string url = protocol + "://" + host + ":" + value;
    if (const std::string name = text(port, "name"); !name.empty()) out[prefix + "_SERVICE_PORT_" + variable_name(name)] = value;
    if (first) out[prefix + "_PORT"] = url;
    first = false;
    const std::string link = prefix + "_PORT_" + value + "_" + upper;
    out[link] = url;
    out[link + "_PROTO"] = protocol;
    out[link + "_PORT"] = value;
    out[link + "_ADDR"] = ip;
  }
}

std::map<std::string, std::string> service_variables(const std::vector<const Json*>& services, const std::string& ns, bool links) {
  std::map<std::string, std::string> out;
  for (const Json* service : services) {
    const std::string where = text(*service, "metadata.namespace"), name = text(*service, "metadata.name");
    const bool api = where == "default" && name == "kubernetes";  // always there, whatever the namespace
    if (api || (links && where == ns)) add_service(*service, out);
  }
  return out;
}

std::vector<std::string> env_references(const Json& container) {
  std::vector<std::string> out;
  const auto add = [&](const char* kind, const std::string& name) {
    if (!name.empty()) out.push_back(std::string(kind) + "/" + name);
  };
  for (const auto& from : array(container, "envFrom")) {
    add("configmaps", text(from, "configMapRef.name"));
    add("secrets", text(from, "secretRef.name"));
  }
  for (const auto& variable : array(container, "env")) {
    add("configmaps", text(variable, "valueFrom.configMapKeyRef.name"));
    add("secrets", text(variable, "valueFrom.secretKeyRef.name"));
  }
  return out;
}

namespace {

// Null: it is optional and not there.
Result<const Json*> referenced(const ConfigObjects& objects, const std::string& kind, const Json& reference) {
  const std::string name = text(reference, "name");
  const auto found = objects.find(kind + "/" + name);
  if (found != objects.end() && !found->second.is_null()) return &found->second;
  if (flag(reference, "optional")) return static_cast<const Json*>(nullptr);
  return make_error(Code::kNotFound, (kind == "secrets" ? "secret \"" : "configmap \"") + name + "\" not found");
}

Result<bool> key_value(const ConfigObjects& objects, const std::string& kind, const Json& reference, const std::string& ns,
                       std::string& out) {
  FW_ASSIGN(const Json* object_found, referenced(objects, kind, reference));
  if (!object_found) return false;
  const std::string key = text(reference, "key");
  const Json* data = member(*object_found, "data");
  const Json* value = data ? member(*data, key) : nullptr;
  if (value && value->is_string()) {
    out = kind == "secrets" ? base64_decode(std::string(value->get_string())) : std::string(value->get_string());
    return true;
  }
  if (flag(reference, "optional")) return false;
  return make_error(Code::kNotFound, "couldn't find key " + key + " in " + (kind == "secrets" ? "Secret " : "ConfigMap ") + ns + "/" +
                                         text(reference, "name"));
}

Status add_env_from(const Json& container, const ConfigObjects& objects, std::map<std::string, std::string>& variables) {
  for (const auto& from : array(container, "envFrom")) {
    const std::string prefix = text(from, "prefix");
    for (const auto& [ref, kind] : {std::pair{"configMapRef", "configmaps"}, std::pair{"secretRef", "secrets"}}) {
      const Json* reference = member(from, ref);
      if (!reference) continue;
      FW_ASSIGN(const Json* found, referenced(objects, kind, *reference));
      if (!found) continue;
      for (const auto& [key, value] : object(*found, "data"))
        if (value.is_string())
          variables[prefix + std::string(key)] =
              std::string_view(kind) == "secrets" ? base64_decode(std::string(value.get_string())) : std::string(value.get_string());
    }
  }
  return {};
}

// False: an optional source is missing, so the variable is not set.
Result<bool> value_from(const PodFacts& facts, const Json& container, const Json& source, const ConfigObjects& objects, std::string& out) {
  const std::string ns = text(*facts.pod, "metadata.namespace");
  if (const Json* ref = member(source, "fieldRef")) {
    FW_ASSIGN(out, pod_field(facts, text(*ref, "fieldPath")));
    return true;
  }
  if (const Json* ref = member(source, "resourceFieldRef")) {
    FW_ASSIGN(out, resource_field(facts, container, text(*ref, "resource"), text(*ref, "divisor")));
    return true;
  }
  if (const Json* ref = member(source, "configMapKeyRef")) return key_value(objects, "configmaps", *ref, ns, out);
  if (const Json* ref = member(source, "secretKeyRef")) return key_value(objects, "secrets", *ref, ns, out);
  return make_error(Code::kInvalid, "valueFrom names no source");
}

}  // namespace

Result<std::vector<std::string>> container_env(const PodFacts& facts, const Json& container, const std::vector<std::string>& image_env,
                                               const std::map<std::string, std::string>& services, const ConfigObjects& objects) {
  std::map<std::string, std::string> variables;  // what $(VAR) sees: not the image's
  FW_TRY(add_env_from(container, objects, variables));
  std::map<std::string, std::string> visible = services;
  for (const auto& [name, value] : variables) visible[name] = value;
  for (const auto& variable : array(container, "env")) {
    const std::string name = text(variable, "name");
    std::string value;
    if (const Json* source = member(variable, "valueFrom")) {
      FW_ASSIGN(const bool set, value_from(facts, container, *source, objects, value));
      if (!set) continue;
    } else {
      value = expand_variables(text(variable, "value"), visible);
    }
    visible[name] = value;
  }
  std::map<std::string, std::string> all;
  for (const auto& entry : image_env) {
    const auto equals = entry.find('=');
    if (equals != std::string::npos) all[entry.substr(0, equals)] = entry.substr(equals + 1);
  }
  for (const auto& [name, value] : visible) all[name] = value;
  std::vector<std::string> out;
  for (const auto& [name, value] : all) out.push_back(name + "=" + value);
  return out;
}

}  // namespace fairway::runtime
