// Attachments: which program sits where, held by pins under one folder, so that they outlive the process.
//
// A pin's name says it all: "tcx:PROGRAM:IFINDEX" and "cgroup:PROGRAM" are BPF links; "clsact:PROGRAM:IFINDEX" is a pin of
// the program itself, as a classic filter lives on its device and has nothing to pin.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"

namespace fairway::datapath {

enum class Hook { kIngress, kEgress };

struct Attachment {
  enum class Kind { kTcx, kClsact, kCgroup } kind = Kind::kTcx;
  std::string program;
  std::uint32_t ifindex = 0;
};

class Attachments {
 public:
  Attachments(std::string dir, AttachMode mode) : dir_(std::move(dir)), mode_(mode) {}

  AttachMode mode() const { return mode_; }
  // Attaches, or swaps what is attached by us there for this program.
  Status attach_device(const std::string& program, int prog_fd, std::uint32_t ifindex, Hook hook) {
    return attach_device(program, prog_fd, ifindex, hook, mode_);
  }
  Status attach_device(const std::string& program, int prog_fd, std::uint32_t ifindex, Hook hook, AttachMode mode);
  Status detach_device(const std::string& program, std::uint32_t ifindex);
  Status attach_cgroup(const std::string& program, int prog_fd, const std::string& path, int attach_type);
  // Unpins links whose device or cgroup is gone, and swaps the others for the program that `fd_of` gives for the name
  // (-1: this version has no such program: it is detached).
  Status swap_all(const std::function<int(const std::string&)>& fd_of);
  Result<std::vector<Attachment>> list() const;
  // Detaches all.
  Status remove_all();

 private:
  std::string pin_of(const Attachment& a) const;
  Status attach_tcx(const Attachment& a, int prog_fd, Hook hook);
  Status attach_clsact(const Attachment& a, int prog_fd, Hook hook);
  Status swap_one(const Attachment& a, int prog_fd);
  Status detach(const Attachment& a);

  std::string dir_;
  AttachMode mode_;
};

// Whether this kernel has tcx; asked with a loaded program of type SCHED_CLS.
bool has_tcx(int prog_fd);
// The hook that each of our device programs has.
Hook hook_of(const std::string& program);

}  // namespace fairway::datapath
