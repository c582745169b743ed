// ImageStore: container images by name, as overlay layers on disk, with what their config says.
//
// Order (docs/images.md): the local OCI store, a registry through skopeo where the machine has a network, else the
// catalogue of well-known images made of Debian packages. Which one served is in Image::source and Image::id.
// Shared by all node runtimes of a machine: a file lock per image, folders named by content, renamed into place.
// Blocks (seconds): runs on threads of its own, in the machine's network namespace.
#pragma once

#include <chrono>
#include <string>
#include <vector>

#include "base/result.h"

namespace fairway::runtime {

struct ImageConfig {
  std::vector<std::string> entrypoint;
  std::vector<std::string> command;
  std::vector<std::string> env;  // NAME=value
  std::string working_dir;
  std::string user;         // as in an OCI config: "user", "uid:gid" ...
  std::string stop_signal;  // "SIGQUIT", or empty
};

struct Image {
  std::string name;                 // normalised: docker.io/library/nginx:latest
  std::string id;                   // "catalogue://nginx@sha256:…", "docker.io/library/nginx@sha256:…"
  std::string source;               // "local store", "registry", "catalogue", and what it is made of
  std::vector<std::string> layers;  // folders below ImageStore::layers_dir(), upmost first
  ImageConfig config;
};

// The parts of a reference. "nginx" is docker.io/library/nginx:latest.
struct ImageReference {
  std::string registry, repository, tag, digest;
  std::string name() const;  // normalised
};
Result<ImageReference> parse_image_reference(const std::string& text);

struct ImageStoreConfig {
  std::string dir;
  std::string agnhost;  // path of our own program for agnhost and pause
  bool use_registry = true;
};

class ImageStore {
 public:
  explicit ImageStore(ImageStoreConfig config);

  // An image that is already here, without asking anybody; kNotFound if none.
  Result<Image> find(const std::string& reference) const;
  // Brings it here. The error's text is what users see in ErrImagePull.
  Result<Image> pull(const std::string& reference);
  // Puts a docker or OCI archive, or an OCI layout's folder, into the local store under this name.
  Status import(const std::string& path, const std::string& reference);

  std::string layers_dir() const { return config_.dir + "/layers"; }
  const ImageStoreConfig& config() const { return config_; }

 private:
  Result<Image> find_fresh(const std::string& reference) const;
  Result<Image> pull_locked(const ImageReference& reference);
  Result<Image> from_registry(const ImageReference& reference);
  bool registry_reachable(const std::string& registry);
  Status save(const Image& image) const;
  std::string record_path(const std::string& name) const;
  std::string oci_path(const std::string& name) const;

  ImageStoreConfig config_;
  std::string no_registry_reason_;
};

// What the catalogue has: names as users write them.
std::vector<std::string> catalogue_names();

}  // namespace fairway::runtime
