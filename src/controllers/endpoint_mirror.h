// Endpoint mirror: Endpoints that somebody wrote for a Service without a selector, as EndpointSlices, which is
// what everything else reads. Ours carry their own managed-by label, so hand-made slices are never touched.
#pragma once

#include "controllers/controller.h"
#include "controllers/json.h"

namespace fairway::controllers {

// The slices that mirror these Endpoints: one a subset and family, at most 100 addresses. Names come from the API server.
std::vector<Json> mirror_slices(const Json& endpoints);

class EndpointMirrorController : public Controller {
 public:
  explicit EndpointMirrorController(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
  std::vector<Json> wanted_for(const Key& key) const;
};

}  // namespace fairway::controllers
