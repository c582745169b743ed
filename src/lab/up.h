// `lab up` and `lab down` as the user sees them: checks with clear words, progress, readiness.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <vector>

#include "base/result.h"
#include "lab/layout.h"
#include "lab/readiness.h"
#include "lab/spec.h"

namespace fairway::lab {

struct UpOptions {
  unsigned nodes = 2;
  unsigned subnets = 1;
  std::string datapath = "auto";
  std::string family = "dual";
  unsigned most_rows = 0;      // see LabSpec
  std::uint16_t api_port = 0;  // 0: the first free one from 16443 on
  std::vector<std::string> dns_upstreams;
  std::chrono::seconds timeout{120};
};

// Starts a lab and returns once every node is Ready. On failure the lab is left as it is, for its logs to be read.
Status up(const Layout& layout, const UpOptions& options, const Progress& progress);
// Takes it down; says what was removed.
Status down(const Layout& layout, const Progress& progress);
// Adds a node, named by the supervisor where `name` is empty, and waits until its Node object is there; its name.
Result<std::string> add_node(const Layout& layout, const std::string& name);
// Stops a node, takes it off the fabric, and deletes its Node object.
Status remove_node(const Layout& layout, const std::string& name);

}  // namespace fairway::lab
