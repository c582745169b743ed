#include "lab/layout.h"

#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>

namespace fairway::lab {

Layout default_layout() {
  const char* dir = std::getenv("FAIRWAY_LAB_DIR");
  return Layout{.dir = dir && *dir ? std::filesystem::absolute(dir).lexically_normal().string() : "/var/lib/fairway/lab"};
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
