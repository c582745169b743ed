// Datapath: the node's BPF programs, maps and attachments, pinned under one folder so that they outlive the agent.
//
// Place: loaded by the agent (and by tests); the sinks write its maps. Design sections 1 (promise 1) and 4.
// Adoption: open() takes over what an earlier agent left. Maps of the same layout are reused as they are; of the same
// layout but another size, their rows are copied into new ones. New programs are loaded beside the old, and replace them
// in one step per attachment (tcx: bpf_link_update; clsact: filter replace); if they fail to load, the old stay in force
// and open() returns the error. Where a map's layout changed, the old programs go on with the old maps until activate().
// Thread: control thread, inside the node's network namespace. bpffs is mounted by the caller at or above bpf_dir.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "abi/drops.h"
#include "abi/endpoints.h"
#include "abi/flows.h"
#include "abi/services.h"
#include "abi/version.h"
#include "base/result.h"
#include "datapath/map.h"
#include "datapath/policy_tables.h"
#include "datapath/room.h"
#include "sys/fd.h"

namespace fairway::datapath {

// Rows. What grows with the cluster (struct Room) starts small and grows by reserve(), never shrinks, and is found again by
// the next agent; what grows with traffic has a fixed size. Hashes allocate rows on demand, but pay 16 bytes for each
// that they may ever have.
struct MapSizes {
  std::uint32_t endpoints = 4096;
  std::uint32_t local_ifs = 1024;
  std::uint32_t nodes = 1024;
  std::uint32_t frontends = 4096;
  std::uint32_t svc_slots = 16384;
  std::uint32_t backends = 8192;
  std::uint32_t flows_new = 8192;  // LRU, allocated at once
  std::uint32_t flows = 65536;
  std::uint32_t fragments = 1024;    // LRU
  std::uint32_t sock_origin = 8192;  // LRU
  std::uint32_t pol_peers = 4096;
  std::uint32_t pol_cidrs = 65536;  // a trie: nothing while empty
  std::uint32_t pol_verdicts = 4096;
  std::uint32_t pol_hits = 1024;  // LRU
  std::uint32_t pol_denied = 4096;
  std::uint32_t track_new = 8192;  // LRU
  std::uint32_t track = 65536;
};
inline constexpr std::uint32_t kMostRows = 1U << 23;

struct DatapathConfig {
  std::string bpf_dir = "/sys/fs/bpf/fairway";
  MapSizes sizes;
  std::uint32_t most_rows = kMostRows;  // of a table that grows: beyond it is full
  bool prefer_clsact = false;           // clsact even where the kernel has tcx
};

enum class AttachMode { kTcx, kClsact };
std::string_view to_string(AttachMode mode);

struct ProgramInfo {
  std::string name;
  std::uint32_t id = 0;
  std::uint32_t verified_insns = 0;  // what the verifier walked at load
  std::string tag;                   // hash of its instructions: two builds differ or do not
};
struct MapInfo {
  std::string name;
  std::uint64_t rows = 0;
  std::uint64_t capacity = 0;
  std::uint64_t bytes = 0;  // kernel memory
  bool adopted = false;     // found pinned by open()
};
struct AttachmentInfo {
  // The program: pod_in, pod_out, uplink_in, uplink_out, overlay_in, host_service_out, loopback_out, sock_*.
  std::string kind;
  std::uint32_t ifindex = 0;  // 0 for the cgroup's
};
struct Count {
  std::string_view name;  // drops.h
  std::string_view text;
  bool drop = true;
  std::uint64_t packets = 0;
  std::uint64_t bytes = 0;
};
struct Versions {
  std::uint32_t abi = FW_ABI_VERSION;
  AttachMode mode = AttachMode::kTcx;
  std::vector<ProgramInfo> programs;
  bool activation_pending = false;
};
struct Stats {
  std::vector<MapInfo> maps;
  std::vector<Count> counts;  // those that are not zero
  std::vector<AttachmentInfo> attachments;
  std::vector<std::string> failures;  // features that this kernel refused, one sentence each
};

class Datapath : public PolicyTables {
 public:
  static Result<std::unique_ptr<Datapath>> open(const DatapathConfig& config);
  // Takes every attachment and pin under bpf_dir away: uninstalling, and tests. Works on what any version left there.
  static Status remove_all(const std::string& bpf_dir);

  // Hosts' sides of pods' veths. Idempotent; attaching swaps an older program for the present one.
  virtual Status attach_pod(std::uint32_t ifindex) = 0;
  virtual Status detach_pod(std::uint32_t ifindex) = 0;  // a device that is gone is no error
  virtual Status attach_uplink(std::uint32_t ifindex) = 0;
  virtual Status attach_overlay(std::uint32_t ifindex) = 0;
  // The node's veth to which the service ranges are routed (its egress): host processes' UDP to Services.
  virtual Status attach_host_service(std::uint32_t ifindex) = 0;
  // Socket load balancing for all processes under this cgroup2 folder.
  virtual Status attach_cgroup(const std::string& path) = 0;
  // Swaps older programs that wait for their successors' maps to be filled. Call once every source has synced.
  // Does nothing where open() has done it already.
  virtual Status activate() = 0;

  // Makes the tables large enough, with room to spare, where they are not: larger ones with the same rows, and all programs
  // swapped to them, in one step per attachment. No packet is lost, and no row of ours; it takes some 0.1 s. kExhausted
  // beyond most_rows, kUnavailable before activate(); after an error the rows that there were are in force, and the next
  // call goes on.
  virtual Status reserve(const Room& rows) = 0;
  // Whether reserve() has nothing to do.
  virtual bool fits(const Room& rows) const = 0;

  // Whether `frontends` has rows of this node's own addresses: then, and only then, are packets to the node looked up, also
  // those that it sends to itself (a program on lo's egress). Kept over restarts. Set it after the rows, take it back before.
  virtual Status set_node_frontends(bool any) = 0;
  // FW_CFG_NODE_FRONTENDS of `config` counts for nothing: that is set_node_frontends()'s.
  virtual Status set_config(const fw_config& config) = 0;
  virtual Result<fw_config> config() const = 0;
  // Writes an endpoint's row and keeps the flags that others set (FW_EP_KEPT), while the same pod (generation) has the
  // address. Sinks write endpoints through this or through endpoints() with the flags kept.
  virtual Status put_endpoint(const fw_addr& addr, const fw_endpoint& row) = 0;
  // The same for `local_ifs`: all flags are kept while the row is the same pod's (its MAC).
  virtual Status put_local_if(std::uint32_t ifindex, const fw_local_if& row) = 0;

  virtual Map<fw_addr, fw_endpoint>& endpoints() = 0;
  virtual Map<std::uint32_t, fw_local_if>& local_ifs() = 0;
  virtual Map<std::uint32_t, fw_node>& nodes() = 0;
  virtual Map<fw_frontend_key, fw_frontend>& frontends() = 0;
  virtual Map<std::uint32_t, std::uint32_t>& svc_slots() = 0;
  virtual Map<std::uint32_t, fw_backend>& backends() = 0;
  virtual Map<fw_flow_key, fw_flow>& flows_new() = 0;  // half-open
  virtual Map<fw_flow_key, fw_flow>& flows() = 0;      // established

  // Removes rows of `flows` and `track` that have expired, at most `budget` rows of each looked at; goes on where the last call
  // stopped. The datapath does without it (expiry on lookup), but a full table keeps new flows out until then. Returns
  // rows removed.
  virtual Result<std::size_t> sweep_flows(std::size_t budget) = 0;

  virtual Result<Versions> versions() const = 0;
  virtual Result<Stats> stats() const = 0;
  // Descriptor of a loaded program by name, for BPF_PROG_TEST_RUN; it belongs to the Datapath. kNotFound.
  virtual Result<int> program_fd(std::string_view name) const = 0;
  // A duplicate of the descriptor of a map by name. kNotFound.
  virtual Result<sys::Fd> map_fd(std::string_view name) const = 0;
};
}  // namespace fairway::datapath
