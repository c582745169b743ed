#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <filesystem>

#include "io/http.h"
#include "runtime/images.h"
#include "runtime/images_builder.h"
#include "runtime/images_catalogue.h"
#include "runtime/images_oci.h"
#include "sys/fd.h"
#include "sys/file.h"
#include "sys/process.h"

namespace fairway::runtime {

namespace fs = std::filesystem;
namespace json = boost::json;

namespace {

constexpr auto kProbeDeadline = std::chrono::seconds(2);
constexpr auto kFreshFor = std::chrono::seconds(60);
constexpr auto kUnreachableFor = std::chrono::seconds(60);

json::array to_json(const std::vector<std::string>& items) { return json::array(items.begin(), items.end()); }

std::vector<std::string> texts(const json::object& object, std::string_view name) {
  std::vector<std::string> out;
  if (const auto* value = object.if_contains(name); value && value->is_array())
    for (const auto& item : value->get_array())
      if (item.is_string()) out.emplace_back(item.get_string());
  return out;
}

std::string text(const json::object& object, std::string_view name) {
  const auto* value = object.if_contains(name);
  return value && value->is_string() ? std::string(value->get_string()) : "";
}

// Held while an image is being made: the other runtimes of the machine wait for it.
Result<sys::Fd> lock_image(const std::string& dir, const std::string& name) {
  std::error_code ec;
  fs::create_directories(dir + "/locks", ec);
  sys::Fd fd(::open((dir + "/locks/" + io::percent_encode(name)).c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) return errno_error(errno, "lock of image " + name + " in " + dir);
  struct flock whole {
    .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = 0, .l_len = 0, .l_pid = 0
  };
  while (::fcntl(fd.get(), F_OFD_SETLKW, &whole) < 0)
    if (errno != EINTR) return errno_error(errno, "lock image " + name);
  return fd;
}

bool connects(const sockaddr* address, socklen_t size) {
  sys::Fd fd(::socket(address->sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!fd) return false;
  if (::connect(fd.get(), address, size) == 0) return true;
  if (errno != EINPROGRESS) return false;
  pollfd p{fd.get(), POLLOUT, 0};
  int error = 1;
  socklen_t length = sizeof error;
  return ::poll(&p, 1, 1000) > 0 && ::getsockopt(fd.get(), SOL_SOCKET, SO_ERROR, &error, &length) == 0 && error == 0;
}

}  // namespace

ImageStore::ImageStore(ImageStoreConfig config) : config_(std::move(config)) {
  if (const char* value = ::getenv("FAIRWAY_REGISTRY"); value && std::string_view(value) == "off") config_.use_registry = false;
}

std::string ImageStore::record_path(const std::string& name) const { return config_.dir + "/images/" + io::percent_encode(name) + ".json"; }
std::string ImageStore::oci_path(const std::string& name) const { return config_.dir + "/oci/" + io::percent_encode(name); }

Result<Image> ImageStore::find(const std::string& reference) const {
  FW_ASSIGN(const ImageReference ref, parse_image_reference(reference));
  FW_ASSIGN(const std::string content, sys::read_file(record_path(ref.name()), 1 << 20));
  boost::system::error_code ec;
  const json::value value = json::parse(content, ec);
  if (ec || !value.is_object()) return make_error(Code::kNotFound, "record of image " + ref.name() + " is damaged");
  const json::object& o = value.get_object();
  if (text(o, "maker") != layer_maker(config_.agnhost))
    return make_error(Code::kNotFound, "image " + ref.name() + " was made by another Fairway");
  Image image{.name = ref.name(), .id = text(o, "id"), .source = text(o, "source"), .layers = texts(o, "layers")};
  image.config = {.entrypoint = texts(o, "entrypoint"),
                  .command = texts(o, "command"),
                  .env = texts(o, "env"),
                  .working_dir = text(o, "workingDir"),
                  .user = text(o, "user"),
                  .stop_signal = text(o, "stopSignal")};
  for (const auto& layer : image.layers)
    if (!fs::exists(layers_dir() + "/" + layer))
      return make_error(Code::kNotFound, "image " + ref.name() + ": layer " + layer + " is gone");
  if (image.layers.empty()) return make_error(Code::kNotFound, "image " + ref.name() + " has no layers");
  return image;
}

Status ImageStore::save(const Image& image) const {
  std::error_code ec;
  fs::create_directories(config_.dir + "/images", ec);
  json::object o{{"maker", layer_maker(config_.agnhost)},
                 {"id", image.id},
                 {"source", image.source},
                 {"layers", to_json(image.layers)},
                 {"entrypoint", to_json(image.config.entrypoint)},
                 {"command", to_json(image.config.command)},
                 {"env", to_json(image.config.env)},
                 {"workingDir", image.config.working_dir},
                 {"user", image.config.user},
                 {"stopSignal", image.config.stop_signal}};
  return sys::write_file_atomic(record_path(image.name), json::serialize(o));
}

Result<Image> ImageStore::pull(const std::string& reference) {
  FW_ASSIGN(const ImageReference ref, parse_image_reference(reference));
  // Hundreds of pods with policy Always start together: what was pulled a moment ago is not pulled again.
  if (auto fresh = find_fresh(reference); fresh.ok()) return fresh;
  FW_ASSIGN(const sys::Fd lock, lock_image(config_.dir, ref.name()));
  if (auto fresh = find_fresh(reference); fresh.ok()) return fresh;  // by whom we waited for
  FW_ASSIGN(Image image, pull_locked(ref));
  image.name = ref.name();
  FW_TRY(save(image));
  return image;
}

Result<Image> ImageStore::find_fresh(const std::string& reference) const {
  FW_ASSIGN(Image image, find(reference));
  struct stat st {};
  if (::stat(record_path(image.name).c_str(), &st) < 0 || ::time(nullptr) - st.st_mtime >= kFreshFor.count())
    return make_error(Code::kNotFound, "pulled too long ago");
  return image;
}

Result<Image> ImageStore::pull_locked(const ImageReference& ref) {
  if (const std::string layout = oci_path(ref.name()); fs::exists(layout + "/index.json")) {
    FW_ASSIGN(Image image, unpack_oci_layout(layout, layers_dir(), ref.registry + "/" + ref.repository));
    image.source = "local store";
    return image;
  }
  std::string why_not;
  if (!config_.use_registry) {
    why_not = "registries are turned off (FAIRWAY_REGISTRY=off)";
  } else if (!registry_reachable(ref.registry)) {
    why_not = no_registry_reason_;
  } else if (auto image = from_registry(ref); image.ok()) {
    return image;
  } else {
    why_not = image.error().message;
  }
  const CatalogueImage* entry = ref.digest.empty() ? find_in_catalogue(ref.registry, ref.repository) : nullptr;
  if (!entry) {
    std::string names;
    for (const auto& name : catalogue_names()) names += (names.empty() ? "" : ", ") + name;
    return make_error(Code::kNotFound, "failed to pull and unpack image \"" + ref.name() + "\": not in the local store; " + why_not +
                                           "; not in the catalogue (" + names + ")");
  }
  Image image{.config = entry->config};
  std::string made_of, digest_input;
  LayerBuilder builder(config_.dir, config_.agnhost);
  for (const LayerRecipe& recipe : entry->layers) {
    auto built = builder.build(recipe);
    if (!built.ok())
      return std::move(built).error().with_context("failed to pull and unpack image \"" + ref.name() + "\": " + why_not +
                                                   "; catalogue: layer " + recipe.name);
    image.layers.insert(image.layers.begin(), built->folder);
    digest_input += built->folder + "\n";
    if (&recipe == &entry->layers.back() || recipe.packages.size() == 1)
      made_of += (made_of.empty() || built->versions.empty() ? "" : ", ") + built->versions;
  }
  image.id = "catalogue://" + ref.repository + "@sha256:" + sha256_hex(digest_input);
  image.source = "catalogue: Debian packages" + (made_of.empty() ? std::string() : " " + made_of);
  return image;
}

// A machine without a network must hear so within seconds: a name lookup and a connection, each with a deadline,
// and the verdict kept for a minute for all of the machine's nodes.
bool ImageStore::registry_reachable(const std::string& registry) {
  if (::getenv("HTTPS_PROXY") || ::getenv("https_proxy")) return true;
  const std::string mark = config_.dir + "/unreachable." + io::percent_encode(registry);
  no_registry_reason_ = "registry " + registry + " cannot be reached from this machine";
  struct stat st {};
  if (::stat(mark.c_str(), &st) == 0 && ::time(nullptr) - st.st_mtime < kUnreachableFor.count()) return false;
  std::string host = registry == "docker.io" ? "registry-1.docker.io" : registry, port = "443";
  if (const auto colon = host.rfind(':'); colon != std::string::npos) {
    port = host.substr(colon + 1);
    host.resize(colon);
  }
  bool reachable = false;
  if (auto found = sys::run({"getent", "ahosts", host}, "", kProbeDeadline); found.ok() && found->exit_code == 0) {
    const std::string ip = found->out.substr(0, found->out.find(' '));
    addrinfo hints{}, *list = nullptr;
    hints.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV;
    hints.ai_socktype = SOCK_STREAM;
    if (::getaddrinfo(ip.c_str(), port.c_str(), &hints, &list) == 0) {
      reachable = connects(list->ai_addr, list->ai_addrlen);
      ::freeaddrinfo(list);
    }
  }
  std::error_code ec;
  if (reachable) {
    fs::remove(mark, ec);
  } else {
    fs::create_directories(config_.dir, ec);
    (void)sys::write_file_atomic(mark, no_registry_reason_ + "\n").ok();
  }
  return reachable;
}

Result<Image> ImageStore::from_registry(const ImageReference& ref) {
  const std::string layout = config_.dir + "/tmp/pull." + std::to_string(::gettid());
  std::error_code ec;
  fs::remove_all(layout, ec);
  fs::create_directories(config_.dir + "/tmp", ec);
  // skopeo takes a tag or a digest, not both.
  const std::string source = "docker://" + ref.registry + "/" + ref.repository + (ref.digest.empty() ? ":" + ref.tag : "@" + ref.digest);
  auto copied = sys::run_ok({"skopeo", "copy", "--quiet", "--override-os", "linux", source, "oci:" + layout + ":latest"}, "",
                            std::chrono::minutes(3));
  if (!copied.ok()) {
    fs::remove_all(layout, ec);
    return std::move(copied).error().with_context("registry " + ref.registry);
  }
  auto image = unpack_oci_layout(layout, layers_dir(), ref.registry + "/" + ref.repository);
  fs::remove_all(layout, ec);
  if (image.ok()) image->source = "registry " + ref.registry;
  return image;
}

Status ImageStore::import(const std::string& path, const std::string& reference) {
  FW_ASSIGN(const ImageReference ref, parse_image_reference(reference));
  FW_ASSIGN(const sys::Fd lock, lock_image(config_.dir, ref.name()));
  std::error_code ec;
  const std::string target = oci_path(ref.name()), temporary = target + ".tmp";
  fs::create_directories(config_.dir + "/oci", ec);
  fs::remove_all(temporary, ec);
  std::string source = "docker-archive:" + path;
  if (fs::is_directory(path)) {
    source = "oci:" + path;
  } else {
    FW_ASSIGN(const std::string members, sys::run_ok({"tar", "--list", "--file", path}));
    if (members.find("oci-layout") != std::string::npos) source = "oci-archive:" + path;
  }
  FW_TRY(sys::run_ok({"skopeo", "copy", "--quiet", source, "oci:" + temporary + ":latest"}, "", std::chrono::minutes(5)));
  fs::remove_all(target, ec);
  fs::rename(temporary, target, ec);
  if (ec) return make_error(Code::kIo, "rename " + temporary + ": " + ec.message());
  fs::remove(record_path(ref.name()), ec);  // the next pull unpacks it
  return {};
}

}  // namespace fairway::runtime
