#include "datapath/datapath.h"

#include <bpf/bpf.h>
#include <fcntl.h>
#include <net/if.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <bit>
#include <cerrno>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <optional>

#include "datapath/attach.h"
#include "datapath/drops.h"
#include "datapath/epoch.h"
#include "datapath/fd_map.h"
#include "datapath/flow_sweep.h"
#include "datapath/programs.h"

namespace fairway::datapath {
namespace {

constexpr long kBpfFsMagic = 0xcafe4a11;
constexpr std::uint32_t kZero = 0;
constexpr std::size_t kGrowing = 8;     // members of Room
constexpr std::uint32_t kLoopback = 1;  // lo, in every network namespace

struct SocketProgram {
  const char* name;
  int attach_type;
};
constexpr SocketProgram kSocketPrograms[] = {
    {"sock_connect4", BPF_CGROUP_INET4_CONNECT},
    {"sock_connect6", BPF_CGROUP_INET6_CONNECT},
    {"sock_peername4", BPF_CGROUP_INET4_GETPEERNAME},
    {"sock_peername6", BPF_CGROUP_INET6_GETPEERNAME},
};

Status make_dir(const std::string& path) {
  std::error_code ec;
  std::filesystem::create_directories(path, ec);
  if (ec) return errno_error(ec.value(), "create " + path);
  return {};
}

Status check_bpffs(const std::string& path) {
  struct statfs fs {};
  if (::statfs(path.c_str(), &fs) < 0) return errno_error(errno, "look at " + path);
  if (fs.f_type != kBpfFsMagic)
    return make_error(Code::kInvalid, path + ": is not on a BPF file system; mount one there (mount -t bpf bpf " + path + ")");
  return {};
}

Status mac_of(std::uint32_t ifindex, __u8 (&mac)[6]) {
  ifreq req{};
  if (::if_indextoname(ifindex, req.ifr_name) == nullptr) return errno_error(errno, "name of device " + std::to_string(ifindex));
  const sys::Fd sock(::socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0));
  if (!sock || ::ioctl(sock.get(), SIOCGIFHWADDR, &req) < 0)
    return errno_error(errno, "MAC address of device " + std::string(req.ifr_name));
  std::memcpy(mac, req.ifr_hwaddr.sa_data, sizeof(mac));
  return {};
}

std::uint64_t kernel_memory(int fd) {
  std::ifstream info("/proc/self/fdinfo/" + std::to_string(fd));
  std::string word;
  std::uint64_t bytes = 0;
  while (info >> word)
    if (word == "memlock:") info >> bytes;
  return bytes;
}

class KernelDatapath final : public Datapath {
 public:
  static Result<std::unique_ptr<Datapath>> open(const DatapathConfig& config);

  Status attach_pod(std::uint32_t ifindex) override {
    FW_TRY(attach("pod_in", ifindex, AttachMode::kClsact));
    return attach("pod_out", ifindex, AttachMode::kClsact);
  }
  Status detach_pod(std::uint32_t ifindex) override {
    FW_TRY(attachments_->detach_device("pod_out", ifindex));
    return attachments_->detach_device("pod_in", ifindex);
  }
  Status attach_uplink(std::uint32_t ifindex) override {
    FW_TRY(attach("uplink_in", ifindex));
    return attach("uplink_out", ifindex);
  }
  Status attach_overlay(std::uint32_t ifindex) override { return attach("overlay_in", ifindex); }
  Status attach_host_service(std::uint32_t ifindex) override;
  Status attach_cgroup(const std::string& path) override;
  Status activate() override;
  Status set_node_frontends(bool any) override;
  Status reserve(const Room& rows) override;
  bool fits(const Room& rows) const override;
  Status set_config(const fw_config& config) override;
  Result<fw_config> config() const override { return config_->lookup(kZero); }
  Status put_endpoint(const fw_addr& addr, const fw_endpoint& row) override;
  Status put_local_if(std::uint32_t ifindex, const fw_local_if& row) override;

  Map<fw_addr, fw_endpoint>& endpoints() override { return *endpoints_; }
  Map<std::uint32_t, fw_local_if>& local_ifs() override { return *local_ifs_; }
  Map<std::uint32_t, fw_node>& nodes() override { return *nodes_; }
  Map<fw_frontend_key, fw_frontend>& frontends() override { return *frontends_; }
  Map<std::uint32_t, std::uint32_t>& svc_slots() override { return *svc_slots_; }
  Map<std::uint32_t, fw_backend>& backends() override { return *backends_; }
  Map<fw_flow_key, fw_flow>& flows_new() override { return *flows_new_; }
  Map<fw_flow_key, fw_flow>& flows() override { return *flows_; }
  Map<std::uint32_t, fw_subject>& pol_subjects() override { return *pol_subjects_; }
  Map<fw_addr, fw_peer_class>& pol_peers() override { return *pol_peers_; }
  Map<fw_cidr_key, fw_peer_class>& pol_cidrs() override { return *pol_cidrs_; }
  Map<std::uint32_t, fw_port_chunk>& pol_ports() override { return *pol_ports_; }
  Map<fw_verdict_key, fw_verdict_row>& pol_verdicts() override { return *pol_verdicts_; }
  Map<fw_track_key, fw_track>& track_new() override { return *track_new_; }
  Map<fw_track_key, fw_track>& track() override { return *track_; }
  Map<fw_hit_key, fw_hit>& pol_hits() override { return *pol_hits_; }
  Map<fw_denied_key, fw_hit>& pol_denied() override { return *pol_denied_; }
  std::uint32_t policy_generation() const override { return generation_->value().load(std::memory_order_seq_cst); }
  void set_policy_generation(std::uint32_t generation) override { generation_->value().store(generation, std::memory_order_seq_cst); }
  Status set_tracked(std::uint32_t ifindex, bool tracked) override;
  Result<std::size_t> sweep_flows(std::size_t budget) override {
    FW_ASSIGN(const std::size_t flows, sweep_->run(budget));
    FW_ASSIGN(const std::size_t tracked, track_sweep_->run(budget));
    return flows + tracked;
  }

  Result<Versions> versions() const override;
  Result<Stats> stats() const override;
  Result<int> program_fd(std::string_view name) const override {
    const int fd = programs_->program_fd(std::string(name));
    if (fd < 0) return make_error(Code::kNotFound, "program " + std::string(name) + ": not loaded");
    return fd;
  }
  Result<sys::Fd> map_fd(std::string_view name) const override { return programs_->map_fd(std::string(name)); }

 private:
  Status attach(const char* program, std::uint32_t ifindex) { return attach(program, ifindex, attachments_->mode()); }
  // Pods' devices get clsact filters even where there is tcx: attaching a tcx link waits for an RCU grace period under the
  // rtnl lock (tcx_entry_sync, 10 to 20 ms each), which every ADD would pay, one after the other; a filter takes 20 µs.
  Status attach(const char* program, std::uint32_t ifindex, AttachMode mode) {
    return attachments_->attach_device(program, programs_->program_fd(program), ifindex, hook_of(program), mode);
  }
  Status open_maps();
  Status open_policy_maps();
  struct Growing {
    std::string_view name;
    std::size_t need, have;
    std::uint32_t* size;
  };
  std::array<Growing, kGrowing> growing(const Room& rows, MapSizes& sizes) const;
  Status grow();
  Status keep_client_marks();
  template <AbiType K, AbiType V>
  Result<std::unique_ptr<FdMap<K, V>>> typed_map(const char* name) {
    FW_ASSIGN(sys::Fd fd, programs_->map_fd(name));
    FW_ASSIGN(auto opened, (FdMap<K, V>::from_fd(std::move(fd))));
    auto map = std::make_unique<FdMap<K, V>>(std::move(opened));
    rebind_[name] = [map = map.get()](sys::Fd other) { return map->rebind(std::move(other)); };
    return map;
  }
  template <AbiType K, AbiType V>
  Result<std::unique_ptr<RememberedMap<K, V>>> remembered_map(const char* name) {
    FW_ASSIGN(auto map, (typed_map<K, V>(name)));
    return std::make_unique<RememberedMap<K, V>>(std::move(map), *epoch_);
  }
  Status swap_attached() {
    return attachments_->swap_all([this](const std::string& name) { return programs_->program_fd(name); });
  }
  Result<std::vector<Count>> read_counts() const;

  std::unique_ptr<Programs> programs_;
  std::unique_ptr<Attachments> attachments_;
  std::unique_ptr<Epoch> epoch_;
  std::unique_ptr<RememberedMap<std::uint32_t, fw_config>> config_;
  std::unique_ptr<RememberedMap<fw_addr, fw_endpoint>> endpoints_;
  std::unique_ptr<RememberedMap<std::uint32_t, fw_local_if>> local_ifs_;
  std::unique_ptr<RememberedMap<std::uint32_t, fw_node>> nodes_;
  std::unique_ptr<FdMap<fw_frontend_key, fw_frontend>> frontends_;
  std::unique_ptr<FdMap<std::uint32_t, std::uint32_t>> svc_slots_;
  std::unique_ptr<FdMap<std::uint32_t, fw_backend>> backends_;
  std::unique_ptr<FdMap<fw_flow_key, fw_flow>> flows_new_, flows_;
  std::unique_ptr<FlowSweep> sweep_;
  std::unique_ptr<SharedWord> generation_;
  std::unique_ptr<FdMap<std::uint32_t, fw_subject>> pol_subjects_;
  std::unique_ptr<FdMap<fw_addr, fw_peer_class>> pol_peers_;
  std::unique_ptr<FdMap<fw_cidr_key, fw_peer_class>> pol_cidrs_;
  std::unique_ptr<FdMap<std::uint32_t, fw_port_chunk>> pol_ports_;
  std::unique_ptr<FdMap<fw_verdict_key, fw_verdict_row>> pol_verdicts_;
  std::unique_ptr<FdMap<fw_hit_key, fw_hit>> pol_hits_;
  std::unique_ptr<FdMap<fw_denied_key, fw_hit>> pol_denied_;
  std::unique_ptr<FdMap<fw_track_key, fw_track>> track_new_, track_;
  std::unique_ptr<TrackSweep> track_sweep_;
  std::uint32_t host_service_ifindex_ = 0;
  bool node_frontends_ = false;
  std::string maps_dir_;
  MapSizes sizes_;
  std::uint32_t most_rows_ = kMostRows;
  std::map<std::string, std::function<Status(sys::Fd)>> rebind_;  // by map
  bool swap_owed_ = false;                                        // larger maps are there, some attachment has the old programs
  sys::Fd old_endpoints_;
};

Result<std::unique_ptr<Datapath>> KernelDatapath::open(const DatapathConfig& config) {
  const std::string maps_dir = config.bpf_dir + "/maps", links_dir = config.bpf_dir + "/links";
  FW_TRY(make_dir(config.bpf_dir));
  FW_TRY(check_bpffs(config.bpf_dir));
  FW_TRY(make_dir(maps_dir));
  FW_TRY(make_dir(links_dir));
  auto self = std::make_unique<KernelDatapath>();
  self->maps_dir_ = maps_dir;
  self->sizes_ = config.sizes;
  self->most_rows_ = config.most_rows;
  MapSizes& s = self->sizes_;
  for (std::uint32_t* size : {&s.endpoints, &s.nodes, &s.frontends, &s.svc_slots, &s.backends, &s.pol_peers, &s.pol_cidrs, &s.pol_verdicts})
    *size = std::min(*size, config.most_rows);
  FW_ASSIGN(self->programs_, Programs::load(maps_dir, s));
  const bool tcx = !config.prefer_clsact && has_tcx(self->programs_->program_fd("pod_in"));
  self->attachments_ = std::make_unique<Attachments>(links_dir, tcx ? AttachMode::kTcx : AttachMode::kClsact);
  FW_TRY(self->open_maps());
  if (!self->programs_->pending()) FW_TRY(self->swap_attached());
  return std::unique_ptr<Datapath>(std::move(self));
}

Status KernelDatapath::open_maps() {
  FW_ASSIGN(sys::Fd epoch_fd, programs_->map_fd("epoch"));
  FW_ASSIGN(epoch_, Epoch::open(std::move(epoch_fd)));
  FW_ASSIGN(config_, (remembered_map<std::uint32_t, fw_config>("config")));
  FW_ASSIGN(endpoints_, (remembered_map<fw_addr, fw_endpoint>("endpoints")));
  FW_ASSIGN(local_ifs_, (remembered_map<std::uint32_t, fw_local_if>("local_ifs")));
  FW_ASSIGN(nodes_, (remembered_map<std::uint32_t, fw_node>("nodes")));
  FW_ASSIGN(frontends_, (typed_map<fw_frontend_key, fw_frontend>("frontends")));
  FW_ASSIGN(svc_slots_, (typed_map<std::uint32_t, std::uint32_t>("svc_slots")));
  FW_ASSIGN(backends_, (typed_map<std::uint32_t, fw_backend>("backends")));
  FW_ASSIGN(flows_new_, (typed_map<fw_flow_key, fw_flow>("flows_new")));
  FW_ASSIGN(flows_, (typed_map<fw_flow_key, fw_flow>("flows")));
  FW_ASSIGN(sys::Fd sweep_fd, programs_->map_fd("flows"));
  sweep_ = std::make_unique<FlowSweep>(std::move(sweep_fd));
  FW_TRY(open_policy_maps());
  FW_ASSIGN(const fw_config now, config_->lookup(kZero));
  host_service_ifindex_ = now.host_service_ifindex;
  node_frontends_ = (now.flags & FW_CFG_NODE_FRONTENDS) != 0;
  return {};
}

Status KernelDatapath::open_policy_maps() {
  FW_ASSIGN(sys::Fd state_fd, programs_->map_fd("pol_state"));
  FW_ASSIGN(generation_, SharedWord::open(std::move(state_fd)));
  FW_ASSIGN(pol_subjects_, (typed_map<std::uint32_t, fw_subject>("pol_subjects")));
  FW_ASSIGN(pol_peers_, (typed_map<fw_addr, fw_peer_class>("pol_peers")));
  FW_ASSIGN(pol_cidrs_, (typed_map<fw_cidr_key, fw_peer_class>("pol_cidrs")));
  FW_ASSIGN(pol_ports_, (typed_map<std::uint32_t, fw_port_chunk>("pol_ports")));
  FW_ASSIGN(pol_verdicts_, (typed_map<fw_verdict_key, fw_verdict_row>("pol_verdicts")));
  FW_ASSIGN(pol_hits_, (typed_map<fw_hit_key, fw_hit>("pol_hits")));
  FW_ASSIGN(pol_denied_, (typed_map<fw_denied_key, fw_hit>("pol_denied")));
  FW_ASSIGN(track_new_, (typed_map<fw_track_key, fw_track>("track_new")));
  FW_ASSIGN(track_, (typed_map<fw_track_key, fw_track>("track")));
  FW_ASSIGN(sys::Fd sweep_fd, programs_->map_fd("track"));
  track_sweep_ = std::make_unique<TrackSweep>(std::move(sweep_fd));
  return {};
}

Status KernelDatapath::activate() {
  if (!programs_->pending()) return {};
  FW_TRY(swap_attached());
  return programs_->commit();
}

// What grows: how many rows are wanted, how many fit, and where its next size is written.
std::array<KernelDatapath::Growing, kGrowing> KernelDatapath::growing(const Room& rows, MapSizes& sizes) const {
  return {{{"endpoints", rows.endpoints, endpoints_->capacity(), &sizes.endpoints},
           {"nodes", rows.nodes, nodes_->capacity(), &sizes.nodes},
           {"frontends", rows.frontends, frontends_->capacity(), &sizes.frontends},
           {"svc_slots", rows.svc_slots, svc_slots_->capacity(), &sizes.svc_slots},
           {"backends", rows.backends, backends_->capacity(), &sizes.backends},
           {"pol_peers", rows.pol_peers, pol_peers_->capacity(), &sizes.pol_peers},
           {"pol_cidrs", rows.pol_cidrs, pol_cidrs_->capacity(), &sizes.pol_cidrs},
           {"pol_verdicts", rows.pol_verdicts, pol_verdicts_->capacity(), &sizes.pol_verdicts}}};
}

bool KernelDatapath::fits(const Room& rows) const {
  MapSizes unused;
  const auto tables = growing(rows, unused);
  return !swap_owed_ && std::all_of(tables.begin(), tables.end(), [](const Growing& t) { return t.need <= t.have; });
}

Status KernelDatapath::reserve(const Room& rows) {
  if (fits(rows)) return {};
  for (const Growing& t : growing(rows, sizes_)) {
    if (t.need > most_rows_)
      return make_error(Code::kExhausted, "table " + std::string(t.name) + ": " + std::to_string(t.need) + " rows are asked for, and " +
                                              std::to_string(most_rows_) + " are the most");
    const std::size_t next = t.need > t.have ? std::min<std::size_t>(std::bit_ceil(t.need + t.need / 4), most_rows_) : t.have;
    *t.size = static_cast<std::uint32_t>(next);
  }
  if (programs_->pending()) return make_error(Code::kUnavailable, "the tables grow once the new programs are in force");
  Status grown = grow();
  if (!grown.ok()) return std::move(grown).error().with_context("make the tables larger");
  return {};
}

// The old programs and their maps live on while they are attached anywhere.
Status KernelDatapath::grow() {
  if (!swap_owed_) {
    FW_ASSIGN(old_endpoints_, programs_->map_fd("endpoints"));
    FW_ASSIGN(auto fresh, Programs::load(maps_dir_, sizes_));
    programs_ = std::move(fresh);
    swap_owed_ = true;
    for (const auto& [name, rebind] : rebind_) {
      FW_ASSIGN(sys::Fd fd, programs_->map_fd(name));
      FW_TRY(rebind(std::move(fd)));
    }
  }
  FW_TRY(swap_attached());
  FW_TRY(keep_client_marks());
  swap_owed_ = false;
  return {};
}

// A pod that had its first translated packet between the copy of the rows and the swap was marked in the old row alone.
Status KernelDatapath::keep_client_marks() {
  FW_ASSIGN(const auto old, (FdMap<fw_addr, fw_endpoint>::from_fd(std::move(old_endpoints_))));
  FW_ASSIGN(const auto rows, old.dump());
  for (const auto& [addr, row] : rows) {
    if ((row.flags & FW_EP_NAT) == 0) continue;
    auto now = endpoints_->lookup(addr);
    if (!now.ok() || now->generation != row.generation || (now->flags & FW_EP_NAT) != 0) continue;
    now->flags |= FW_EP_NAT;
    FW_TRY(endpoints_->update(addr, *now));
  }
  return {};
}

Status KernelDatapath::attach_host_service(std::uint32_t ifindex) {
  FW_TRY(attach("host_service_out", ifindex));
  host_service_ifindex_ = ifindex;
  FW_ASSIGN(fw_config now, config_->lookup(kZero));
  now.host_service_ifindex = ifindex;
  return set_config(now);
}

// The flag is never set without the program, whatever dies in between.
Status KernelDatapath::set_node_frontends(bool any) {
  if (any == node_frontends_) return {};
  if (any) FW_TRY(attach("loopback_out", kLoopback));
  FW_ASSIGN(fw_config row, config_->lookup(kZero));
  row.flags = any ? row.flags | FW_CFG_NODE_FRONTENDS : row.flags & ~static_cast<__u32>(FW_CFG_NODE_FRONTENDS);
  FW_TRY(config_->update(kZero, row));
  node_frontends_ = any;
  return any ? Status{} : attachments_->detach_device("loopback_out", kLoopback);
}

Status KernelDatapath::attach_cgroup(const std::string& path) {
  for (const SocketProgram& one : kSocketPrograms) {
    const int fd = programs_->program_fd(one.name);
    if (fd < 0) return make_error(Code::kUnsupported, "socket load balancing: this kernel refused its programs");
    FW_TRY(attachments_->attach_cgroup(one.name, fd, path, one.attach_type));
  }
  return {};
}

Status KernelDatapath::set_config(const fw_config& config) {
  fw_config row = config;
  row.flags &= ~static_cast<__u32>(FW_CFG_NODE_FRONTENDS);
  if (node_frontends_) row.flags |= FW_CFG_NODE_FRONTENDS;
  if (row.masq_port_min == 0 && row.masq_port_max == 0) {
    row.masq_port_min = FW_MASQ_PORT_MIN;
    row.masq_port_max = FW_MASQ_PORT_MAX;
  }
  if (row.masq_port_min == 0 || row.masq_port_min > row.masq_port_max)
    return make_error(Code::kInvalid, "config: masquerade ports " + std::to_string(row.masq_port_min) + "-" +
                                          std::to_string(row.masq_port_max) + " are no range");
  if (row.host_service_ifindex == 0) row.host_service_ifindex = host_service_ifindex_;
  if (row.host_service_ifindex != 0) FW_TRY(mac_of(row.host_service_ifindex, row.host_service_mac));
  return config_->update(kZero, row);
}

Status KernelDatapath::put_endpoint(const fw_addr& addr, const fw_endpoint& row) {
  fw_endpoint next = row;
  if (auto old = endpoints_->lookup(addr); old.ok() && old->generation == row.generation) next.flags |= old->flags & FW_EP_KEPT;
  return endpoints_->update(addr, next);
}

Status KernelDatapath::put_local_if(std::uint32_t ifindex, const fw_local_if& row) {
  fw_local_if next = row;
  if (auto old = local_ifs_->lookup(ifindex); old.ok() && std::memcmp(old->mac, row.mac, sizeof(row.mac)) == 0) next.flags |= old->flags;
  return local_ifs_->update(ifindex, next);
}

// A flag that a program sets between our read and our write is lost, and set anew by its next packet.
Status KernelDatapath::set_tracked(std::uint32_t ifindex, bool tracked) {
  const auto with = [tracked](__u32 flags, __u32 bit) { return tracked ? flags | bit : flags & ~bit; };
  FW_ASSIGN(fw_local_if pod, local_ifs_->lookup(ifindex));
  for (const fw_addr& addr : {pod.v4, pod.v6}) {
    auto row = endpoints_->lookup(addr);
    if (!row.ok() || (row->flags & FW_EP_LOCAL) == 0 || row->ifindex != ifindex) continue;
    if (const __u32 flags = with(row->flags, FW_EP_TRACK); flags != row->flags) {
      row->flags = flags;
      FW_TRY(endpoints_->update(addr, *row));
    }
  }
  const __u32 flags = with(pod.flags, FW_IF_TRACK);
  if (flags == pod.flags) return {};
  pod.flags = flags;
  return local_ifs_->update(ifindex, pod);
}

Result<Versions> KernelDatapath::versions() const {
  Versions out;
  out.mode = attachments_->mode();
  FW_ASSIGN(out.programs, programs_->describe());
  out.activation_pending = programs_->pending();
  return out;
}

Result<std::vector<Count>> KernelDatapath::read_counts() const {
  FW_ASSIGN(const sys::Fd fd, programs_->map_fd("metrics"));
  const int cpus = libbpf_num_possible_cpus();
  if (cpus < 1) return make_error(Code::kInternal, "number of CPUs");
  std::vector<fw_metric> per_cpu(static_cast<std::size_t>(cpus));
  std::vector<Count> counts;
  for (const Reason& reason : reasons()) {
    const std::uint32_t id = reason.id;
    if (bpf_map_lookup_elem(fd.get(), &id, per_cpu.data()) < 0) return errno_error(errno, "map metrics: lookup");
    Count count{reason.name, reason.text, reason.drop, 0, 0};
    for (const fw_metric& one : per_cpu) {
      count.packets += one.packets;
      count.bytes += one.bytes;
    }
    if (count.packets != 0) counts.push_back(count);
  }
  return counts;
}

Result<Stats> KernelDatapath::stats() const {
  Stats out;
  for (const std::string& name : programs_->map_names()) {
    FW_ASSIGN(sys::Fd fd, programs_->map_fd(name));
    MapInfo info{name, 0, 0, kernel_memory(fd.get()), programs_->was_adopted(name)};
    FW_ASSIGN(const RawMap map, RawMap::from_fd(std::move(fd)));
    info.capacity = map.capacity();
    if (map.type() == BPF_MAP_TYPE_PERCPU_ARRAY) info.rows = info.capacity;
    else FW_TRY(map.dump([&](const void*, const void*) { ++info.rows; }));
    out.maps.push_back(std::move(info));
  }
  FW_ASSIGN(out.counts, read_counts());
  FW_ASSIGN(const auto attached, attachments_->list());
  for (const Attachment& a : attached) out.attachments.push_back({a.program, a.ifindex});
  out.failures = programs_->failures();
  return out;
}

}  // namespace

std::string_view to_string(AttachMode mode) { return mode == AttachMode::kTcx ? "tcx" : "clsact"; }

Result<std::unique_ptr<Datapath>> Datapath::open(const DatapathConfig& config) {
  auto opened = KernelDatapath::open(config);
  if (!opened.ok()) return std::move(opened).error().with_context("datapath " + config.bpf_dir);
  return opened;
}

Status Datapath::remove_all(const std::string& bpf_dir) {
  FW_TRY(Attachments(bpf_dir + "/links", AttachMode::kTcx).remove_all());
  std::error_code ec;
  std::filesystem::remove_all(bpf_dir, ec);
  // The folder itself may be the mount point.
  if (ec && ec != std::errc::device_or_resource_busy) return errno_error(ec.value(), "remove " + bpf_dir);
  return {};
}

}  // namespace fairway::datapath
