// ObjectLog: the last known objects on disk, so that a node comes up, and goes on, without an API server (promise 3).
//
// Place: beside the flow. It reads each table's change feed and appends what changed; at start the rows are restored
// before anything is dialed. A file of records, each with a checksum: a torn end is cut off at the next start. When
// more than half of the file is history it is written anew, beside the old one, and renamed.
// Durability: appended at once (survives the agent), on disk within a second or so (survives the machine).
// Work is proportional to the change, but for the rewriting, which is paid by as many appends.
// Control thread; fsync runs on a thread of its own.
#pragma once

#include <condition_variable>
#include <cstdint>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/result.h"
#include "reflect/cluster.h"
#include "sys/fd.h"

namespace fairway::agent {

class ObjectLog {
 public:
  // Restores the rows into `cluster`, and follows it from then on.
  static Result<std::unique_ptr<ObjectLog>> open(const std::string& path, reflect::Cluster& cluster);
  ~ObjectLog();

  // Appends what changed since the last call. An error (a full disk) is told once more with each call until it is mended
  // by rewriting the file; the flow goes on meanwhile.
  Status append();

  // What was restored was the whole of a cluster once: its writer had synced. Else it may be any part of one.
  bool restored_whole() const { return restored_whole_; }
  // Every source has synced: from now on the file is the whole.
  Status mark_whole();
  std::size_t restored() const { return restored_; }
  std::size_t file_bytes() const { return file_bytes_; }

 private:
  ObjectLog(std::string path, reflect::Cluster& cluster) : path_(std::move(path)), cluster_(cluster) {}
  Status restore();
  enum class Publish { kNow, kByThread };
  Status rewrite(Publish publish);
  Status write_out(int fd, std::string& buffer);
  void sync_later(bool publish);
  void sync_thread();

  std::string path_;
  reflect::Cluster& cluster_;
  std::vector<table::PackedTable::Reader> readers_;
  sys::Fd fd_;
  std::size_t file_bytes_ = 0;
  std::size_t restored_ = 0;
  bool restored_whole_ = false, damaged_ = false;
  bool broken_ = false;  // a write failed: the file's end is not known

  std::mutex mutex_;
  std::condition_variable wake_;
  int sync_fd_ = -1;      // to be synced and closed by the thread
  bool publish_ = false;  // ... and then to take the file's name
  bool stop_ = false;
  std::thread thread_;
};

}  // namespace fairway::agent
