// Journal: an append-only file of records that survives a crash at any byte. Each line is a checksum and one record
// of JSON, so that it can be read with a pager.
//
// A record counts once its line is complete; a torn last line is cut off at the next start. There is no fsync on append:
// what a record says (a namespace, an interface) does not survive a power cut either, and the kernel keeps a killed
// process's writes.
#pragma once

#include <cstddef>
#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "sys/fd.h"

namespace fairway::cni {

class Journal {
 public:
  // Reads what is there, record by record in order, and is ready to append. Lines in the middle whose checksum is wrong
  // are left out and counted; the file is then kept beside as PATH.damaged.
  static Result<Journal> open(std::string path, const std::function<void(std::string_view record)>& replay);

  Status append(std::string_view record);
  // The new content in place of all, by rename: a crash leaves the old journal or the new one.
  Status rewrite(const std::vector<std::string>& records);

  std::size_t size_bytes() const { return size_bytes_; }
  std::size_t damaged_records() const { return damaged_; }

 private:
  Journal() = default;
  Status reopen();
  std::string path_;
  sys::Fd fd_;
  std::size_t size_bytes_ = 0;
  std::size_t damaged_ = 0;
};

}  // namespace fairway::cni
