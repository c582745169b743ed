#include "controllers/node_ipam.h"

#include <fmt/format.h>

#include <algorithm>

#include "controllers/json.h"

namespace fairway::controllers {
namespace {

// The n-th share: the node's number is put into the bits between the two prefix lengths.
net::Prefix nth_share(const PodRange& range, std::uint64_t n) {
  auto bytes = range.cluster.addr().bytes();
  const unsigned base = range.cluster.family() == net::Family::kV4 ? 96 : 0;
  const unsigned last_bit = base + range.node_length;
  for (unsigned bit = 0; bit < 64 && n != 0; ++bit, n >>= 1) {
    if ((n & 1) == 0) continue;
    const unsigned position = last_bit - 1 - bit;
    bytes[position / 8] |= static_cast<std::uint8_t>(0x80u >> (position % 8));
  }
  return {net::IpAddr::from_bytes(bytes), range.node_length};
}

}  // namespace

std::optional<net::Prefix> free_share(const PodRange& range, const std::vector<net::Prefix>& used) {
  if (range.node_length < range.cluster.length()) return std::nullopt;
  const unsigned bits = std::min(16u, range.node_length - range.cluster.length());
  for (std::uint64_t n = 0; n < (1ull << bits); ++n) {
    const net::Prefix share = nth_share(range, n);
    if (std::none_of(used.begin(), used.end(), [&](const net::Prefix& u) { return u.overlaps(share); })) return share;
  }
  return std::nullopt;
}

NodeIpamController::NodeIpamController(Context& context) : Controller(context, "node-ipam", 1) {
  stores_.nodes.subscribe([this](const Key& key, const Json*, const Json* after) {
    if (after && text(*after, "spec", "podCIDR").empty()) enqueue(key);
  });
}

Task<Status> NodeIpamController::reconcile(Key key) {
  const Json* node = stores_.nodes.find(key);
  if (!node || is_terminating(*node) || !text(*node, "spec", "podCIDR").empty() || context_.config.pod_ranges.empty()) co_return Status{};
  std::vector<net::Prefix> used;
  for (const Json* other : stores_.nodes.all()) {
    for (const auto& cidr : items(*other, "spec", "podCIDRs")) {
      if (auto prefix = net::Prefix::parse(as_text(&cidr)); prefix.ok()) used.push_back(*prefix);
    }
  }
  json::array shares;
  for (const auto& range : context_.config.pod_ranges) {
    const auto share = free_share(range, used);
    if (!share) {
      context_.events.normal("cidrAllocator", *node, kNodeType, "CIDRNotAvailable",
                             fmt::format("Node {} status is now: CIDRNotAvailable", key));
      co_return make_error(Code::kExhausted,
                           fmt::format("{} has no free /{} for node {}", range.cluster.to_string(), range.node_length, key));
    }
    shares.emplace_back(share->to_string());
  }
  const Json first = shares.front();
  Json patch = json::object{{"metadata", {{"uid", uid_of(*node)}}}, {"spec", {{"podCIDR", first}, {"podCIDRs", std::move(shares)}}}};
  auto written = co_await api_.patch(stores_.nodes.ref_to(key), k8s::PatchType::kMerge, std::move(patch));
  if (!written.ok()) co_return std::move(written).error();
  // One worker, which waits here: the next node's choice sees this one's.
  co_await stores_.nodes.caught_up_with(*written);
  co_return Status{};
}

}  // namespace fairway::controllers
