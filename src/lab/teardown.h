// Taking a lab down, with or without its supervisor: everything is found by its name or place,
// so that nothing is left after a crash either. Each step tolerates what is already gone.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "lab/layout.h"

namespace fairway::lab {

// Ends every process of the lab (by its cgroup), unmounts, removes namespaces, cgroups and the lab's folder.
// Returns what was removed, in words, for the user.
Result<std::vector<std::string>> teardown(const Layout& layout);

// The same for one node: its processes, pods, mounts and cgroups. The fabric's side is Fabric::remove_node.
Status teardown_node(const Layout& layout, const std::string& lab_cgroup, const std::string& node);

}  // namespace fairway::lab
