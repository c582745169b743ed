// What is behind a CNI_NETNS path: opened safely, recognised by its cookie, and whether anybody lives in it.
#pragma once

#include <cstdint>
#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::cni {

// Refuses what is no network namespace (kInvalid), the caller's own one (kForbidden), and a missing path (kNotFound).
Result<sys::Fd> open_pod_netns(const std::string& path);

enum class NetnsLife {
  kGone,       // no such path, or another namespace behind it
  kEmpty,      // it is there, and no process lives in it
  kInhabited,  // a process lives in it, or this cannot be seen (not in the machine's PID namespace)
};
NetnsLife probe_netns(const std::string& path, std::uint64_t cookie);

Result<std::string> boot_id();

}  // namespace fairway::cni
