// Node IPAM: each node's share of the cluster's pod ranges (spec.podCIDR, spec.podCIDRs). Never changed once given:
// pods live in it. What is in use is read from the nodes each time, so there is nothing to lose.
#pragma once

#include <optional>

#include "controllers/controller.h"

namespace fairway::controllers {

// The lowest share of `range` that overlaps none of `used`.
std::optional<net::Prefix> free_share(const PodRange& range, const std::vector<net::Prefix>& used);

class NodeIpamController : public Controller {
 public:
  explicit NodeIpamController(Context& context);

 private:
  Task<Status> reconcile(Key key) override;
};

}  // namespace fairway::controllers
