// Makes a layer of the catalogue on disk: files of Debian packages and the libraries that they need.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "runtime/images_catalogue.h"

namespace fairway::runtime {

class LayerBuilder {
 public:
  // `dir`: the image store's folder. `agnhost`: path of fairway-agnhost.
  LayerBuilder(std::string dir, std::string agnhost) : dir_(std::move(dir)), agnhost_(std::move(agnhost)) {}

  struct Built {
    std::string folder;    // below layers/
    std::string versions;  // "nginx 1.22.1-9+deb12u11, curl 7.88.1-10": what it is made of
  };
  Result<Built> build(const LayerRecipe& recipe);

 private:
  std::string dir_, agnhost_;
};

// What a layer's content depends on besides its recipe and the machine's packages: how layers are made, and our own program.
// An image that another maker recorded is made anew.
std::string layer_maker(const std::string& agnhost);

// Where a package's file or folder lies in a layer. Everything lies under usr: "/bin/sh" and "/usr/bin/sh" are one file, and
// a folder "bin" of its own would hide the link of the layer below.
std::string path_in_layer(std::string_view path);

std::string sha256_hex(std::string_view text);

}  // namespace fairway::runtime
