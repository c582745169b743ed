#include "runtime/volumes.h"

#include <fcntl.h>
#include <linux/openat2.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>

#include "k8s/quantity.h"
#include "sys/fd.h"
#include "sys/file.h"

namespace fairway::runtime {

namespace fs = std::filesystem;

namespace {

std::string source_kind(const Json& volume) {
  if (!volume.is_object()) return "";
  for (const auto& [key, value] : volume.get_object())
    if (key != "name" && !value.is_null()) return std::string(key);
  return "emptyDir";
}

// Names within a volume come from outside: none may lead out of it.
bool safe_path(const std::string& path) {
  if (path.empty() || path.front() == '/' || path.size() > 1024) return false;
  for (const auto& part : fs::path(path))
    if (part == ".." || part == ".") return false;
  return true;
}

// The files that a configMap or secret source gives: all keys, or its items.
Status add_object_files(const Json& source, const std::string& kind, const std::string& name, unsigned default_mode,
                        const ConfigObjects& objects, std::vector<VolumeFile>& out) {
  const auto found = objects.find(kind + "/" + name);
  const std::string word = kind == "secrets" ? "secret" : "configmap";
  if (found == objects.end() || found->second.is_null()) {
    if (flag(source, "optional")) return {};
    return make_error(Code::kNotFound, word + " \"" + name + "\" not found");
  }
  std::map<std::string, std::string> data;
  for (const auto& [key, value] : object(found->second, "data"))
    if (value.is_string())
      data[std::string(key)] = kind == "secrets" ? base64_decode(std::string(value.get_string())) : std::string(value.get_string());
  for (const auto& [key, value] : object(found->second, "binaryData"))
    if (value.is_string()) data[std::string(key)] = base64_decode(std::string(value.get_string()));
  const JsonArray& items = array(source, "items");
  if (items.empty())
    for (auto& [key, value] : data) out.push_back({key, std::move(value), default_mode});
  for (const auto& item : items) {
    const std::string key = text(item, "key"), path = text(item, "path");
    const auto value = data.find(key);
    if (value == data.end()) {
      if (flag(source, "optional")) continue;
      return make_error(Code::kNotFound,
                        "references non-existent " + std::string(kind == "secrets" ? "secret" : "config") + " key: " + key);
    }
    out.push_back({path, value->second, static_cast<unsigned>(number(item, "mode", default_mode))});
  }
  return {};
}

Status add_downward_files(const Json& source, const PodFacts& facts, unsigned default_mode, std::vector<VolumeFile>& out) {
  for (const auto& item : array(source, "items")) {
    VolumeFile file{.path = text(item, "path"), .content = "", .mode = static_cast<unsigned>(number(item, "mode", default_mode))};
    if (const Json* ref = member(item, "fieldRef")) {
      FW_ASSIGN(file.content, pod_field(facts, text(*ref, "fieldPath")));
    } else if (const Json* resource = member(item, "resourceFieldRef")) {
      const std::string name = text(*resource, "containerName");
      for (const auto& container : array(*facts.pod, "spec.containers"))
        if (text(container, "name") == name) {
          FW_ASSIGN(file.content, resource_field(facts, container, text(*resource, "resource"), text(*resource, "divisor")));
        }
    }
    out.push_back(std::move(file));
  }
  return {};
}

Status add_projected_files(const Json& projected, const PodFacts& facts, const ConfigObjects& objects, const TokenFiles& token,
                           std::vector<VolumeFile>& out) {
  const auto mode = static_cast<unsigned>(number(projected, "defaultMode", 0644));
  for (const auto& source : array(projected, "sources")) {
    if (const Json* s = member(source, "configMap")) {
      // Every cluster has it; where the API server keeps none, the runtime knows what is in it.
      if (const std::string name = text(*s, "name");
          name == "kube-root-ca.crt" && (!objects.contains("configmaps/" + name) || objects.at("configmaps/" + name).is_null())) {
        out.push_back({"ca.crt", token.ca_pem, mode});
      } else {
        FW_TRY(add_object_files(*s, "configmaps", text(*s, "name"), mode, objects, out));
      }
    }
    if (const Json* s = member(source, "secret")) FW_TRY(add_object_files(*s, "secrets", text(*s, "name"), mode, objects, out));
    if (const Json* s = member(source, "downwardAPI")) FW_TRY(add_downward_files(*s, facts, mode, out));
    if (const Json* s = member(source, "serviceAccountToken")) out.push_back({text(*s, "path", "token"), token.token, mode});
  }
  return {};
}

Status chown_group(const fs::path& path, std::int64_t fs_group) {
  if (fs_group >= 0 && ::lchown(path.c_str(), static_cast<uid_t>(-1), static_cast<gid_t>(fs_group)) < 0)
    return errno_error(errno, "chown " + path.string());
  return {};
}

Result<std::string> empty_dir(const std::string& path, const Json& volume, std::int64_t fs_group) {
  std::error_code ec;
  const bool fresh = fs::create_directories(path, ec);
  if (ec) return make_error(Code::kIo, "create " + path + ": " + ec.message());
  if (fresh && text(volume, "emptyDir.medium") == "Memory") {
    std::string options = "mode=0777";
    if (const std::string limit = text(volume, "emptyDir.sizeLimit"); !limit.empty()) {
      const auto milli = k8s::parse_quantity_milli(limit);
      if (!milli) {
        fs::remove(path, ec);
        return make_error(Code::kInvalid, "emptyDir.sizeLimit: \"" + limit.substr(0, 64) + "\" is no size");
      }
      options += ",size=" + std::to_string(*milli / 1000 + (*milli % 1000 != 0 ? 1 : 0));
    }
    if (::mount("tmpfs", path.c_str(), "tmpfs", MS_NOSUID | MS_NODEV, options.c_str()) < 0) {
      const Error why = errno_error(errno, "mount tmpfs at " + path);
      fs::remove(path, ec);  // the next try mounts again, and takes no folder of the disk for it
      return why;
    }
  }
  if (!fresh) return path;
  FW_TRY(chown_group(path, fs_group));
  if (::chmod(path.c_str(), fs_group >= 0 ? 02777 : 0777) < 0) return errno_error(errno, "chmod " + path);
  return path;
}

// https://kubernetes.io/docs/concepts/storage/volumes/#hostpath-volume-types
Result<std::string> host_path(const Json& volume) {
  const std::string path = text(volume, "hostPath.path"), type = text(volume, "hostPath.type");
  std::error_code ec;
  if (type == "DirectoryOrCreate") fs::create_directories(path, ec);
  if (type == "FileOrCreate" && !fs::exists(path, ec)) FW_TRY(sys::write_file_atomic(path, "", 0644));
  const auto status = fs::status(path, ec);
  if (type.empty() && !fs::exists(status)) {
    fs::create_directories(path, ec);
    return path;
  }  // as the container runtimes do
  const bool fits = type.empty() || ((type == "Directory" || type == "DirectoryOrCreate") && fs::is_directory(status)) ||
                    ((type == "File" || type == "FileOrCreate") && fs::is_regular_file(status)) ||
                    (type == "Socket" && fs::is_socket(status)) || (type == "CharDevice" && fs::is_character_file(status)) ||
                    (type == "BlockDevice" && fs::is_block_file(status));
  if (!fits) return make_error(Code::kInvalid, "hostPath type check failed: " + path + " is not a " + type);
  return path;
}

}  // namespace

std::vector<std::string> volume_references(const Json& pod) {
  std::vector<std::string> out;
  const auto add = [&](const char* kind, const std::string& name) {
    if (!name.empty()) out.push_back(std::string(kind) + "/" + name);
  };
  for (const auto& volume : array(pod, "spec.volumes")) {
    add("configmaps", text(volume, "configMap.name"));
    add("secrets", text(volume, "secret.secretName"));
    for (const auto& source : array(volume, "projected.sources")) {
      add("configmaps", text(source, "configMap.name"));
      add("secrets", text(source, "secret.name"));
    }
  }
  return out;
}

Result<std::vector<VolumeFile>> volume_files(const PodFacts& facts, const Json& volume, const ConfigObjects& objects,
                                             const TokenFiles& token) {
  std::vector<VolumeFile> out;
  const std::string kind = source_kind(volume);
  const Json empty(JsonObject{});
  const Json* source = member(volume, kind);
  if (!source) source = &empty;
  const auto mode = static_cast<unsigned>(number(*source, "defaultMode", 0644));
  if (kind == "configMap") FW_TRY(add_object_files(*source, "configmaps", text(*source, "name"), mode, objects, out));
  if (kind == "secret") FW_TRY(add_object_files(*source, "secrets", text(*source, "secretName"), mode, objects, out));
  if (kind == "downwardAPI") FW_TRY(add_downward_files(*source, facts, mode, out));
  if (kind == "projected") FW_TRY(add_projected_files(*source, facts, objects, token, out));
  for (const auto& file : out)
    if (!safe_path(file.path)) return make_error(Code::kInvalid, "path \"" + file.path.substr(0, 100) + "\" leads out of the volume");
  return out;
}

Status write_volume_files(const std::string& dir, const std::vector<VolumeFile>& files, std::int64_t fs_group) {
  std::error_code ec;
  fs::create_directories(dir, ec);
  const fs::path root(dir), data = root / "..data";
  bool same = fs::exists(data, ec);
  std::size_t there = 0;
  if (same)
    for (const auto& entry : fs::recursive_directory_iterator(data, ec)) there += entry.is_regular_file();
  same = same && there == files.size();
  for (const auto& file : files) {
    if (!same) break;
    auto old = sys::read_file(data / file.path);
    same = old.ok() && *old == file.content;
  }
  if (same) return {};
  const fs::path old_target = fs::read_symlink(data, ec);
  const std::string folder = "..v" + std::to_string(now_unix_ns());
  for (const auto& file : files) {
    const fs::path to = root / folder / file.path;
    fs::create_directories(to.parent_path(), ec);
    FW_TRY(sys::write_file_atomic(to, file.content, (file.mode & 0777) | (fs_group >= 0 ? 0040 : 0)));
    FW_TRY(chown_group(to, fs_group));
  }
  fs::create_directories(root / folder, ec);
  fs::create_directory_symlink(folder, root / "..data_tmp", ec);
  fs::rename(root / "..data_tmp", data, ec);
  if (ec) return make_error(Code::kIo, "update volume " + dir + ": " + ec.message());
  for (const auto& file : files) {
    const std::string top = fs::path(file.path).begin()->string();
    if (!fs::is_symlink(root / top)) fs::create_symlink(fs::path("..data") / top, root / top, ec);
  }
  for (const auto& entry : fs::directory_iterator(root, ec)) {  // names that the update took away
    const std::string name = entry.path().filename().string();
    if (!name.starts_with("..") && !fs::exists(entry.path(), ec)) fs::remove(entry.path(), ec);
  }
  if (!old_target.empty() && old_target != folder) fs::remove_all(root / old_target, ec);
  return {};
}

Result<std::string> setup_volume(const VolumeSetup& setup, const Json& volume) {
  const std::string kind = source_kind(volume), name = text(volume, "name");
  if (!safe_path(name) || name.find('/') != std::string::npos)
    return make_error(Code::kInvalid, "volume name \"" + name.substr(0, 64) + "\"");
  const std::string path = setup.pod_dir + "/volumes/" + name;
  const std::int64_t fs_group = number(*setup.facts.pod, "spec.securityContext.fsGroup", -1);
  if (kind == "emptyDir") return empty_dir(path, volume, fs_group);
  if (kind == "hostPath") return host_path(volume);
  if (kind != "configMap" && kind != "secret" && kind != "downwardAPI" && kind != "projected")
    return make_error(Code::kUnsupported, "no volume plugin matched: the lab's nodes have no \"" + kind + "\" volumes");
  FW_ASSIGN(const auto files, volume_files(setup.facts, volume, *setup.objects, setup.token));
  FW_TRY(write_volume_files(path, files, fs_group));
  return path;
}

void release_volumes(const std::string& pod_dir) {
  std::error_code ec;
  for (const auto& entry : fs::directory_iterator(pod_dir + "/volumes", ec)) {
    while (::umount2(entry.path().c_str(), MNT_DETACH | UMOUNT_NOFOLLOW) == 0) {}
  }
}

Result<std::string> resolve_sub_path(const std::string& volume_path, const std::string& sub_path) {
  if (sub_path.empty()) return volume_path;
  if (!safe_path(sub_path)) return make_error(Code::kInvalid, "subPath \"" + sub_path.substr(0, 100) + "\" leads out of the volume");
  sys::Fd at(::open(volume_path.c_str(), O_PATH | O_CLOEXEC));
  if (!at) return errno_error(errno, "open volume " + volume_path);
  open_how how{.flags = O_PATH | O_CLOEXEC, .mode = 0, .resolve = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS};
  const auto open_below = [&](const std::string& path) {
    return sys::Fd(static_cast<int>(::syscall(SYS_openat2, at.get(), path.c_str(), &how, sizeof how)));
  };
  sys::Fd found = open_below(sub_path);
  if (!found && errno == ENOENT) {
    fs::path so_far;
    for (const auto& part : fs::path(sub_path)) {
      const fs::path parent = so_far;
      so_far /= part;
      if (open_below(so_far.string())) continue;
      sys::Fd in = open_below(parent.empty() ? "." : parent.string());
      if (!in || ::mkdirat(in.get(), part.c_str(), 0777) < 0) return errno_error(errno, "create subPath " + sub_path);
    }
    found = open_below(sub_path);
  }
  if (!found) return errno_error(errno, "subPath " + sub_path);
  std::error_code ec;
  const fs::path real = fs::read_symlink("/proc/self/fd/" + std::to_string(found.get()), ec);
  if (ec) return make_error(Code::kIo, "subPath " + sub_path + ": " + ec.message());
  return real.string();
}

}  // namespace fairway::runtime
