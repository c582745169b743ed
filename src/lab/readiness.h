// Readiness: how `lab up` waits for its nodes, and what it says where they do not come.
#pragma once

#include <chrono>
#include <functional>
#include <string>

#include "base/result.h"
#include "lab/layout.h"

namespace fairway::lab {

using Progress = std::function<void(const std::string& line)>;

// Until so many nodes have the condition Ready. Gives up early where waiting cannot help: the supervisor has ended, the disk is
// full, or one of the lab's processes ends whenever it is started.
Status wait_until_ready(const Layout& layout, unsigned nodes, std::chrono::seconds timeout, const Progress& progress);
// Why a supervisor is no more, with its last words.
Error supervisor_ended(const Layout& layout);

}  // namespace fairway::lab
