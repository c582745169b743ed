// The machine's lab lock: one lab a machine, since its names (namespaces, cgroup) are the machine's.
//
// An open-file-description lock on kLockPath: it ends with its holder, however that ends, and can be asked about without
// being taken. The file names the lab's folder. It is unlinked only by who holds the lock, and a taker looks again
// whether the file it locked is still the one in place.
#pragma once

#include <functional>
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

// One command at a time brings a lab up or takes it down: until a supervisor holds the lab lock, nothing else keeps two
// of them from writing into the same folder. Waits for the other, having called `waiting`. Ends with its descriptor,
// and leaves no file: the lock is on /run itself.
Result<sys::Fd> take_change_lock(const std::function<void()>& waiting);

}  // namespace fairway::lab
