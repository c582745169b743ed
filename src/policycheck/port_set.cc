#include "policycheck/port_set.h"

#include <algorithm>

namespace fairway::policycheck {
namespace {

constexpr const char* kSpaces[] = {"TCP", "UDP", "SCTP"};
constexpr const char* kSuffixes[] = {"", "/udp", "/sctp"};

}  // namespace

PortSet::Key PortSet::key_of(net::Protocol protocol, std::uint16_t port) {
  const Key space = protocol == net::Protocol::kTcp ? 0 : protocol == net::Protocol::kUdp ? 1 : 2;
  return space << 16 | port;
}

PortSet PortSet::all() {
  PortSet out;
  out.append(0, kEnd);
  out.other_ = true;
  return out;
}
PortSet PortSet::port(net::Protocol protocol, std::uint16_t port) { return range(protocol, port, port); }
PortSet PortSet::range(net::Protocol protocol, std::uint16_t first, std::uint16_t last) {
  PortSet out;
  out.append(key_of(protocol, first), key_of(protocol, last) + 1);
  return out;
}

void PortSet::append(Key begin, Key end) {
  if (begin >= end) return;
  if (!ranges_.empty() && ranges_.back().second == begin) ranges_.back().second = end;
  else ranges_.emplace_back(begin, end);
}

bool PortSet::has(net::Protocol protocol, std::uint16_t port) const {
  const Key key = key_of(protocol, port);
  return std::any_of(ranges_.begin(), ranges_.end(), [key](const auto& r) { return r.first <= key && key < r.second; });
}

// Goes through both at once: between two ends of ranges nothing changes.
template <typename Keep>
PortSet PortSet::merged(const PortSet& o, Keep keep) const {
  PortSet out;
  out.other_ = keep(other_, o.other_);
  auto a = ranges_.begin(), b = o.ranges_.begin();
  for (Key at = 0; at < kEnd;) {
    while (a != ranges_.end() && a->second <= at) ++a;
    while (b != o.ranges_.end() && b->second <= at) ++b;
    const bool in_a = a != ranges_.end() && a->first <= at, in_b = b != o.ranges_.end() && b->first <= at;
    Key next = kEnd;
    if (a != ranges_.end()) next = std::min(next, in_a ? a->second : a->first);
    if (b != o.ranges_.end()) next = std::min(next, in_b ? b->second : b->first);
    if (keep(in_a, in_b)) out.append(at, next);
    at = next;
  }
  return out;
}

PortSet PortSet::operator&(const PortSet& o) const {
  return merged(o, [](bool a, bool b) { return a && b; });
}
PortSet PortSet::operator|(const PortSet& o) const {
  return merged(o, [](bool a, bool b) { return a || b; });
}
PortSet PortSet::operator-(const PortSet& o) const {
  return merged(o, [](bool a, bool b) { return a && !b; });
}

std::string PortSet::listed() const {
  std::string out;
  const auto add = [&](const std::string& text) { out += (out.empty() ? "" : ",") + text; };
  for (const auto& [begin, end] : ranges_) {
    for (Key at = begin; at < end;) {  // a range may reach over several protocols
      const Key space = at >> 16, last = std::min(end, (space + 1) << 16) - 1;
      const Key from = at & 0xffff, to = last & 0xffff;
      if (from <= 1 && to == 0xffff) add(kSpaces[space]);
      else add(std::to_string(from) + (from == to ? "" : "-" + std::to_string(to)) + kSuffixes[space]);
      at = last + 1;
    }
  }
  if (other_) add("ICMP");
  return out;
}

std::string PortSet::to_string() const {
  if (empty()) return "none";
  if (is_all()) return "all";
  return other_ ? "all but " + (all() - *this).listed() : listed();
}

}  // namespace fairway::policycheck
