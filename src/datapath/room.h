// How many rows the tables must hold: what Datapath::reserve() is asked for. 0: no matter.
#pragma once

#include <cstddef>

namespace fairway::datapath {

struct Room {
  std::size_t endpoints = 0;
  std::size_t nodes = 0;
  std::size_t frontends = 0;
  std::size_t svc_slots = 0;
  std::size_t backends = 0;
  std::size_t pol_peers = 0;
  std::size_t pol_cidrs = 0;
  std::size_t pol_verdicts = 0;
};

}  // namespace fairway::datapath
