// A container's environment: the image's, the Services', envFrom, env with its sources, $(VAR) expansion. Pure.
// As kubelet does it: pkg/kubelet/kubelet_pods.go (order), third_party/forked/golang/expansion ($(VAR), $$).
#pragma once

#include <map>
#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/json.h"

namespace fairway::runtime {

// ConfigMaps and Secrets that were fetched: "configmaps/NAME" or "secrets/NAME" to the object; null: there is none.
using ConfigObjects = std::map<std::string, Json>;

struct PodFacts {
  const Json* pod = nullptr;
  std::string node_name;
  std::vector<std::string> pod_ips, host_ips;
  JsonObject allocatable;  // the Node's
};

// $(NAME) becomes the variable's value; $$(NAME) becomes $(NAME); an unknown one stays as it is.
std::string expand_variables(const std::string& text, const std::map<std::string, std::string>& variables);

// "metadata.name", "metadata.labels['x']", "status.podIP" ...
Result<std::string> pod_field(const PodFacts& facts, const std::string& path);
// "limits.cpu" with a divisor. Where there is no limit, what the node can give.
Result<std::string> resource_field(const PodFacts& facts, const Json& container, const std::string& resource, const std::string& divisor);

// Docker-link style variables of a namespace's Services (KUBERNETES_SERVICE_HOST, WEB_PORT_80_TCP ...).
std::map<std::string, std::string> service_variables(const std::vector<const Json*>& services, const std::string& ns, bool links);

// What names of ConfigMaps and Secrets the container's env needs: "configmaps/NAME".
std::vector<std::string> env_references(const Json& container);

// The error's text is the message of CreateContainerConfigError.
Result<std::vector<std::string>> container_env(const PodFacts& facts, const Json& container, const std::vector<std::string>& image_env,
                                               const std::map<std::string, std::string>& services, const ConfigObjects& objects);

}  // namespace fairway::runtime
