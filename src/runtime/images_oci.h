// OCI image layouts on disk (https://github.com/opencontainers/image-spec): unpacked once into overlay layers.
#pragma once

#include <string>

#include "base/result.h"
#include "runtime/images.h"

namespace fairway::runtime {

// Reads the layout's index, manifest and config for this machine's architecture, and unpacks its layers into
// `layers_dir`, each under its digest. Fills config, layers, and id as NAME@sha256:…
Result<Image> unpack_oci_layout(const std::string& layout, const std::string& layers_dir, const std::string& repository);

}  // namespace fairway::runtime
