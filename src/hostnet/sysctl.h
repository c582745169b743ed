// Sysctls of the calling thread's network namespace (/proc/sys/net shows that of who opens it).
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace fairway::hostnet {

// `path` below /proc/sys, with slashes: "net/ipv6/conf/eth0/accept_ra".
Result<std::string> read_sysctl(const std::string& path);
// Writes only what differs: some writes take the rtnl lock. kNotFound where the kernel has no such thing.
Status ensure_sysctl(const std::string& path, std::string_view value);

}  // namespace fairway::hostnet
