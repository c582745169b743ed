#include "datapath/programs.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <span>

#include "fairway.skel.h"

namespace fairway::datapath {
namespace {

constexpr const char* kAbiPin = "abi";
constexpr const char* kStaged = "~new";

// libbpf speaks through one process-wide callback; the loader keeps its last words for the error it returns.
std::string& last_words() {
  thread_local std::string words;
  return words;
}

int keep_words(libbpf_print_level level, const char* format, va_list args) {
  if (level != LIBBPF_WARN) return 0;
  char* line = nullptr;
  const int n = ::vasprintf(&line, format, args);  // a verifier's log is one line to libbpf, of megabytes
  if (n < 0) return n;
  std::string& words = last_words();
  words += line;
  std::free(line);
  if (words.size() > 8192) words.erase(0, words.size() - 8192);
  return n;
}

std::string tail(const std::string& text, std::size_t n) {
  std::string end = text.size() > n ? text.substr(text.size() - n) : text;
  while (!end.empty() && end.back() == '\n') end.pop_back();
  return end;
}

// Holds nothing from one packet to the next: not pinned, not adopted.
bool is_transient(const bpf_map* map) {
  for (const std::string_view name : {"scratch", "straight", "passes"})
    if (bpf_map__name(map) == name) return true;
  return bpf_map__is_internal(map);
}

// Sized by the cluster, not by the configuration (struct Room).
bool grows(std::string_view map) {
  for (const std::string_view name : {"endpoints", "nodes", "frontends", "svc_slots", "backends", "pol_peers", "pol_cidrs", "pol_verdicts"})
    if (map == name) return true;
  return false;
}

bool is_cgroup_program(const bpf_program* program) { return bpf_program__type(program) == BPF_PROG_TYPE_CGROUP_SOCK_ADDR; }

Result<sys::Fd> make_abi_mark() {
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  sys::Fd fd(bpf_map_create(BPF_MAP_TYPE_ARRAY, "fw_abi", sizeof(__u32), sizeof(__u32), 1, &opts));
  if (!fd) return errno_error(errno, "create the ABI mark");
  const __u32 zero = 0, version = FW_ABI_VERSION;
  if (bpf_map_update_elem(fd.get(), &zero, &version, BPF_ANY) < 0) return errno_error(errno, "write the ABI mark");
  return fd;
}

// 0: nothing was pinned here before.
std::uint32_t read_abi_mark(const std::string& path) {
  const sys::Fd fd(bpf_obj_get(path.c_str()));
  const __u32 zero = 0;
  __u32 version = 0;
  if (fd) bpf_map_lookup_elem(fd.get(), &zero, &version);
  return version;
}

}  // namespace

Programs::~Programs() { fairway_bpf__destroy(skeleton_); }

Result<std::unique_ptr<Programs>> Programs::load(const std::string& dir, const MapSizes& sizes) {
  libbpf_set_print(keep_words);
  std::unique_ptr<Programs> programs(new Programs(dir));
  const std::uint32_t mark = read_abi_mark(programs->pin(kAbiPin));
  programs->abi_matches_ = mark == 0 || mark == FW_ABI_VERSION;
  Status loaded = programs->open_and_load(sizes, true);
  if (!loaded.ok()) {
    // A kernel without cgroup BPF keeps the rest: Services then work per packet.
    const std::string first = loaded.error().message;
    FW_TRY(programs->open_and_load(sizes, false));
    programs->failures_.push_back("socket load balancing is off: " + first);
  }
  FW_TRY(programs->pin_maps());
  return programs;
}

Status Programs::open_and_load(const MapSizes& sizes, bool with_cgroup) {
  last_words().clear();
  fairway_bpf__destroy(skeleton_);
  adopted_.clear();
  resized_.clear();
  skeleton_ = fairway_bpf__open();
  if (skeleton_ == nullptr) return errno_error(errno, "open the BPF object: " + tail(last_words(), 400));
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton_->obj) {
    if (!with_cgroup && is_cgroup_program(program)) bpf_program__set_autoload(program, false);
  }
  set_sizes(sizes);
  FW_TRY(adopt_maps());
  if (const int rc = fairway_bpf__load(skeleton_); rc < 0) return errno_error(-rc, "load the BPF programs: " + tail(last_words(), 1500));
  for (const auto& [name, old] : resized_) FW_TRY(copy_rows(name, old.get()));
  return {};
}

void Programs::set_sizes(const MapSizes& sizes) {
  const auto& maps = skeleton_->maps;
  const std::pair<bpf_map*, std::uint32_t> rows[] = {
      {maps.endpoints, sizes.endpoints},       {maps.local_ifs, sizes.local_ifs}, {maps.nodes, sizes.nodes},
      {maps.frontends, sizes.frontends},       {maps.svc_slots, sizes.svc_slots}, {maps.backends, sizes.backends},
      {maps.flows_new, sizes.flows_new},       {maps.flows, sizes.flows},         {maps.fragments, sizes.fragments},
      {maps.sock_origin, sizes.sock_origin},   {maps.metrics, FW_METRICS_SIZE},   {maps.pol_subjects, sizes.local_ifs},
      {maps.pol_peers, sizes.pol_peers},       {maps.pol_cidrs, sizes.pol_cidrs}, {maps.pol_ports, FW_PORT_PROTOCOLS * FW_PORT_CHUNKS},
      {maps.pol_verdicts, sizes.pol_verdicts}, {maps.pol_hits, sizes.pol_hits},   {maps.pol_denied, sizes.pol_denied},
      {maps.track_new, sizes.track_new},       {maps.track, sizes.track},
  };
  for (const auto& [map, size] : rows) bpf_map__set_max_entries(map, std::max(size, 1u));
}

Status Programs::adopt_maps() {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    const std::string name = bpf_map__name(map);
    if (is_transient(map)) continue;
    sys::Fd fd(bpf_obj_get(pin(name).c_str()));
    if (!fd) {
      if (errno == ENOENT) continue;
      return errno_error(errno, "open pinned map " + name);
    }
    bpf_map_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd.get(), &info, &size) < 0) return errno_error(errno, "read pinned map " + name);
    const bool same_rows = abi_matches_ && info.type == bpf_map__type(map) && info.key_size == bpf_map__key_size(map) &&
                           info.value_size == bpf_map__value_size(map) && info.map_flags == bpf_map__map_flags(map);
    // What has grown stays so, also where its layout is another: the rows will be as many.
    if (grows(name)) bpf_map__set_max_entries(map, std::max(info.max_entries, bpf_map__max_entries(map)));
    if (!same_rows) continue;
    if (info.max_entries == bpf_map__max_entries(map)) {
      if (const int rc = bpf_map__reuse_fd(map, fd.get()); rc < 0) return errno_error(-rc, "reuse pinned map " + name);
      adopted_.push_back(name);
    } else {
      resized_.emplace(name, std::move(fd));
    }
  }
  return {};
}

Status Programs::copy_rows(const std::string& name, int old_fd) {
  FW_ASSIGN(sys::Fd target_fd, map_fd(name));
  FW_ASSIGN(RawMap target, RawMap::from_fd(std::move(target_fd)));
  FW_ASSIGN(const RawMap source, RawMap::from_fd(sys::Fd(::fcntl(old_fd, F_DUPFD_CLOEXEC, 0))));
  // Counters do not survive a change of their number; flow rows that no longer fit are made again by the next packet.
  if (target.type() == BPF_MAP_TYPE_PERCPU_ARRAY) return {};
  const bool flows =
      name.starts_with("flows") || name.starts_with("track") || name == "pol_hits" || name == "fragments" || name == "sock_origin";
  const bool array = target.type() == BPF_MAP_TYPE_ARRAY;
  Status status;
  FW_TRY(source.dump([&](const void* key, const void* value) {
    std::uint32_t index = 0;
    if (array) std::memcpy(&index, key, sizeof(index));
    if (!status.ok() || (array && index >= target.capacity())) return;
    Status one = target.update(key, value);
    if (!one.ok() && !flows) status = std::move(one);
  }));
  if (!status.ok()) return std::move(status).error().with_context("copy the rows of " + name + " into its new size");
  return {};
}

Status Programs::pin_maps() {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton_->obj) {
    const std::string name = bpf_map__name(map);
    if (is_transient(map) || was_adopted(name)) continue;
    const std::string staged = pin(name) + kStaged;
    ::unlink(staged.c_str());
    if (bpf_obj_pin(bpf_map__fd(map), staged.c_str()) < 0) return errno_error(errno, "pin map " + name);
    const bool replaces_other_layout = ::access(pin(name).c_str(), F_OK) == 0 && !resized_.contains(name);
    if (replaces_other_layout) staged_.push_back(name);
    else if (::rename(staged.c_str(), pin(name).c_str()) < 0) return errno_error(errno, "put map " + name + " in place");
  }
  resized_.clear();
  return pending() ? Status{} : commit();
}

Status Programs::commit() {
  for (const std::string& name : staged_)
    if (::rename((pin(name) + kStaged).c_str(), pin(name).c_str()) < 0) return errno_error(errno, "put map " + name + " in place");
  staged_.clear();
  if (read_abi_mark(pin(kAbiPin)) == FW_ABI_VERSION) return {};
  FW_ASSIGN(const sys::Fd mark, make_abi_mark());
  const std::string staged = pin(kAbiPin) + kStaged;
  ::unlink(staged.c_str());
  if (bpf_obj_pin(mark.get(), staged.c_str()) < 0) return errno_error(errno, "pin the ABI mark");
  if (::rename(staged.c_str(), pin(kAbiPin).c_str()) < 0) return errno_error(errno, "put the ABI mark in place");
  return {};
}

Result<sys::Fd> Programs::map_fd(const std::string& name) const {
  const int fd = bpf_object__find_map_fd_by_name(skeleton_->obj, name.c_str());
  if (fd < 0) return make_error(Code::kNotFound, "there is no map " + name);
  sys::Fd own(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
  if (!own) return errno_error(errno, "duplicate the descriptor of map " + name);
  return own;
}

int Programs::program_fd(const std::string& name) const {
  const bpf_program* program = bpf_object__find_program_by_name(skeleton_->obj, name.c_str());
  return program == nullptr ? -1 : std::max(bpf_program__fd(program), -1);
}

Result<std::vector<ProgramInfo>> Programs::describe() const {
  std::vector<ProgramInfo> all;
  const bpf_program* program = nullptr;
  while ((program = bpf_object__next_program(skeleton_->obj, const_cast<bpf_program*>(program))) != nullptr) {
    const int fd = bpf_program__fd(program);
    if (fd < 0) continue;
    bpf_prog_info info{};
    __u32 size = sizeof(info);
    if (bpf_obj_get_info_by_fd(fd, &info, &size) < 0) return errno_error(errno, "read a program's description");
    ProgramInfo& one = all.emplace_back();
    one.name = bpf_program__name(program);
    one.id = info.id;
    one.verified_insns = info.verified_insns;
    for (const unsigned char byte : std::span(info.tag)) {
      char hex[3];
      std::snprintf(hex, sizeof(hex), "%02x", byte);
      one.tag += hex;
    }
  }
  return all;
}

bool Programs::was_adopted(const std::string& map) const { return std::find(adopted_.begin(), adopted_.end(), map) != adopted_.end(); }

std::vector<std::string> Programs::map_names() const {
  std::vector<std::string> names;
  const bpf_map* map = nullptr;
  while ((map = bpf_object__next_map(skeleton_->obj, map)) != nullptr)
    if (!is_transient(map)) names.emplace_back(bpf_map__name(map));
  return names;
}

}  // namespace fairway::datapath
