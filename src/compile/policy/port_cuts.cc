#include "compile/policy/port_cuts.h"

#include "net/ip.h"

namespace fairway::compile::policy {
namespace {

constexpr std::array<net::Protocol, 3> kProtocols = {net::Protocol::kTcp, net::Protocol::kUdp, net::Protocol::kSctp};
std::size_t index_of(std::uint8_t protocol) {
  for (std::size_t i = 0; i < kProtocols.size(); ++i)
    if (static_cast<std::uint8_t>(kProtocols[i]) == protocol) return i;
  return kProtocols.size();
}
constexpr std::uint32_t kEnd = 65536;

}  // namespace

PortCuts::PortCuts() {
  for (auto& space : spaces_) space.spans[0].ends = 1;
}

RangeId PortCuts::acquire(std::uint8_t protocol, std::uint16_t first, std::uint16_t last) {
  const auto [id, fresh] = ranges_.acquire(Range{protocol, first, last});
  if (!fresh) return id;
  if (id >= users_.size()) users_.resize(id + 1);
  users_[id] = {};
  fresh_.push_back(id);
  edit(ranges_[id], 1);
  return id;
}
void PortCuts::release(RangeId id) {
  if (ranges_.release(id)) edit(ranges_[id], -1);
}

void PortCuts::edit(const Range& range, int step) {
  auto& [spans, dirty] = spaces_[index_of(range.protocol)];
  const std::uint32_t after = range.last + 1U;
  for (const std::uint32_t at : {static_cast<std::uint32_t>(range.first), after}) {
    if (at == kEnd) continue;
    auto place = spans.lower_bound(at);
    if (place == spans.end() || place->first != at) {
      const Span& left = std::prev(place)->second;
      place = spans.emplace_hint(place, at, Span{0, left.cover, 0, left.told, false});
    }
    place->second.ends += static_cast<std::uint32_t>(step);
    dirty.push_back(at);
  }
  for (auto at = spans.find(range.first); at != spans.end() && at->first < after; ++at) {
    at->second.cover += static_cast<std::uint32_t>(step);
    dirty.push_back(at->first);
  }
}

// One number for all that is covered, none for what is not.
void PortCuts::number(Span& span) {
  if (span.cover > 0 && span.port_class == 0) span.port_class = static_cast<PortClass>(numbers_.take());
  if (span.cover == 0 && span.port_class != 0) numbers_.give(std::exchange(span.port_class, PortClass{0}));
  const bool missing = span.cover > 0 && span.port_class == 0;
  missing_ = missing_ + (missing ? 1 : 0) - (span.missing ? 1 : 0);
  span.missing = missing;
}

// Spans in ascending order, so that the one on the left is settled.
void PortCuts::settle(std::size_t index, std::vector<PortRange>& changed) {
  auto& [spans, dirty] = spaces_[index];
  std::sort(dirty.begin(), dirty.end());
  dirty.erase(std::unique(dirty.begin(), dirty.end()), dirty.end());
  for (const std::uint32_t at : dirty) {
    const auto place = spans.find(at);
    if (place == spans.end()) continue;
    Span& span = place->second;
    const auto next = std::next(place);
    const auto last = static_cast<std::uint16_t>((next == spans.end() ? kEnd : next->first) - 1);
    if (span.ends > 0) {
      number(span);
      if (span.port_class != span.told) changed.push_back({kProtocols[index], static_cast<std::uint16_t>(at), last, span.port_class});
      span.told = span.port_class;
      continue;
    }
    const PortClass left = std::prev(place)->second.port_class;
    span.cover = 0;
    number(span);
    if (left != span.told) changed.push_back({kProtocols[index], static_cast<std::uint16_t>(at), last, left});
    spans.erase(place);
  }
  dirty.clear();
}

void PortCuts::settle(std::vector<PortRange>& changed, std::vector<RangeId>& moved) {
  const std::size_t first = changed.size();
  for (std::size_t i = 0; i < spaces_.size(); ++i) settle(i, changed);
  std::sort(fresh_.begin(), fresh_.end());
  if (changed.size() > first && fresh_.size() < ranges_.size()) {
    for (RangeId id = 1; id < ranges_.limit(); ++id) {
      if (!ranges_.alive(id) || std::binary_search(fresh_.begin(), fresh_.end(), id)) continue;
      const Range& r = ranges_[id];
      const bool hit = std::any_of(changed.begin() + static_cast<std::ptrdiff_t>(first), changed.end(), [&](const PortRange& c) {
        return static_cast<std::uint8_t>(c.protocol) == r.protocol && c.first <= r.last && r.first <= c.last;
      });
      if (hit) moved.push_back(id);
    }
  }
  fresh_.clear();
}

void PortCuts::append_classes(RangeId id, std::vector<PortClass>& out) const {
  const Range& r = ranges_[id];
  const auto& spans = spaces_[index_of(r.protocol)].spans;
  for (auto at = spans.find(r.first); at != spans.end() && at->first <= r.last; ++at)
    if (at->second.port_class != 0) out.push_back(at->second.port_class);
}

PortClass PortCuts::class_of(std::uint8_t protocol, std::uint16_t port) const {
  const std::size_t index = index_of(protocol);
  return index == kProtocols.size() ? PortClass{0} : std::prev(spaces_[index].spans.upper_bound(port))->second.port_class;
}

std::vector<PortRange> PortCuts::all() const {
  std::vector<PortRange> out;
  for (std::size_t i = 0; i < spaces_.size(); ++i) {
    const auto& spans = spaces_[i].spans;
    for (auto at = spans.begin(); at != spans.end(); ++at) {
      const auto next = std::next(at);
      const std::uint32_t end = next == spans.end() ? kEnd : next->first;
      if (at->second.port_class != 0)
        out.push_back({kProtocols[i], static_cast<std::uint16_t>(at->first), static_cast<std::uint16_t>(end - 1), at->second.port_class});
    }
  }
  return out;
}

}  // namespace fairway::compile::policy
