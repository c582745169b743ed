// Fabric: the network that stands for the data centre. A namespace with one bridge a subnet, routing between
// the subnets and to the outside host; a node is a namespace with one leg, eth0, on its bridge.
// Nothing of it is reachable from the root namespace.
#pragma once

#include "base/result.h"
#include "lab/spec.h"

namespace fairway::lab {

class Fabric {
 public:
  // The fabric's and the outside host's namespaces, bridges and routes. Idempotent.
  static Status create(const LabSpec& spec);
  // The node's namespace and its leg, up, with addresses and default routes.
  static Status add_node(const LabSpec& spec, const NodeSpec& node);
  static Status remove_node(const NodeSpec& node);
  // Takes the node's leg off the bridge, or puts it back: the link stays up, as with a broken switch.
  static Status set_connected(const NodeSpec& node, bool connected);
};

}  // namespace fairway::lab
