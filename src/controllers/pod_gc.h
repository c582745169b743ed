// Pod GC: pods of nodes that are gone, and pods that were deleted before they had a node. Nobody else would end them.
#pragma once

#include "controllers/controller.h"

namespace fairway::controllers {

class PodGcController : public Controller {
 public:
  explicit PodGcController(Context& context);

 private:
  void on_start() override;
  Task<Status> reconcile(Key key) override;
  Task<Status> remove(Key key, std::string uid);

  std::unordered_map<std::string, std::chrono::steady_clock::time_point> missing_;  // node -> since when
};

}  // namespace fairway::controllers
