// Programs: one load of the BPF object, with the maps that were found pinned and still fit.
//
// A map fits where its type and the sizes of its rows are those of this program, and the ABI version pinned beside it is
// ours. One that fits but for its number of rows is made anew and its rows are copied. One that does not fit is made anew
// and empty, and its old pin stays until commit(), since the old programs still run on it.
#pragma once

#include <bpf/libbpf.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "datapath/datapath.h"
#include "datapath/raw_map.h"
#include "sys/fd.h"

struct fairway_bpf;

namespace fairway::datapath {

class Programs {
 public:
  // `dir` holds the map pins. Loads and pins; touches no attachment.
  static Result<std::unique_ptr<Programs>> load(const std::string& dir, const MapSizes& sizes);
  ~Programs();

  // Some map is new and empty where an older one was: the old programs must go on until it is filled.
  bool pending() const { return !staged_.empty(); }
  // Puts the staged maps' pins in place of the old.
  Status commit();

  // A duplicate of the map's descriptor.
  Result<sys::Fd> map_fd(const std::string& name) const;
  int program_fd(const std::string& name) const;  // -1: none, or refused by this kernel
  const std::vector<std::string>& failures() const { return failures_; }
  Result<std::vector<ProgramInfo>> describe() const;
  bool was_adopted(const std::string& map) const;
  std::vector<std::string> map_names() const;

 private:
  explicit Programs(std::string dir) : dir_(std::move(dir)) {}
  Status open_and_load(const MapSizes& sizes, bool with_cgroup);
  void set_sizes(const MapSizes& sizes);
  Status adopt_maps();
  Status pin_maps();
  Status copy_rows(const std::string& name, int old_fd);
  std::string pin(const std::string& name) const { return dir_ + "/" + name; }

  std::string dir_;
  fairway_bpf* skeleton_ = nullptr;
  bool abi_matches_ = true;
  std::vector<std::string> adopted_;
  std::map<std::string, sys::Fd> resized_;  // name -> the old map, to be copied
  std::vector<std::string> staged_;         // pinned as NAME~new until commit()
  std::vector<std::string> failures_;
};

}  // namespace fairway::datapath
