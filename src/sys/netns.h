// Network namespaces: open, create, enter. setns(2) and not `ip netns exec`, which remounts /sys and hides bpffs.
#pragma once

#include <functional>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::sys {

// Opens a namespace by path (/run/netns/x, /proc/PID/ns/net).
Result<Fd> open_netns(const std::string& path);
// The calling thread's own.
Result<Fd> current_netns();
// Makes a new namespace pinned at `path` by a bind mount (as `ip netns add` does), lo up. kAlreadyExists if there is one.
Status create_netns(const std::string& path);
// Unpins; the namespace goes when its last process or socket does. A missing one is no error.
Status remove_netns(const std::string& path);
// Runs `body` with the calling thread inside `netns`, and comes back. Aborts if coming back fails:
// a thread in the wrong namespace must not live on.
Status in_netns(const Fd& netns, const std::function<Status()>& body);

}  // namespace fairway::sys
