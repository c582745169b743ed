// A cluster without machines: the API server in memory, the controllers, and kubelets that only say what kubelets say.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <set>
#include <string>

#include "apiserver/api_server.h"
#include "controllers/api.h"
#include "controllers/json.h"
#include "controllers/manager.h"
#include "io/loop.h"
#include "k8s/informer.h"

namespace fairway::controllers {

class World {
 public:
  World();
  ~World();

  // Each waits for its answer on the loop; an error fails the test and answers null.
  Json get(const std::string& resource, const std::string& name, const std::string& ns = "default");
  bool exists(const std::string& resource, const std::string& name, const std::string& ns = "default");
  json::array list(const std::string& resource, const std::string& labels = "", const std::string& ns = "default");
  Json create(const std::string& resource, Json object, const std::string& ns = "default");
  Json patch(const std::string& resource, const std::string& name, const char* merge, const std::string& ns = "default");
  void remove(const std::string& resource, const std::string& name, const std::string& propagation = "Background",
              const std::string& ns = "default");
  bool until(const std::function<bool()>& condition, std::chrono::milliseconds limit = std::chrono::seconds(15));
  void settle(std::chrono::milliseconds time = std::chrono::milliseconds(150));  // lets what would happen, happen

  void add_node(const std::string& name, const char* extra = "{}");
  void silence(const std::string& node) { silent_.insert(node); }
  void wake(const std::string& node) { silent_.erase(node); }
  void hold_ready(const std::string& label_value) { not_ready_.insert(label_value); }  // pods with app=VALUE never get ready
  void hold_termination(bool held) { hold_termination_ = held; }

  void restart_controllers();
  io::Loop loop;

 private:
  Result<Json> wait(const std::function<k8s::CallPtr(k8s::Done)>& start);
  static ResourceRef ref(const std::string& resource, const std::string& ns, const std::string& name);
  void kubelet(const Json& pod);
  void heartbeat();
  void forget(k8s::CallPtr call);

  std::unique_ptr<apiserver::ApiServer> server_;
  k8s::ApiClient* client_ = nullptr;
  std::unique_ptr<ControllerManager> manager_;
  std::unique_ptr<k8s::Informer> pods_;
  std::map<std::string, std::string> nodes_;
  std::set<std::string> silent_, not_ready_;
  bool hold_termination_ = false;
  int next_ip_ = 2, beats_ = 0;
  std::vector<k8s::CallPtr> calls_;
  io::Loop::Timer heartbeat_;
};

}  // namespace fairway::controllers
