// What a Zone and its builder share. For the .cc files of this folder alone.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "compile/dns/persistent_map.h"
#include "compile/dns/zone.h"

namespace fairway::compile::dns {

constexpr std::string_view kSchemaVersion = "1.1.0";  // of the Kubernetes DNS specification

struct Zone::State {
  std::shared_ptr<const ZoneConfig> config;
  std::vector<std::string> domain_labels;  // leaf first
  PersistentMap rows;                      // zone_row.h
  bool complete = false;
  std::uint32_t serial = 0;
  ZoneCounts counts;
};

}  // namespace fairway::compile::dns
