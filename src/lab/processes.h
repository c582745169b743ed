// The lab's processes: each runs until SIGTERM. Wiring only.
#pragma once

#include <string>

#include "base/result.h"
#include "lab/layout.h"

namespace fairway::lab {

Status run_supervisor(const Layout& layout);                     // of `lab up`, which gives it kApiListener
Status run_server(const Layout& layout);                         // API server, controllers, scheduler; likewise
Status run_node(const Layout& layout, const std::string& name);  // node runtime, in the node's network namespace

}  // namespace fairway::lab
