// EndpointSlice controller: for each Service with a selector, its slices and its Endpoints (endpoint_plan.h).
// A Service without a selector is left alone: whoever made its slices or Endpoints keeps them. Of such Endpoints,
// slices are mirrored (endpoint_mirror.h).
#pragma once

#include "controllers/controller.h"

namespace fairway::controllers {

class EndpointSliceController : public Controller {
 public:
  explicit EndpointSliceController(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
  void pod_changed(const Json* before, const Json* after);
  Task<Status> write_slices(Key key, Json service);
  Task<Status> write_endpoints(Key key, Json service);
  Task<Status> remove_own(Key key);
  std::vector<const Json*> selected(const Json& service) const;

  std::unordered_set<Key> removed_;  // Services seen going: their Endpoints go with them
};

}  // namespace fairway::controllers
