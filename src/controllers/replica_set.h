// ReplicaSet: as many pods as spec.replicas says.
#pragma once

#include "controllers/controller.h"

namespace fairway::controllers {

class ReplicaSetController : public Controller {
 public:
  explicit ReplicaSetController(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
  void pod_changed(const Json& pod);
  Task<Status> create_pods(Json set, std::int64_t missing);
  Task<Status> delete_pods(Json set, std::vector<Json> active, std::int64_t surplus);
  Task<Status> write_status(Json set, std::vector<Json> pods, Status managed);
};

// A pod from a template, owned by `owner`. The API server completes generateName with five characters.
Json pod_from_template(const Json& owner, Events::About type, std::string_view prefix);

}  // namespace fairway::controllers
