// The catalogue: well-known images as recipes of Debian packages, written files and links. Pure data.
#pragma once

#include <string>
#include <utility>
#include <vector>

#include "runtime/images.h"

namespace fairway::runtime {

struct RecipeFile {
  std::string path;  // in the image, without the leading '/'
  std::string content;
  unsigned mode = 0644;
  unsigned uid = 0, gid = 0;
};

struct LayerRecipe {
  std::string name;
  std::vector<std::string> packages;                        // must be had
  std::vector<std::string> optional_packages;               // taken where the machine has them installed
  std::vector<RecipeFile> files;                            // mode with S_IFDIR: a folder
  std::vector<std::pair<std::string, std::string>> links;   // path, target
  std::vector<std::pair<std::string, std::string>> copies;  // path, file of the machine; skipped if missing
  bool busybox_applets = false;                             // a link for each applet
  bool usr_merge = false;                                   // bin, sbin, lib, lib64 as links into usr
  bool own_program = false;                                 // fairway-agnhost as /agnhost and /pause
};

struct CatalogueImage {
  std::vector<std::string> repositories;  // normalised, without tag
  std::vector<LayerRecipe> layers;        // lowest first
  ImageConfig config;
};

// The image that stands in for a repository ("docker.io/library/nginx"), or null.
const CatalogueImage* find_in_catalogue(const std::string& registry, const std::string& repository);

}  // namespace fairway::runtime
