// Listening sockets that the parent hands over by the LISTEN_FDS protocol (sd_listen_fds(3)): descriptors from 3 on, with names.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "sys/fd.h"

namespace fairway::sys {

constexpr int kFirstListenFd = 3;

// Those that the environment tells of, once: they are the caller's then. Closed on exec.
std::vector<std::pair<std::string, Fd>> take_listen_fds();

}  // namespace fairway::sys
