// The machine's lab lock: one lab a machine, since its names (namespaces, cgroup) are the machine's.
//
// An open-file-description lock on kLockPath: it ends with its holder, however that ends, and can be asked about without
// being taken. The file names the lab's folder. It is unlinked only by who holds the lock, and a taker looks again
// whether the file it locked is still the one in place.
#pragma once

#include <string>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::lab {

// kAlreadyExists while another holds it. Keep the descriptor: closing it gives the lock back.
Result<sys::Fd> take_lab_lock(const std::string& lab_dir);
// The folder of the lab whose supervisor holds the lock, or empty.
std::string running_lab_dir();
// Removes the file, by who holds the lock.
void remove_lab_lock(const sys::Fd& held);

}  // namespace fairway::lab
