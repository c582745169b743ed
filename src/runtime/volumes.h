// A pod's volumes on disk: what is in them (pure), and how it is put there.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "runtime/pod_env.h"

namespace fairway::runtime {

struct VolumeFile {
  std::string path;  // within the volume
  std::string content;
  unsigned mode = 0644;
};

struct TokenFiles {
  std::string token, ca_pem;
};

// ConfigMaps and Secrets that the pod's volumes name: "configmaps/NAME".
std::vector<std::string> volume_references(const Json& pod);

// The files of a configMap, secret, downwardAPI or projected volume.
Result<std::vector<VolumeFile>> volume_files(const PodFacts& facts, const Json& volume, const ConfigObjects& objects,
                                             const TokenFiles& token);

// Writes them as kubelet does: a new folder, then one rename of the link ..data, so that a reader sees all or nothing
// of an update. Unchanged content is left alone.
Status write_volume_files(const std::string& dir, const std::vector<VolumeFile>& files, std::int64_t fs_group);

struct VolumeSetup {
  std::string pod_dir;  // volumes/NAME below it
  PodFacts facts;
  const ConfigObjects* objects = nullptr;
  TokenFiles token;
};
// Makes or refreshes one volume; the path of what is to be mounted. The error's text is that of FailedMount.
Result<std::string> setup_volume(const VolumeSetup& setup, const Json& volume);
// Unmounts what setup_volume mounted (memory volumes).
void release_volumes(const std::string& pod_dir);

// A subPath of a volume, made if missing; it never leaves the volume, whatever links lie in it.
Result<std::string> resolve_sub_path(const std::string& volume_path, const std::string& sub_path);

}  // namespace fairway::runtime
