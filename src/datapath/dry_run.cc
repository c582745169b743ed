#include "datapath/dry_run.h"

#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <bpf/libbpf.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

#include "datapath/addr.h"
#include "datapath/drops.h"
#include "datapath/fd_map.h"
#include "fairway.skel.h"

namespace fairway::datapath {
namespace {

// What programs read and never write.
constexpr std::string_view kShared[] = {"config",       "nodes",     "frontends", "svc_slots", "backends",    "pol_state",
                                        "pol_subjects", "pol_peers", "pol_cidrs", "pol_ports", "pol_verdicts"};
constexpr std::uint32_t kOwnRows = 64;  // an LRU needs some for each CPU
constexpr std::uint8_t kIcmp4 = 1, kTcp = 6, kUdp = 17, kIcmp6 = 58, kSyn = 0x02;

template <typename Names>
bool is_in(const Names& names, std::string_view name) {
  return std::find(std::begin(names), std::end(names), name) != std::end(names);
}

void put16(std::vector<std::uint8_t>& out, std::size_t value) {
  out.push_back(static_cast<std::uint8_t>(value >> 8));
  out.push_back(static_cast<std::uint8_t>(value));
}

std::vector<std::uint8_t> build_transport(const MadePacket& p) {
  std::vector<std::uint8_t> out;
  if (p.protocol == kIcmp4 || p.protocol == kIcmp6) {
    out = {p.protocol == kIcmp4 ? std::uint8_t{8} : std::uint8_t{128}, 0, 0, 0};
    put16(out, p.from.port);  // identifier
    out.resize(8);
    return out;
  }
  put16(out, p.from.port);
  put16(out, p.to.port);
  if (p.protocol == kUdp) put16(out, 8);
  out.resize(p.protocol == kTcp ? 20 : 12);
  if (p.protocol == kTcp) out[12] = 0x50, out[13] = kSyn;
  return out;
}

}  // namespace

// Checksums are left out: it goes nowhere, and the programs change them by what they change.
std::vector<std::uint8_t> build_frame(const MadePacket& p) {
  const auto transport = build_transport(p);
  std::vector<std::uint8_t> out(p.dmac.bytes.begin(), p.dmac.bytes.end());
  const auto put = [&out](const auto& bytes) { out.insert(out.end(), bytes.begin(), bytes.end()); };
  put(p.smac.bytes);
  if (p.from.addr.is_v4()) {
    put(std::array<std::uint8_t, 4>{0x08, 0x00, 0x45, 0});
    put16(out, 20 + transport.size());
    put(std::array<std::uint8_t, 8>{0, 1, 0x40, 0, 64, p.protocol, 0, 0});
    put(p.from.addr.v4_bytes());
    put(p.to.addr.v4_bytes());
  } else {
    put(std::array<std::uint8_t, 6>{0x86, 0xdd, 0x60, 0, 0, 0});
    put16(out, transport.size());
    put(std::array<std::uint8_t, 2>{p.protocol, 64});
    put(p.from.addr.bytes());
    put(p.to.addr.bytes());
  }
  put(transport);
  return out;
}

struct DryRun::Impl {
  explicit Impl(Datapath& live) : datapath(live) {}
  ~Impl() { fairway_bpf__destroy(skeleton); }

  Status load();
  Status share();
  Status check_tags() const;
  Status open_own();
  Status put_ends(std::uint32_t ifindex, const MadePacket& packet);
  Status clear();
  Result<std::vector<std::uint64_t>> drops() const;
  int fd_of(std::string_view program) const {
    const auto* found = bpf_object__find_program_by_name(skeleton->obj, std::string(program).c_str());
    return found == nullptr ? -1 : bpf_program__fd(found);
  }
  template <AbiType K, AbiType V>
  Result<std::unique_ptr<FdMap<K, V>>> open_map(const char* name) {
    const int fd = bpf_object__find_map_fd_by_name(skeleton->obj, name);
    sys::Fd own(fd < 0 ? -1 : ::fcntl(fd, F_DUPFD_CLOEXEC, 0));
    if (!own) return errno_error(errno, std::string("open a dry run's map ") + name);
    FW_ASSIGN(auto opened, (FdMap<K, V>::from_fd(std::move(own))));
    return std::make_unique<FdMap<K, V>>(std::move(opened));
  }

  Datapath& datapath;
  fairway_bpf* skeleton = nullptr;
  std::unique_ptr<FdMap<fw_addr, fw_endpoint>> endpoints;
  std::unique_ptr<FdMap<std::uint32_t, fw_local_if>> local_ifs;
  std::unique_ptr<FdMap<fw_track_key, fw_track>> track_new;
  std::unique_ptr<FdMap<fw_denied_key, fw_hit>> denied;
};

Status DryRun::Impl::share() {
  bpf_map* map = nullptr;
  bpf_object__for_each_map(map, skeleton->obj) {
    const std::string_view name = bpf_map__name(map);
    if (bpf_map__is_internal(map)) continue;
    if (is_in(kShared, name)) {
      FW_ASSIGN(const sys::Fd fd, datapath.map_fd(name));
      if (const int rc = bpf_map__reuse_fd(map, fd.get()); rc < 0) return errno_error(-rc, "share map " + std::string(name));
    } else if (name == "metrics") {
      bpf_map__set_max_entries(map, FW_METRICS_SIZE);
    } else if (bpf_map__max_entries(map) <= 1 && bpf_map__type(map) != BPF_MAP_TYPE_ARRAY &&
               bpf_map__type(map) != BPF_MAP_TYPE_PERCPU_ARRAY) {
      bpf_map__set_max_entries(map, kOwnRows);
    }
  }
  return {};
}

Status DryRun::Impl::load() {
  skeleton = fairway_bpf__open();
  if (skeleton == nullptr) return errno_error(errno, "open the BPF object for a dry run");
  bpf_program* program = nullptr;
  bpf_object__for_each_program(program, skeleton->obj) { bpf_program__set_autoload(program, is_in(kPrograms, bpf_program__name(program))); }
  FW_TRY(share());
  if (const int rc = fairway_bpf__load(skeleton); rc < 0) return errno_error(-rc, "load the programs for a dry run");
  FW_TRY(check_tags());
  return open_own();
}

Status DryRun::Impl::check_tags() const {
  for (const std::string_view name : kPrograms) {
    FW_ASSIGN(const int live, datapath.program_fd(name));
    bpf_prog_info mine{}, theirs{};
    __u32 size = sizeof(mine);
    if (bpf_obj_get_info_by_fd(fd_of(name), &mine, &size) < 0) return errno_error(errno, "read a program's tag");
    size = sizeof(theirs);
    if (bpf_obj_get_info_by_fd(live, &theirs, &size) < 0) return errno_error(errno, "read a program's tag");
    if (std::memcmp(mine.tag, theirs.tag, sizeof(mine.tag)) != 0)
      return make_error(Code::kUnsupported, "program " + std::string(name) + " in force is another than this agent's");
  }
  return {};
}

Status DryRun::Impl::open_own() {
  FW_ASSIGN(endpoints, (open_map<fw_addr, fw_endpoint>("endpoints")));
  FW_ASSIGN(local_ifs, (open_map<std::uint32_t, fw_local_if>("local_ifs")));
  FW_ASSIGN(track_new, (open_map<fw_track_key, fw_track>("track_new")));
  FW_ASSIGN(denied, (open_map<fw_denied_key, fw_hit>("pol_denied")));
  return {};
}

// The rows of the ends, and of nobody else, as they are in force now.
Status DryRun::Impl::put_ends(std::uint32_t ifindex, const MadePacket& packet) {
  for (const auto& addr : {packet.from.addr, packet.to.addr, packet.behind.value_or(packet.to.addr)}) {
    const fw_addr key = to_abi(addr);
    const auto row = datapath.endpoints().lookup(key);
    if (row.ok()) FW_TRY(endpoints->update(key, *row));
    else FW_TRY(endpoints->remove(key));
  }
  const auto device = datapath.local_ifs().lookup(ifindex);
  return device.ok() ? local_ifs->update(ifindex, *device) : local_ifs->remove(ifindex);
}

Status DryRun::Impl::clear() {
  FW_ASSIGN(const auto flows, track_new->dump());
  for (const auto& [key, row] : flows) FW_TRY(track_new->remove(key));
  FW_ASSIGN(const auto refused, denied->dump());
  for (const auto& [key, row] : refused) FW_TRY(denied->remove(key));
  return {};
}

// Packets by drop reason, all CPUs together.
Result<std::vector<std::uint64_t>> DryRun::Impl::drops() const {
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return make_error(Code::kInternal, "number of CPUs");
  std::vector<fw_metric> rows(static_cast<std::size_t>(cpus));
  std::vector<std::uint64_t> out(FW_DROP_COUNT);
  for (std::uint32_t id = 0; id < FW_DROP_COUNT; ++id) {
    if (bpf_map_lookup_elem(bpf_map__fd(skeleton->maps.metrics), &id, rows.data()) < 0) return errno_error(errno, "map metrics: lookup");
    for (const auto& row : rows) out[id] += row.packets;
  }
  return out;
}

DryRun::DryRun(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
DryRun::~DryRun() = default;

Result<std::unique_ptr<DryRun>> DryRun::load(Datapath& datapath) {
  auto impl = std::make_unique<Impl>(datapath);
  FW_TRY(impl->load());
  return std::unique_ptr<DryRun>(new DryRun(std::move(impl)));
}

Result<DryRun::Outcome> DryRun::run(std::string_view program, std::uint32_t ifindex, const MadePacket& packet) {
  const int fd = impl_->fd_of(program);
  if (fd < 0) return make_error(Code::kNotFound, "there is no program " + std::string(program));
  FW_TRY(impl_->clear());
  FW_TRY(impl_->put_ends(ifindex, packet));
  FW_ASSIGN(const auto before, impl_->drops());
  const auto frame = build_frame(packet);
  std::vector<std::uint8_t> after(frame.size() + 256);
  __sk_buff context{};
  context.ifindex = ifindex;
  LIBBPF_OPTS(bpf_test_run_opts, opts, .data_in = frame.data(), .data_out = after.data(), .data_size_in = static_cast<__u32>(frame.size()),
              .data_size_out = static_cast<__u32>(after.size()), .ctx_in = &context, .ctx_size_in = sizeof(context));
  if (const int rc = bpf_prog_test_run_opts(fd, &opts); rc < 0) return errno_error(-rc, "BPF_PROG_TEST_RUN of " + std::string(program));
  FW_ASSIGN(const auto now, impl_->drops());
  FW_ASSIGN(const auto flows, impl_->track_new->dump());
  FW_ASSIGN(const auto refused, impl_->denied->dump());
  Outcome out;
  out.code = static_cast<int>(opts.retval);
  std::copy_n(after.begin(), out.next.bytes.size(), out.next.bytes.begin());
  for (std::uint32_t id = 0; id < FW_DROP_COUNT; ++id)
    if (now[id] != before[id]) out.dropped = find_reason(id)->name;
  for (const auto& [key, row] : flows) {
    if (row.egress_generation != 0) out.egress_rule = row.egress_rule;
    if (row.ingress_generation != 0) out.ingress_rule = row.ingress_rule;
  }
  for (const auto& [key, hit] : refused) (key.direction == FW_POL_EGRESS ? out.egress_rule : out.ingress_rule) = key.rule;
  return out;
}

}  // namespace fairway::datapath
