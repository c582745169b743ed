// CriLog: a container's log file in the CRI's format, one line a write:
//   2006-01-02T15:04:05.000000000Z stdout F text
// Lines longer than 16 KiB are cut, with tag P on all parts but the last. At 10 MiB the file becomes PATH.1.
// https://github.com/kubernetes/design-proposals-archive/blob/main/node/kubelet-cri-logging.md
#pragma once

#include <cstddef>
#include <string>

namespace fairway::shim {

class CriLog {
 public:
  explicit CriLog(std::string path);
  void write(int stream, const char* data, std::size_t size);  // 1 stdout, 2 stderr
  void finish();                                               // writes what has no newline yet

 private:
  static constexpr std::size_t kMaxLine = 16 << 10;
  static constexpr long long kRotateBytes = 10 << 20;
  void line(int stream, const char* tag, const char* data, std::size_t size);
  void open_file();

  std::string path_;
  int fd_ = -1;
  long long bytes_ = 0;
  std::string partial_[2];
};

}  // namespace fairway::shim
