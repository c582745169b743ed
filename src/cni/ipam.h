// Ipam: which addresses of the node's pod ranges are free. In memory and pure; EndpointStore makes it durable.
//
// Addresses are given in turn (next fit), not the lowest free one, so that an address rests as long as it can; and never
// within the cool-down after it was freed: elsewhere, a backend table or a connection may still point at it.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <unordered_map>
#include <unordered_set>
#include <vector>

#include "base/result.h"
#include "net/ip.h"

namespace fairway::cni {

using WallTime = std::chrono::sys_seconds;

class Ipam {
 public:
  explicit Ipam(std::chrono::seconds cool_down) : cool_down_(cool_down) {}

  // Addresses already given stay so, also those outside of the new ranges.
  void set_ranges(std::vector<net::Prefix> ranges, const std::vector<net::IpAddr>& reserved);
  const std::vector<net::Prefix>& ranges() const { return ranges_; }

  // One address of each range; `wanted` (at most one a family) are given as they are, also within their cool-down, or
  // the request fails: kInvalid outside of the ranges, kAlreadyExists in use, kExhausted. All or nothing.
  Result<std::vector<net::IpAddr>> allocate(const std::string& owner, const std::vector<net::IpAddr>& wanted, WallTime now);
  // From the journal: in use, wherever it lies. False: another has it.
  bool restore(const std::string& owner, const net::IpAddr& addr);
  // Back after `now` and the cool-down; at once where nobody can have seen it.
  void release(const net::IpAddr& addr, WallTime now, bool cool_down);

  std::size_t in_use() const { return owners_.size(); }
  std::size_t cooling(WallTime now) const;
  const std::unordered_map<net::IpAddr, WallTime>& freed() const { return freed_; }  // when; may be past its time
  void forget_cooled(WallTime now);
  // Ranges without a free address, in words.
  std::vector<std::string> exhausted(WallTime now) const;

 private:
  bool is_free(const net::IpAddr& addr, WallTime now) const;
  Result<net::IpAddr> next_free(std::size_t range, WallTime now);
  Result<net::IpAddr> take_wanted(const net::IpAddr& addr) const;
  std::uint64_t first(const net::Prefix& range) const;
  std::uint64_t last(const net::Prefix& range) const;
  std::string describe_full(const net::Prefix& range, WallTime now) const;

  std::chrono::seconds cool_down_;
  std::vector<net::Prefix> ranges_;
  std::vector<std::uint64_t> cursors_;  // per range: where the last search ended
  std::unordered_set<net::IpAddr> reserved_;
  std::unordered_map<net::IpAddr, std::string> owners_;
  std::unordered_map<net::IpAddr, WallTime> freed_;
};

}  // namespace fairway::cni
