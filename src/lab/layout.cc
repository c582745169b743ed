#include "lab/layout.h"

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fairway::lab {

Layout default_layout() {
  const char* wanted = std::getenv("FAIRWAY_LAB_DIR");
  const std::filesystem::path path = wanted && *wanted ? wanted : "/var/lib/fairway/lab";
  std::error_code ec;
  std::string dir = std::filesystem::weakly_canonical(std::filesystem::absolute(path, ec), ec).string();
  if (dir.empty()) dir = path.string();
  while (dir.size() > 1 && dir.ends_with('/')) dir.pop_back();
  return Layout{.dir = std::move(dir)};
}

bool is_lab_file(std::string_view name) {
  static constexpr std::string_view kNames[] = {"api.db",     "api.db-journal", "api.db-shm", "api.db-wal",     "logs",
                                                "kubeconfig", "nodes",          "pki",        "supervisor.sock"};
  const bool half_written = name.starts_with("kubeconfig.tmp.") || name.starts_with("lab.json.tmp.");
  return half_written || std::find(std::begin(kNames), std::end(kNames), name) != std::end(kNames);
}

std::string cgroup2_mount() {
  std::ifstream mounts("/proc/self/mounts");
  for (std::string line; std::getline(mounts, line);) {
    std::istringstream fields(line);
    std::string device, path, type;
    fields >> device >> path >> type;
    if (type == "cgroup2") return path;
  }
  return "";
}

}  // namespace fairway::lab
