// Whole files: read with a limit, write so that a crash leaves the old or the new content, never a part.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <string>
#include <string_view>

#include "base/result.h"

namespace fairway::sys {

Result<std::string> read_file(const std::string& path, std::size_t limit_bytes = 64 << 20);
enum class Sync { kNone, kDisk };  // kDisk: fsync file and folder, for what must outlive a power cut
Status write_file_atomic(const std::string& path, std::string_view content, mode_t mode = 0644, Sync sync = Sync::kNone);

}  // namespace fairway::sys
