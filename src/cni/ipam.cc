#include "cni/ipam.h"

#include <algorithm>

namespace fairway::cni {
namespace {

// Of a range larger than this only the beginning is given out: it bounds the search, and no node runs so many pods.
constexpr std::uint64_t kMaxOffset = 1 << 20;

}  // namespace

// The network's own address and the first one, by custom the node's, are not for pods; nor is an IPv4 broadcast address.
std::uint64_t Ipam::first(const net::Prefix& range) const { return range.size() >= 8 ? 2 : 0; }
std::uint64_t Ipam::last(const net::Prefix& range) const {
  const std::uint64_t size = range.size();
  const std::uint64_t end = range.family() == net::Family::kV4 && size >= 8 ? size - 2 : size - 1;
  return std::min(end, kMaxOffset);
}

void Ipam::set_ranges(std::vector<net::Prefix> ranges, const std::vector<net::IpAddr>& reserved) {
  reserved_ = {reserved.begin(), reserved.end()};
  if (ranges == ranges_) return;
  ranges_ = std::move(ranges);
  cursors_.clear();
  for (const auto& range : ranges_) {
    // Begin behind the highest address that was given: a restart must not begin with what was freed a moment ago.
    std::uint64_t cursor = first(range);
    for (std::uint64_t n = cursor; n <= last(range) && n < cursor + 65536; ++n) {
      if (const auto addr = range.nth(n); addr && (owners_.contains(*addr) || freed_.contains(*addr))) cursor = n + 1;
    }
    cursors_.push_back(cursor);
  }
}

bool Ipam::is_free(const net::IpAddr& addr, WallTime now) const {
  if (reserved_.contains(addr) || owners_.contains(addr)) return false;
  const auto found = freed_.find(addr);
  // A clock that was set back must not lock an address up: a time in the future counts as over.
  return found == freed_.end() || found->second > now || now - found->second >= cool_down_;
}

Result<net::IpAddr> Ipam::next_free(std::size_t range, WallTime now) {
  const net::Prefix& prefix = ranges_[range];
  const std::uint64_t begin = first(prefix), count = last(prefix) - begin + 1;
  for (std::uint64_t tried = 0; tried < count; ++tried) {
    const std::uint64_t n = begin + (cursors_[range] - begin + tried) % count;
    const auto addr = prefix.nth(n);
    if (!addr || !is_free(*addr, now)) continue;
    cursors_[range] = n + 1;
    return *addr;
  }
  return make_error(Code::kExhausted, describe_full(prefix, now));
}

std::string Ipam::describe_full(const net::Prefix& range, WallTime now) const {
  std::size_t used = 0, resting = 0;
  for (const auto& [addr, owner] : owners_) used += range.contains(addr) ? 1 : 0;
  for (const auto& [addr, time] : freed_) resting += range.contains(addr) && !owners_.contains(addr) && !is_free(addr, now) ? 1 : 0;
  return "pod range " + range.to_string() + " has no free address: " + std::to_string(used) + " in use, " + std::to_string(resting) +
         " freed less than " + std::to_string(cool_down_.count()) + " s ago";
}

Result<net::IpAddr> Ipam::take_wanted(const net::IpAddr& addr) const {
  const bool inside = std::any_of(ranges_.begin(), ranges_.end(), [&](const net::Prefix& range) { return range.contains(addr); });
  if (!inside) return make_error(Code::kInvalid, "requested address " + addr.to_string() + " is in none of this node's pod ranges");
  if (reserved_.contains(addr)) return make_error(Code::kInvalid, "requested address " + addr.to_string() + " is reserved");
  const auto owner = owners_.find(addr);
  if (owner != owners_.end())
    return make_error(Code::kAlreadyExists, "requested address " + addr.to_string() + " is in use by sandbox " + owner->second);
  return addr;
}

Result<std::vector<net::IpAddr>> Ipam::allocate(const std::string& owner, const std::vector<net::IpAddr>& wanted, WallTime now) {
  std::vector<net::IpAddr> out;
  for (const auto& addr : wanted) FW_TRY(take_wanted(addr));
  for (std::size_t i = 0; i < ranges_.size(); ++i) {
    const auto fixed =
        std::find_if(wanted.begin(), wanted.end(), [&](const net::IpAddr& addr) { return addr.family() == ranges_[i].family(); });
    if (fixed != wanted.end()) {
      out.push_back(*fixed);
      continue;
    }
    FW_ASSIGN(const net::IpAddr addr, next_free(i, now));
    out.push_back(addr);
  }
  std::stable_sort(out.begin(), out.end(), [](const net::IpAddr& a, const net::IpAddr& b) { return a.is_v4() && !b.is_v4(); });
  for (const auto& addr : out) {
    owners_[addr] = owner;
    freed_.erase(addr);
  }
  return out;
}

bool Ipam::restore(const std::string& owner, const net::IpAddr& addr) {
  freed_.erase(addr);
  return owners_.try_emplace(addr, owner).second;
}

void Ipam::release(const net::IpAddr& addr, WallTime now, bool cool_down) {
  owners_.erase(addr);
  if (cool_down) freed_[addr] = now;
}

std::size_t Ipam::cooling(WallTime now) const {
  return static_cast<std::size_t>(std::count_if(freed_.begin(), freed_.end(), [&](const auto& row) { return !is_free(row.first, now); }));
}

void Ipam::forget_cooled(WallTime now) {
  std::erase_if(freed_, [&](const auto& row) { return is_free(row.first, now); });
}

std::vector<std::string> Ipam::exhausted(WallTime now) const {
  std::vector<std::string> out;
  for (const auto& range : ranges_) {
    std::uint64_t left = 0;
    for (std::uint64_t n = first(range); n <= last(range) && left == 0; ++n) {
      if (const auto addr = range.nth(n); addr && is_free(*addr, now)) ++left;
    }
    if (left == 0) out.push_back(describe_full(range, now));
  }
  return out;
}

}  // namespace fairway::cni
