// Scheduler: binds pods to nodes (scheduler_fit.h), one after the other, so that each choice sees the one before.
#pragma once

#include <unordered_set>

#include "controllers/controller.h"

namespace fairway::controllers {

class Scheduler : public Controller {
 public:
  explicit Scheduler(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
  Task<Status> bind(Key key, Json pod, std::string node);
  Task<Status> refuse(Key key, Json pod, std::string message);
  void retry_waiting();

  std::unordered_set<Key> waiting_;  // found no node; looked at again when the cluster changes
};

}  // namespace fairway::controllers
