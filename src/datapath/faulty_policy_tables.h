// FaultyPolicyTables: other PolicyTables, of whose operations on maps a share fails: for tests of the sink.
#pragma once

#include "datapath/faulty_map.h"
#include "datapath/policy_tables.h"

namespace fairway::datapath {

class FaultyPolicyTables final : public PolicyTables {
 public:
  FaultyPolicyTables(PolicyTables& inner, double share, std::uint64_t seed)
      : inner_(inner),
        subjects_(inner.pol_subjects(), share, seed),
        peers_(inner.pol_peers(), share, seed + 1),
        cidrs_(inner.pol_cidrs(), share, seed + 2),
        ports_(inner.pol_ports(), share, seed + 3),
        verdicts_(inner.pol_verdicts(), share, seed + 4) {}
  void set_share(double share) {
    subjects_.set_share(share), peers_.set_share(share), cidrs_.set_share(share), ports_.set_share(share), verdicts_.set_share(share);
  }
  std::size_t faults() const { return subjects_.faults() + peers_.faults() + cidrs_.faults() + ports_.faults() + verdicts_.faults(); }

  Map<std::uint32_t, fw_subject>& pol_subjects() override { return subjects_; }
  Map<fw_addr, fw_peer_class>& pol_peers() override { return peers_; }
  Map<fw_cidr_key, fw_peer_class>& pol_cidrs() override { return cidrs_; }
  Map<std::uint32_t, fw_port_chunk>& pol_ports() override { return ports_; }
  Map<fw_verdict_key, fw_verdict_row>& pol_verdicts() override { return verdicts_; }
  Map<fw_track_key, fw_track>& track_new() override { return inner_.track_new(); }
  Map<fw_track_key, fw_track>& track() override { return inner_.track(); }
  Map<fw_hit_key, fw_hit>& pol_hits() override { return inner_.pol_hits(); }
  Map<fw_denied_key, fw_hit>& pol_denied() override { return inner_.pol_denied(); }
  std::uint32_t policy_generation() const override { return inner_.policy_generation(); }
  void set_policy_generation(std::uint32_t generation) override { inner_.set_policy_generation(generation); }
  Status set_tracked(std::uint32_t ifindex, bool tracked) override { return inner_.set_tracked(ifindex, tracked); }

 private:
  PolicyTables& inner_;
  FaultyMap<std::uint32_t, fw_subject> subjects_;
  FaultyMap<fw_addr, fw_peer_class> peers_;
  FaultyMap<fw_cidr_key, fw_peer_class> cidrs_;
  FaultyMap<std::uint32_t, fw_port_chunk> ports_;
  FaultyMap<fw_verdict_key, fw_verdict_row> verdicts_;
};

}  // namespace fairway::datapath
