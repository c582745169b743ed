// MemoryPolicyTables: PolicyTables in this process's memory, for tests of the sink without a kernel.
#pragma once

#include <set>

#include "datapath/memory_map.h"
#include "datapath/policy_tables.h"

namespace fairway::datapath {

class MemoryPolicyTables : public PolicyTables {
 public:
  MemoryMap<std::uint32_t, fw_subject>& pol_subjects() override { return subjects_; }
  MemoryMap<fw_addr, fw_peer_class>& pol_peers() override { return peers_; }
  MemoryMap<fw_cidr_key, fw_peer_class>& pol_cidrs() override { return cidrs_; }
  MemoryMap<std::uint32_t, fw_port_chunk>& pol_ports() override { return ports_; }
  MemoryMap<fw_verdict_key, fw_verdict_row>& pol_verdicts() override { return verdicts_; }
  MemoryMap<fw_track_key, fw_track>& track_new() override { return track_new_; }
  MemoryMap<fw_track_key, fw_track>& track() override { return track_; }
  MemoryMap<fw_hit_key, fw_hit>& pol_hits() override { return hits_; }
  MemoryMap<fw_denied_key, fw_hit>& pol_denied() override { return denied_; }

  std::uint32_t policy_generation() const override { return generation_; }
  void set_policy_generation(std::uint32_t generation) override { generation_ = generation; }
  Status set_tracked(std::uint32_t ifindex, bool tracked) override {
    if (tracked) tracked_.insert(ifindex);
    else tracked_.erase(ifindex);
    return {};
  }
  const std::set<std::uint32_t>& tracked() const { return tracked_; }

 private:
  MemoryMap<std::uint32_t, fw_subject> subjects_{"pol_subjects"};
  MemoryMap<fw_addr, fw_peer_class> peers_{"pol_peers"};
  MemoryMap<fw_cidr_key, fw_peer_class> cidrs_{"pol_cidrs"};
  MemoryMap<std::uint32_t, fw_port_chunk> ports_{"pol_ports"};
  MemoryMap<fw_verdict_key, fw_verdict_row> verdicts_{"pol_verdicts"};
  MemoryMap<fw_track_key, fw_track> track_new_{"track_new"}, track_{"track"};
  MemoryMap<fw_hit_key, fw_hit> hits_{"pol_hits"};
  MemoryMap<fw_denied_key, fw_hit> denied_{"pol_denied"};
  std::uint32_t generation_ = 0;
  std::set<std::uint32_t> tracked_;
};

}  // namespace fairway::datapath
