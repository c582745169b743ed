// The port space of each protocol, cut at the ends of all ranges in force: between two cuts no rule can tell ports apart.
//
// A cut stays until settle(), so that a range that goes and comes within one Delta moves nothing.
// Where numbers run out (65,534 classes), ports have FW_PORT_NONE and full() says so.
#pragma once

#include <array>
#include <map>

#include "compile/policy/interner.h"
#include "compile/policy/rows.h"

namespace fairway::compile::policy {

using RangeId = std::uint32_t;

class PortCuts {
 public:
  PortCuts();
  RangeId acquire(std::uint8_t protocol, std::uint16_t first, std::uint16_t last);  // an IPPROTO number with ports
  void release(RangeId id);
  bool alive(RangeId id) const { return ranges_.alive(id); }
  // Those who asked for the range, to be told when its classes change.
  LazySet& users(RangeId id) { return users_[id]; }

  // Brings classes in line with the cuts. Appends what ports have another class than before, and the ranges that now are other
  // classes than before, but for ranges that are new.
  void settle(std::vector<PortRange>& changed, std::vector<RangeId>& moved);
  void append_classes(RangeId id, std::vector<PortClass>& out) const;
  PortClass class_of(std::uint8_t protocol, std::uint16_t port) const;
  std::vector<PortRange> all() const;
  std::size_t classes() const { return numbers_.taken(); }
  bool full() const { return missing_ > 0; }
  void tick() { ranges_.tick(), numbers_.tick(); }

 private:
  struct Range {
    std::uint8_t protocol = 0;
    std::uint16_t first = 0, last = 0;
    bool operator==(const Range&) const = default;
    std::size_t hash() const { return mix(protocol, static_cast<std::uint64_t>(first) << 16 | last); }
  };
  struct Span {               // from its key to the next
    std::uint32_t ends = 0;   // of ranges that begin here or end before
    std::uint32_t cover = 0;  // ranges that hold it
    PortClass port_class = 0;
    PortClass told = 0;  // what the last Delta left there
    bool missing = false;
  };
  struct Space {
    std::map<std::uint32_t, Span> spans;
    std::vector<std::uint32_t> dirty;
  };
  void edit(const Range& range, int step);
  void settle(std::size_t index, std::vector<PortRange>& changed);
  void number(Span& span);

  Interner<Range> ranges_;
  Numbers numbers_{1, 0xfffe};
  std::size_t missing_ = 0;
  std::array<Space, 3> spaces_;
  std::vector<LazySet> users_;
  std::vector<RangeId> fresh_;
};

}  // namespace fairway::compile::policy
