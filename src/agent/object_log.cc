#include "agent/object_log.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>

#include "sys/file.h"
#include "sys/log.h"

namespace fairway::agent {
namespace {

using k8s::Kind;
using reflect::Cluster;

constexpr std::string_view kMagic = "fairway-objects ";
constexpr const char* kWholeSuffix = ".whole";
constexpr std::size_t kMaxFile = std::size_t{1} << 30;
constexpr std::size_t kSmall = 1 << 20;  // not worth rewriting below this
constexpr std::size_t kTornBytes = 64 << 10;
constexpr std::size_t kBuffer = 1 << 20;
constexpr std::size_t kMaxKey = 1024, kMaxRow = 16 << 20;

std::string header() { return std::string(kMagic) + std::to_string(model::kCodecVersion) + "\n"; }

// A record: checksum of the rest, sizes, kind, whether the row is there; key; row. Host byte order: the file never
// leaves the machine.
struct RecordHead {
  std::uint32_t checksum = 0;
  std::uint32_t row_bytes = 0;
  std::uint16_t key_bytes = 0;
  std::uint8_t kind = 0;
  std::uint8_t present = 0;
};
static_assert(sizeof(RecordHead) == 12);

std::uint32_t checksum(const char* data, std::size_t size, std::uint32_t hash = 2166136261U) {
  for (std::size_t i = 0; i < size; ++i) hash = (hash ^ static_cast<unsigned char>(data[i])) * 16777619U;
  return hash;
}

void append_record(std::string& out, Kind kind, std::string_view key, const std::string_view* row) {
  RecordHead head;
  head.row_bytes = row != nullptr ? static_cast<std::uint32_t>(row->size()) : 0;
  head.key_bytes = static_cast<std::uint16_t>(key.size());
  head.kind = static_cast<std::uint8_t>(kind);
  head.present = row != nullptr;
  const std::size_t at = out.size();
  out.append(reinterpret_cast<const char*>(&head), sizeof(head));
  out.append(key);
  if (row != nullptr) out.append(*row);
  head.checksum = checksum(out.data() + at + 4, out.size() - at - 4);
  std::memcpy(out.data() + at, &head, 4);
}

// The length of the record at the start of `data`, or 0 if there is no whole and sound one.
std::size_t sound_record(std::string_view data, RecordHead& head) {
  if (data.size() < sizeof(head)) return 0;
  std::memcpy(&head, data.data(), sizeof(head));
  const std::size_t size = sizeof(head) + head.key_bytes + head.row_bytes;
  if (head.key_bytes > kMaxKey || head.row_bytes > kMaxRow || size > data.size()) return 0;
  if (head.kind > static_cast<unsigned>(k8s::kLastKind)) return 0;
  return checksum(data.data() + 4, size - 4) == head.checksum ? size : 0;
}

}  // namespace

Result<std::unique_ptr<ObjectLog>> ObjectLog::open(const std::string& path, Cluster& cluster) {
  std::unique_ptr<ObjectLog> log(new ObjectLog(path, cluster));
  FW_TRY(log->restore());
  log->restored_whole_ = log->restored_ > 0 && !log->damaged_ && ::access((path + kWholeSuffix).c_str(), F_OK) == 0;
  for (const Kind kind : Cluster::kKinds) {
    log->readers_.push_back(cluster.table(kind).subscribe());
    (void)cluster.table(kind).take_changes(log->readers_.back());  // what was restored is on disk
  }
  // The history is paid for at start, when nothing else goes on.
  FW_TRY(log->rewrite(Publish::kNow));
  log->thread_ = std::thread([raw = log.get()] { raw->sync_thread(); });
  return log;
}

ObjectLog::~ObjectLog() {
  {
    const std::lock_guard lock(mutex_);
    stop_ = true;
  }
  wake_.notify_one();
  if (thread_.joinable()) thread_.join();
  if (sync_fd_ >= 0) ::close(sync_fd_);
}

Status ObjectLog::restore() {
  auto content = sys::read_file(path_, kMaxFile);
  if (!content.ok()) return content.error().code == Code::kNotFound ? Status{} : Status(std::move(content).error());
  std::string_view rest = *content;
  const std::string expected = header();
  if (!rest.starts_with(expected)) {
    log::warn("agent", "{}: of another version; waiting for the API server instead", path_);
    return {};
  }
  rest.remove_prefix(expected.size());
  RecordHead head;
  while (const std::size_t size = sound_record(rest, head)) {
    const auto kind = static_cast<Kind>(head.kind);
    const std::string_view key = rest.substr(sizeof(head), head.key_bytes);
    if (head.present == 0) cluster_.forget(kind, key);
    else if (cluster_.restore(kind, key, rest.substr(sizeof(head) + head.key_bytes, head.row_bytes))) ++restored_;
    rest.remove_prefix(size);
  }
  // A power cut takes the last second or so; more is damage, and what is left is any part of a cluster.
  damaged_ = rest.size() > kTornBytes;
  if (!rest.empty()) log::warn("agent", "{}: the last {} bytes are not whole and are left out", path_, rest.size());
  return {};
}

Status ObjectLog::write_out(int fd, std::string& buffer) {
  for (std::size_t done = 0; done < buffer.size();) {
    const ssize_t n = ::write(fd, buffer.data() + done, buffer.size() - done);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0) return errno_error(errno, "write " + path_);
    done += static_cast<std::size_t>(n);
  }
  file_bytes_ += buffer.size();
  buffer.clear();
  return {};
}

Status ObjectLog::rewrite(Publish publish) {
  const std::string fresh = path_ + ".new";
  sys::Fd fd(::open(fresh.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_APPEND, 0600));
  if (!fd) return errno_error(errno, "create " + fresh);
  file_bytes_ = 0;
  std::string buffer = header();
  Status status;
  for (const Kind kind : Cluster::kKinds) {
    cluster_.table(kind).for_each([&](std::string_view key, std::string_view row) {
      append_record(buffer, kind, key, &row);
      if (buffer.size() >= kBuffer && status.ok()) status = write_out(fd.get(), buffer);
    });
  }
  FW_TRY(status);
  FW_TRY(write_out(fd.get(), buffer));
  // The new content must be on disk before its name is; a disk's sync is nothing for the control thread to wait for.
  if (publish == Publish::kNow) {
    if (::fdatasync(fd.get()) < 0) return errno_error(errno, "sync " + fresh);
    if (::rename(fresh.c_str(), path_.c_str()) < 0) return errno_error(errno, "rename " + fresh);
  }
  fd_ = std::move(fd);
  broken_ = false;
  if (publish == Publish::kByThread) sync_later(true);
  return {};
}

Status ObjectLog::append() {
  std::string buffer;
  for (std::size_t i = 0; i < readers_.size(); ++i) {
    const Kind kind = Cluster::kKinds[i];
    auto& table = cluster_.table(kind);
    if (!table.has_changes(readers_[i])) continue;
    for (const std::string& key : table.take_changes(readers_[i])) {
      const auto row = table.find(key);
      append_record(buffer, kind, key, row ? &*row : nullptr);
    }
  }
  if (!broken_ && buffer.empty()) return {};
  if (broken_ || file_bytes_ + buffer.size() > 2 * cluster_.bytes() + kSmall) return rewrite(Publish::kByThread);
  Status status = write_out(fd_.get(), buffer);
  if (!status.ok()) broken_ = true;
  else sync_later(false);
  return status;
}

Status ObjectLog::mark_whole() { return sys::write_file_atomic(path_ + kWholeSuffix, header()); }

void ObjectLog::sync_later(bool publish) {
  const std::lock_guard lock(mutex_);
  if (publish && sync_fd_ >= 0) ::close(std::exchange(sync_fd_, -1));  // of the file that is replaced
  publish_ |= publish;
  if (sync_fd_ >= 0) return;  // the sync that is yet to come covers this too
  sync_fd_ = ::fcntl(fd_.get(), F_DUPFD_CLOEXEC, 0);
  wake_.notify_one();
}

void ObjectLog::sync_thread() {
  std::unique_lock lock(mutex_);
  for (;;) {
    wake_.wait(lock, [this] { return stop_ || sync_fd_ >= 0; });
    if (sync_fd_ < 0) return;
    // Gathers what comes within the next half second into one sync.
    if (!stop_) wake_.wait_for(lock, std::chrono::milliseconds(500), [this] { return stop_; });
    const int fd = std::exchange(sync_fd_, -1);
    const bool publish = std::exchange(publish_, false);
    lock.unlock();
    const bool synced = ::fdatasync(fd) == 0;
    ::close(fd);
    if (publish && (!synced || ::rename((path_ + ".new").c_str(), path_.c_str()) < 0))
      log::warn("agent", "{}: cannot be replaced: {}", path_, std::strerror(errno));
    lock.lock();
  }
}

}  // namespace fairway::agent
