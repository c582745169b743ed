#include "runtime/images_builder.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <map>
#include <set>
#include <sstream>

#include "runtime/images_elf.h"
#include "sys/file.h"
#include "sys/process.h"

namespace fairway::runtime {

namespace fs = std::filesystem;

std::string sha256_hex(std::string_view text) {
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha256(), nullptr);
  static constexpr char kHex[] = "0123456789abcdef";
  std::string out;
  for (unsigned i = 0; i < size; ++i) {
    out += kHex[digest[i] >> 4];
    out += kHex[digest[i] & 15];
  }
  return out;
}

constexpr char kBuilderVersion[] = "4";  // changes when the same recipe would give another layer

std::string layer_maker(const std::string& agnhost) {
  struct stat st {};
  ::stat(agnhost.c_str(), &st);
  return std::string(kBuilderVersion) + "," + std::to_string(st.st_size) + "," + std::to_string(st.st_mtim.tv_sec);
}

namespace {
constexpr std::string_view kMerged[] = {"/bin", "/sbin", "/lib", "/lib64"};
}

std::string path_in_layer(std::string_view path) {
  for (const std::string_view top : kMerged)
    if (path.starts_with(top) && (path.size() == top.size() || path[top.size()] == '/')) return "usr" + std::string(path);
  return std::string(path.substr(1));
}

namespace {

bool merged_folder(std::string_view in_layer) {
  return std::ranges::any_of(kMerged, [&](std::string_view top) { return in_layer.starts_with("usr/") && in_layer.substr(3) == top; });
}

constexpr const char* kLibraryDirs[] = {"usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib64", "usr/lib"};

// One layer being made.
class Build {
 public:
  Build(const LayerRecipe& recipe, fs::path dir, fs::path into, std::string agnhost)
      : recipe_(recipe), dir_(std::move(dir)), into_(std::move(into)), agnhost_(std::move(agnhost)) {}

  Status run(const std::map<std::string, std::string>& installed) {
    if (recipe_.usr_merge)
      for (const char* name : {"bin", "sbin", "lib", "lib64"}) {
        fs::create_directories(into_ / "usr" / name);
        fs::create_directory_symlink(std::string("usr/") + name, into_ / name);
      }
    std::vector<std::string> missing;
    for (const auto& package : recipe_.packages) {
      if (installed.contains(package)) {
        FW_TRY(copy_installed(package));
      } else {
        missing.push_back(package);
      }
    }
    for (const auto& package : recipe_.optional_packages)
      if (installed.contains(package)) FW_TRY(copy_installed(package));
    if (!missing.empty()) FW_TRY(copy_downloaded(missing));
    FW_TRY(copy_libraries());
    FW_TRY(failure_);
    if (recipe_.busybox_applets) FW_TRY(link_applets());
    if (recipe_.own_program) FW_TRY(copy_own_program());
    for (const auto& [path, from] : recipe_.copies)
      if (fs::exists(from)) {
        fs::create_directories((into_ / path).parent_path());
        fs::copy_file(from, into_ / path, fs::copy_options::overwrite_existing);
      }
    for (const auto& file : recipe_.files) FW_TRY(write(file));
    for (const auto& [path, target] : recipe_.links) {
      fs::create_directories((into_ / path).parent_path());
      fs::remove(into_ / path);
      fs::create_symlink(target, into_ / path);
    }
    return {};
  }

 private:
  static bool wanted(const std::string& path, bool pristine) {
    for (const std::string_view prefix : {"/usr/share/doc", "/usr/share/man", "/usr/share/locale", "/usr/share/lintian", "/usr/share/info",
                                          "/usr/share/bash-completion", "/usr/share/bug", "/lib/systemd", "/usr/lib/systemd", "/var",
                                          "/usr/share/nginx", "/usr/share/gdb", "/usr/share/zsh", "/usr/share/perl5"})
      if (path.starts_with(prefix)) return false;
    // The machine's own settings are nobody's image: /etc only from a package as it was packed.
    return pristine || !path.starts_with("/etc");
  }

  void copy(const fs::path& from, const std::string& path) {
    std::error_code ec;
    const auto status = fs::symlink_status(from, ec);
    const fs::path to = into_ / path;
    // Packages list /bin, /sbin and so on as folders of theirs; on the machine they are links into /usr.
    if (fs::is_directory(status) || merged_folder(path)) {
      fs::create_directories(to, ec);
      return;
    }
    if (fs::exists(fs::symlink_status(to, ec))) return;
    fs::create_directories(to.parent_path(), ec);
    if (fs::is_symlink(status)) {
      fs::copy_symlink(from, to, ec);
      return;
    }
    if (!fs::is_regular_file(status)) return;
    fs::copy_file(from, to, ec);
    if (ec && failure_.ok()) failure_ = make_error(Code::kIo, "copy " + from.string() + ": " + ec.message());
    struct stat st {};
    if (::stat(from.c_str(), &st) == 0) ::chmod(to.c_str(), st.st_mode & 07777);
    if (elf_needs(to).is_elf) programs_.push_back(to);
  }

  Status copy_installed(const std::string& package) {
    FW_ASSIGN(const std::string list, sys::run_ok({"dpkg-query", "--listfiles", package}));
    std::istringstream lines(list);
    for (std::string path; std::getline(lines, path);)
      if (path.size() > 1 && path[0] == '/' && wanted(path, false)) copy(path, path_in_layer(path));
    return {};
  }

  Status copy_downloaded(const std::vector<std::string>& packages) {
    const fs::path archives = dir_ / "debs" / ("p" + std::to_string(::gettid()) + "." + recipe_.name);
    fs::create_directories(archives / "partial");
    // clang-format off
    std::vector<std::string> argv{
        "apt-get", "-qq", "-y", "--no-install-recommends", "--download-only", "-o", "Debug::NoLocking=1",
        "-o", "Dir::Cache::archives=" + archives.string(), "-o", "Acquire::Retries=1", "-o", "Acquire::http::Timeout=5",
        "-o", "APT::Sandbox::User=root", "install"};
    // clang-format on
    argv.insert(argv.end(), packages.begin(), packages.end());
    auto downloaded = sys::run_ok(argv, "", std::chrono::seconds(90));
    Status status;
    if (!downloaded.ok()) {
      std::string names;
      for (const auto& package : packages) names += (names.empty() ? "" : " ") + package;
      status =
          std::move(downloaded).error().with_context("the machine has not installed, and could not download, the Debian packages " + names);
    } else {
      status = unpack_archives(archives);
    }
    std::error_code ec;
    fs::remove_all(archives, ec);
    return status;
  }

  Status unpack_archives(const fs::path& archives) {
    const fs::path tree = archives / "tree";
    for (const auto& entry : fs::directory_iterator(archives)) {
      if (entry.path().extension() != ".deb") continue;
      fs::create_directories(tree);
      FW_TRY(sys::run_ok({"dpkg-deb", "-x", entry.path().string(), tree.string()}));
    }
    if (!fs::exists(tree)) return make_error(Code::kInternal, "apt-get downloaded nothing");
    for (const auto& entry : fs::recursive_directory_iterator(tree)) {
      const std::string path = "/" + entry.path().lexically_relative(tree).string();  // fs::relative would follow a link
      if (wanted(path, true)) copy(entry.path(), path_in_layer(path));
    }
    return {};
  }

  // Breadth first over what the programs need, from the layer itself, else from the machine.
  Status copy_libraries() {
    std::set<std::string> seen;
    for (std::size_t i = 0; i < programs_.size(); ++i) {
      const ElfNeeds needs = elf_needs(programs_[i]);
      if (!needs.interpreter.empty() && seen.insert(needs.interpreter).second) copy_with_links(needs.interpreter);
      for (const auto& library : needs.libraries)
        if (library.find('/') == std::string::npos && seen.insert(library).second) find_library(library);
    }
    return {};
  }

  void find_library(const std::string& name) {
    std::error_code ec;
    for (const char* dir : kLibraryDirs)
      if (fs::exists(fs::symlink_status(into_ / dir / name, ec))) return;
    for (const char* dir : kLibraryDirs)
      if (fs::exists(fs::path("/") / dir / name)) return copy_with_links("/" + std::string(dir) + "/" + name);
  }

  // A library's name is a link to its file: both are needed.
  void copy_with_links(std::string path) {
    for (int depth = 0; depth < 8; ++depth) {
      std::error_code ec;
      const std::string in_layer = path_in_layer(path);
      if (!fs::is_symlink(fs::symlink_status(path, ec))) {
        copy(path, in_layer);
        return;
      }
      const fs::path target = fs::read_symlink(path, ec);
      fs::create_directories((into_ / in_layer).parent_path(), ec);
      if (!fs::exists(fs::symlink_status(into_ / in_layer, ec))) fs::create_symlink(target, into_ / in_layer, ec);
      path = (target.is_absolute() ? target : fs::path(path).parent_path() / target).lexically_normal().string();
    }
  }

  Status link_applets() {
    const fs::path busybox = into_ / "usr/bin/busybox";
    FW_ASSIGN(const std::string list, sys::run_ok({busybox.string(), "--list"}));
    std::istringstream names(list);
    std::error_code ec;
    for (std::string name; std::getline(names, name);)
      if (!name.empty() && name.find('/') == std::string::npos && name != "busybox")
        fs::create_symlink("busybox", into_ / "usr/bin" / name, ec);
    return {};
  }

  Status copy_own_program() {
    std::error_code ec;
    fs::copy_file(agnhost_, into_ / "agnhost", ec);
    if (ec) return make_error(Code::kNotFound, "copy " + agnhost_ + ": " + ec.message());
    ::chmod((into_ / "agnhost").c_str(), 0755);
    fs::create_symlink("agnhost", into_ / "pause", ec);
    return {};
  }

  Status write(const RecipeFile& file) {
    const fs::path to = into_ / file.path;
    std::error_code ec;
    fs::create_directories(to.parent_path(), ec);
    if (file.mode & S_IFDIR) {
      fs::create_directories(to, ec);
    } else {
      fs::remove(to, ec);
      FW_TRY(sys::write_file_atomic(to, file.content, 0644));
    }
    if (::chown(to.c_str(), file.uid, file.gid) < 0 || ::chmod(to.c_str(), file.mode & 07777) < 0)
      return errno_error(errno, "set mode of " + file.path);
    return {};
  }

  const LayerRecipe& recipe_;
  fs::path dir_, into_;
  std::string agnhost_;
  std::vector<fs::path> programs_;
  Status failure_;  // the first file that could not be copied
};

// Of the recipe's packages, those that dpkg has unpacked here, with their versions.
Result<std::map<std::string, std::string>> installed_packages(const LayerRecipe& recipe) {
  std::map<std::string, std::string> out;
  std::vector<std::string> argv{"dpkg-query", "--show", "--showformat=${binary:Package} ${db:Status-Status} ${Version}\n"};
  argv.insert(argv.end(), recipe.packages.begin(), recipe.packages.end());
  argv.insert(argv.end(), recipe.optional_packages.begin(), recipe.optional_packages.end());
  if (argv.size() == 3) return out;
  FW_ASSIGN(const sys::RunResult result, sys::run(argv));  // exits with 1 where one is unknown, and lists the others
  std::istringstream lines(result.out);
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string name, status, version;  // a package that dpkg only knows by name has no version
    if (words >> name >> status >> version && status == "installed") out[name.substr(0, name.find(':'))] = version;
  }
  return out;
}

std::string recipe_text(const LayerRecipe& recipe, const std::map<std::string, std::string>& installed, const std::string& agnhost) {
  std::ostringstream text;
  text << kBuilderVersion << recipe.name << recipe.usr_merge << recipe.busybox_applets << recipe.own_program << "\n";
  for (const auto& package : recipe.packages) text << package << "\n";
  for (const auto& [name, version] : installed) text << name << "=" << version << "\n";
  for (const auto& file : recipe.files)
    text << file.path << " " << file.mode << " " << file.uid << " " << file.gid << " " << file.content << "\n";
  for (const auto& [path, target] : recipe.links) text << path << " " << target << "\n";
  for (const auto& [path, from] : recipe.copies) text << path << " " << from << "\n";
  if (recipe.own_program)
    if (auto program = sys::read_file(agnhost); program.ok()) text << sha256_hex(*program);
  return text.str();
}

}  // namespace

Result<LayerBuilder::Built> LayerBuilder::build(const LayerRecipe& recipe) {
  FW_ASSIGN(const auto installed, installed_packages(recipe));
  Built built;
  built.folder = sha256_hex(recipe_text(recipe, installed, agnhost_)).substr(0, 16);
  for (const auto& package : recipe.packages)
    built.versions += (built.versions.empty() ? "" : ", ") + package + (installed.contains(package) ? " " + installed.at(package) : "");
  const fs::path final_path = fs::path(dir_) / "layers" / built.folder;
  if (fs::exists(final_path)) return built;
  const fs::path temporary = fs::path(dir_) / "tmp" / (built.folder + "." + std::to_string(::getpid()) + "." + std::to_string(::gettid()));
  try {
    fs::remove_all(temporary);
    fs::create_directories(temporary);
    Status status = Build(recipe, dir_, temporary, agnhost_).run(installed);
    if (!status.ok()) {
      fs::remove_all(temporary);
      return std::move(status).error();
    }
    fs::create_directories(final_path.parent_path());
    ::chmod(temporary.c_str(), 0755);
    std::error_code ec;
    fs::rename(temporary, final_path, ec);  // another node's runtime may have been quicker
    if (ec && !fs::exists(final_path)) return make_error(Code::kIo, "rename layer " + recipe.name + ": " + ec.message());
    fs::remove_all(temporary, ec);
  } catch (const fs::filesystem_error& error) {
    std::error_code ec;
    fs::remove_all(temporary, ec);
    return make_error(Code::kIo, "layer " + recipe.name + ": " + error.what());
  }
  return built;
}

}  // namespace fairway::runtime
