// Events: core/v1 Events as Kubernetes' recorder writes them: fire and forget, the same one again counts up.
#pragma once

#include <list>
#include <map>
#include <memory>
#include <string>
#include <string_view>

#include "controllers/api.h"

namespace fairway::controllers {

class Events {
 public:
  explicit Events(Api& api) : api_(api) {}
  // Objects of a list do not carry their own type.
  struct About {
    std::string_view api_version;
    std::string_view kind;
    std::string_view resource;
    std::string_view group() const;
  };
  void normal(std::string_view component, const Json& about, About type, std::string_view reason, const std::string& message) {
    record(component, about, type, "Normal", reason, message);
  }
  void warning(std::string_view component, const Json& about, About type, std::string_view reason, const std::string& message) {
    record(component, about, type, "Warning", reason, message);
  }

 private:
  struct Known {
    std::string ns, name;
    std::int64_t count = 1;
  };
  void record(std::string_view component, const Json& about, About type, std::string_view level, std::string_view reason,
              const std::string& message);
  void send_new(Known& known, const std::string& id, Json event);
  void send_repeat(const std::string& id);
  k8s::Done finished(std::uint64_t number, std::string id);

  Api& api_;
  std::map<std::string, Known> known_;  // by object, component, level, reason, message
  std::list<std::string> order_;        // oldest first, to bound known_
  std::uint64_t next_call_ = 0;
  std::map<std::uint64_t, k8s::CallPtr> calls_;
  std::shared_ptr<int> alive_ = std::make_shared<int>();
};

inline constexpr Events::About kPodType{"v1", "Pod", "pods"};
inline constexpr Events::About kNodeType{"v1", "Node", "nodes"};
inline constexpr Events::About kDeploymentType{"apps/v1", "Deployment", "deployments"};
inline constexpr Events::About kReplicaSetType{"apps/v1", "ReplicaSet", "replicasets"};
inline constexpr Events::About kDaemonSetType{"apps/v1", "DaemonSet", "daemonsets"};

}  // namespace fairway::controllers
