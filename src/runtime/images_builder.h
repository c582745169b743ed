// Makes a layer of the catalogue on disk: files of Debian packages and the libraries that they need.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/images_catalogue.h"

namespace fairway::runtime {

class LayerBuilder {
 public:
  // `dir`: the image store's folder. `agnhost`: path of fairway-agnhost.
  LayerBuilder(std::string dir, std::string agnhost) : dir_(std::move(dir)), agnhost_(std::move(agnhost)) {}

  struct Built {
    std::string folder;        // below layers/
    std::string versions;      // "nginx 1.22.1-9+deb12u11, curl 7.88.1-10": what it is made of
  };
  Result<Built> build(const LayerRecipe& recipe);

 private:
  std::string dir_, agnhost_;
};

std::string sha256_hex(std::string_view text);

}  // namespace fairway::runtime
