#include "runtime/images_oci.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <boost/json.hpp>
#include <filesystem>

#include "sys/file.h"
#include "sys/process.h"

namespace fairway::runtime {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr char kArchitecture[] =
#if defined(__aarch64__)
    "arm64";
#else
    "amd64";
#endif

const json::value* field(const json::value* value, std::string_view name) {
  if (!value || !value->is_object()) return nullptr;
  const auto found = value->get_object().find(name);
  return found == value->get_object().end() ? nullptr : &found->value();
}

std::string text(const json::value* value) { return value && value->is_string() ? std::string(value->get_string()) : ""; }

std::vector<std::string> texts(const json::value* value) {
  std::vector<std::string> out;
  if (value && value->is_array())
    for (const auto& item : value->get_array()) out.push_back(text(&item));
  return out;
}

Result<std::string> blob_path(const std::string& layout, const std::string& digest) {
  if (digest.size() != 71 || !digest.starts_with("sha256:") || digest.find_first_not_of("0123456789abcdef", 7) != std::string::npos)
    return make_error(Code::kInvalid, "image layout: digest \"" + digest.substr(0, 80) + "\" is not sha256");
  return layout + "/blobs/sha256/" + digest.substr(7);
}

Result<json::value> read_json(const std::string& path) {
  FW_ASSIGN(const std::string content, sys::read_file(path, 8 << 20));
  boost::system::error_code ec;
  json::value value = json::parse(content, ec);
  if (ec) return make_error(Code::kInvalid, path + ": " + ec.message());
  return value;
}

// From an index to the manifest for this machine, through nested indexes.
Result<std::string> manifest_digest(const std::string& layout, const json::value& index, int depth = 0) {
  const json::value* manifests = field(&index, "manifests");
  if (!manifests || !manifests->is_array() || manifests->get_array().empty() || depth > 4)
    return make_error(Code::kInvalid, layout + ": the index names no manifest");
  const json::value* chosen = nullptr;
  for (const auto& manifest : manifests->get_array()) {
    const std::string arch = text(field(field(&manifest, "platform"), "architecture"));
    if (arch == kArchitecture || (arch.empty() && !chosen)) chosen = &manifest;
  }
  if (!chosen) return make_error(Code::kNotFound, "no matching manifest for linux/" + std::string(kArchitecture));
  const std::string digest = text(field(chosen, "digest"));
  if (text(field(chosen, "mediaType")).find("index") == std::string::npos &&
      text(field(chosen, "mediaType")).find("manifest.list") == std::string::npos)
    return digest;
  FW_ASSIGN(const std::string path, blob_path(layout, digest));
  FW_ASSIGN(const json::value inner, read_json(path));
  return manifest_digest(layout, inner, depth + 1);
}

// A layer's ".wh.NAME" files say what it removes; overlayfs says it with 0/0 devices and an xattr.
Status convert_whiteouts(const fs::path& root) {
  std::vector<fs::path> marks;
  for (const auto& entry : fs::recursive_directory_iterator(root))
    if (entry.path().filename().string().starts_with(".wh.")) marks.push_back(entry.path());
  for (const fs::path& mark : marks) {
    std::error_code ec;
    fs::remove_all(mark, ec);
    const std::string name = mark.filename().string();
    if (name == ".wh..wh..opq") {
      if (::setxattr(mark.parent_path().c_str(), "trusted.overlay.opaque", "y", 1, 0) < 0)
        return errno_error(errno, "mark opaque " + mark.parent_path().string());
    } else if (!name.starts_with(".wh..wh.")) {
      const fs::path target = mark.parent_path() / name.substr(4);
      fs::remove_all(target, ec);
      if (::mknod(target.c_str(), S_IFCHR, makedev(0, 0)) < 0) return errno_error(errno, "white out " + target.string());
    }
  }
  return {};
}

Result<std::string> unpack_layer(const std::string& layout, const std::string& digest, const std::string& layers_dir) {
  FW_ASSIGN(const std::string blob, blob_path(layout, digest));
  const std::string folder = digest.substr(7, 16);
  const fs::path final_path = fs::path(layers_dir) / folder;
  if (fs::exists(final_path)) return folder;
  const fs::path temporary = fs::path(layers_dir) / (folder + ".tmp." + std::to_string(::gettid()));
  std::error_code ec;
  fs::remove_all(temporary, ec);
  fs::create_directories(temporary, ec);
  // tar finds the compression by itself from a file; it neither follows links of the archive nor leaves the folder.
  Status status;
  if (auto out = sys::run_ok({"tar", "--extract", "--numeric-owner", "--preserve-permissions", "--xattrs", "--delay-directory-restore",
                              "--file", blob, "--directory", temporary.string(), "--exclude=./dev/*", "--exclude=dev/*"},
                             "", std::chrono::minutes(5));
      !out.ok())
    status = std::move(out).error().with_context("unpack layer " + digest);
  if (status.ok()) {
    try {
      status = convert_whiteouts(temporary);
    } catch (const fs::filesystem_error& error) { status = make_error(Code::kIo, error.what()); }
  }
  if (status.ok()) {
    fs::rename(temporary, final_path, ec);
    if (ec && !fs::exists(final_path)) status = make_error(Code::kIo, "rename layer: " + ec.message());
  }
  fs::remove_all(temporary, ec);
  if (!status.ok()) return std::move(status).error();
  return folder;
}

ImageConfig parse_config(const json::value& document) {
  const json::value* config = field(&document, "config");
  ImageConfig out;
  out.entrypoint = texts(field(config, "Entrypoint"));
  out.command = texts(field(config, "Cmd"));
  out.env = texts(field(config, "Env"));
  out.working_dir = text(field(config, "WorkingDir"));
  out.user = text(field(config, "User"));
  out.stop_signal = text(field(config, "StopSignal"));
  return out;
}

}  // namespace

Result<Image> unpack_oci_layout(const std::string& layout, const std::string& layers_dir, const std::string& repository) {
  FW_ASSIGN(const json::value index, read_json(layout + "/index.json"));
  FW_ASSIGN(const std::string digest, manifest_digest(layout, index));
  FW_ASSIGN(const std::string manifest_path, blob_path(layout, digest));
  FW_ASSIGN(const json::value manifest, read_json(manifest_path));
  FW_ASSIGN(const std::string config_path, blob_path(layout, text(field(field(&manifest, "config"), "digest"))));
  FW_ASSIGN(const json::value config, read_json(config_path));
  Image image;
  image.config = parse_config(config);
  image.id = repository + "@" + digest;
  const json::value* layers = field(&manifest, "layers");
  if (!layers || !layers->is_array()) return make_error(Code::kInvalid, layout + ": the manifest has no layers");
  for (const auto& layer : layers->get_array()) {
    FW_ASSIGN(std::string folder, unpack_layer(layout, text(field(&layer, "digest")), layers_dir));
    if (std::find(image.layers.begin(), image.layers.end(), folder) == image.layers.end())
      image.layers.insert(image.layers.begin(), std::move(folder));
  }
  return image;
}

}  // namespace fairway::runtime
