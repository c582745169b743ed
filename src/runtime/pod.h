// Pod: one pod of this node, brought step by step to what its object says. sync() looks at the whole state each
// time and does what is next, as kubelet's syncPod: it may be called at any time, any number of times.
// On disk below pods/UID: pod.json (the object), sandbox.json, etc/, volumes/, containers/.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "runtime/container.h"
#include "runtime/node.h"

namespace fairway::runtime {

struct Sandbox {
  std::string id, netns;  // hostNetwork: the node's own, and no CNI
  std::vector<std::string> ips;
  Json result;
  bool ready = false;
};

class Pod {
 public:
  // `gone`: its object and all that it had here are no more.
  Pod(Node& node, Json object, std::function<void()> gone);
  ~Pod();
  Pod(const Pod&) = delete;
  Pod& operator=(const Pod&) = delete;

  void adopt();  // what a former runtime left on disk
  void update(Json object);
  void removed();  // its object is gone from the API
  void schedule_sync(std::chrono::milliseconds delay = std::chrono::milliseconds(0));

  const std::string& uid() const { return uid_; }
  const std::string& name() const { return name_; }
  const std::string& ns() const { return ns_; }
  const Json& object() const { return object_; }
  std::string full_name() const { return name_ + "_" + ns_ + "(" + uid_ + ")"; }
  std::string dir() const { return node_.pods_dir() + "/" + uid_; }
  bool host_network() const { return flag(object_, "spec.hostNetwork"); }
  const Sandbox& sandbox() const { return sandbox_; }
  std::string netns() const { return sandbox_.netns; }
  PodFacts facts() const;
  std::int64_t grace_seconds() const;  // what its object says now
  bool terminating() const { return removed_ || find(object_, "metadata.deletionTimestamp"); }
  const std::vector<std::unique_ptr<Container>>& containers() const { return regular_; }
  Container* find_container(const std::string& name) const;
  const ConfigObjects& config_objects() const { return objects_; }
  bool initialized() const;
  std::string phase() const;
  void event(const std::string& type, const std::string& reason, const std::string& message, const std::string& field_path = "");

 private:
  void sync();
  void prepare();  // folders and volumes
  void volumes_fetched(Result<ConfigObjects> objects);
  void start_sandbox();
  void sandbox_attached(Result<Json> result);
  Status write_etc();
  void run_containers();
  bool run_init_containers();       // true: all are done
  void add_ephemeral_containers();  // those that the object has and we have not: they come at any time, and stay
  bool wants_restart(const Container& container) const;
  bool finished() const;
  void terminate();
  void stop_sidecars(std::chrono::seconds grace);
  bool all_idle() const;
  void teardown_sandbox();  // sets sandbox_gone_ in the end
  void delete_object();
  void remove_from_disk();
  void refresh_volumes();
  void publish();
  Json build_status() const;
  void save_sandbox() const;
  template <typename F>
  auto guarded(F f) {
    return [alive = std::weak_ptr<bool>(alive_), f = std::move(f)](auto&&... args) mutable {
      if (!alive.expired()) f(std::forward<decltype(args)>(args)...);
    };
  }

  Node& node_;
  Json object_;
  std::function<void()> gone_;
  std::string uid_, name_, ns_;
  Sandbox sandbox_;
  ConfigObjects objects_;
  std::vector<std::unique_ptr<Container>> init_, regular_, ephemeral_;
  bool prepared_ = false, preparing_ = false;
  bool attaching_ = false, tearing_down_ = false, sandbox_gone_ = false;
  bool removed_ = false, deleting_ = false, deleted_ = false, removing_ = false;
  std::optional<std::chrono::steady_clock::time_point> deadline_;  // of the grace period
  std::int64_t start_ns_ = 0;
  std::string published_;
  Json last_status_;  // for lastTransitionTime
  bool publishing_ = false;
  std::chrono::milliseconds publish_backoff_{0};
  io::Loop::Timer sync_timer_, retry_timer_, teardown_timer_, publish_timer_, refresh_timer_;
  std::chrono::steady_clock::time_point retry_at_, sandbox_retry_;
  bool sync_posted_ = false;
  StartLimiter::Slot slot_;
  std::shared_ptr<bool> alive_ = std::make_shared<bool>(true);
};

// The status of a pod from its object and its containers (pod_status.cc).
struct StatusFacts {
  std::string phase;
  bool sandbox_ready = false, initialized = false;
  std::int64_t start_ns = 0;
  std::vector<std::string> pod_ips, host_ips;
  std::vector<Json> init_statuses, statuses, ephemeral_statuses;
  std::vector<std::string> incomplete, unready;  // names of containers
};
Json pod_status(const Json& pod, const StatusFacts& facts, const Json& before, std::int64_t now_ns);

// Guaranteed, Burstable or BestEffort.
std::string qos_class(const Json& pod);

}  // namespace fairway::runtime
