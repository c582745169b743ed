// The floor under a pod's path: pods that are wired as Fairway wires them, with the least program that delivers between
// them, bpf_redirect_peer() and nothing else: no policy, no source check, no hop. What a row lacks to the raw veth pair
// beyond this is ours; the rest is the kernel's price for a node between two pods.
#pragma once

#include <memory>
#include <vector>

#include "core/sandbox.h"

namespace fairway::bench {

class FloorNode {
 public:
  // Two pods, 10.244.index.2 and .3.
  static Result<std::unique_ptr<FloorNode>> create(const std::string& name, unsigned index);
  const Netns& client() const { return *pods_[0]; }
  const Netns& server() const { return *pods_[1]; }
  net::IpAddr server_addr() const { return addr_of(1); }

 private:
  FloorNode(Netns netns, unsigned index) : netns_(std::move(netns)), index_(index) {}
  Status wire();
  net::IpAddr addr_of(unsigned pod) const { return net::IpAddr::v4(0x0af40000u + (index_ << 8) + 2 + pod); }

  Netns netns_;
  unsigned index_;
  std::vector<std::unique_ptr<Netns>> pods_;
};

}  // namespace fairway::bench
