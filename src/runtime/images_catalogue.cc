#include "runtime/images_catalogue.h"

#include <sys/stat.h>

#include <algorithm>

#include "runtime/images_files.h"

namespace fairway::runtime {
namespace {

constexpr char kPath[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

RecipeFile folder(std::string path, unsigned mode = 0755, unsigned uid = 0, unsigned gid = 0) {
  return {std::move(path), "", S_IFDIR | mode, uid, gid};
}

std::vector<RecipeFile> with_skeleton(std::vector<RecipeFile> files) {
  for (const char* path :
       {"dev", "etc", "proc", "sys", "run", "home", "mnt", "opt", "srv", "var", "var/lib", "var/cache", "var/log", "usr/local/bin"})
    files.push_back(folder(path));
  files.push_back(folder("root", 0700));
  files.push_back(folder("tmp", 01777));
  files.push_back(folder("var/tmp", 01777));
  files.push_back({"etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n"});
  return files;
}

LayerRecipe debian_layer() {
  LayerRecipe layer{.name = "debian"};
  layer.usr_merge = true;
  layer.packages = {"base-files",  "bash",   "coreutils", "dash",     "debianutils", "diffutils", "findutils",
                    "grep",        "gzip",   "hostname",  "libc-bin", "login",       "mawk",      "ncurses-base",
                    "ncurses-bin", "passwd", "sed",       "tar",      "util-linux"};
  layer.optional_packages = {"procps", "less"};
  layer.files = with_skeleton({{"etc/debian_version", std::string("bookworm, assembled by Fairway\n")}});
  layer.copies = {{"etc/passwd", "/usr/share/base-passwd/passwd.master"}, {"etc/group", "/usr/share/base-passwd/group.master"}};
  layer.links = {{"usr/bin/awk", "mawk"},
                 {"var/run", "/run"},
                 {"var/lock", "/run/lock"},
                 {"etc/os-release", "../usr/lib/os-release"},
                 {"usr/bin/pager", "more"}};
  return layer;
}

LayerRecipe busybox_layer() {
  LayerRecipe layer{.name = "busybox"};
  layer.usr_merge = true;
  layer.busybox_applets = true;
  layer.packages = {"busybox-static"};
  layer.files = with_skeleton({{"etc/passwd", kBusyboxPasswd}, {"etc/group", kBusyboxGroup}, {"etc/shadow", "root:*:::::::\n", 0640}});
  layer.links = {{"var/run", "/run"}};
  return layer;
}

LayerRecipe curl_tool_layer() {
  LayerRecipe layer{.name = "curl"};
  layer.packages = {"curl", "iputils-ping"};  // busybox's ping wants root
  layer.copies = {{"etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"}};
  return layer;
}

CatalogueImage nginx_image() {
  LayerRecipe layer{.name = "nginx"};
  layer.packages = {"nginx", "curl", "iputils-ping"};
  layer.copies = {{"etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"}};
  layer.files = {{"etc/nginx/nginx.conf", kNginxConf},
                 {"etc/nginx/conf.d/default.conf", kNginxDefaultConf},
                 {"etc/nginx/mime.types", kNginxMimeTypes},
                 {"usr/share/nginx/html/index.html", kNginxIndex},
                 {"usr/share/nginx/html/50x.html", kNginx50x},
                 {"docker-entrypoint.sh", kNginxEntrypoint, 0755},
                 folder("docker-entrypoint.d"),
                 folder("var/cache/nginx", 0755, 101, 101),
                 folder("var/log/nginx"),
                 folder("var/lib/nginx"),
                 folder("run"),
                 {"etc/passwd", std::string(kDebianPasswd) + "nginx:x:101:101:nginx user:/nonexistent:/bin/false\n"},
                 {"etc/group", std::string(kDebianGroup) + "nginx:x:101:\n"}};
  layer.links = {{"var/log/nginx/access.log", "/dev/stdout"}, {"var/log/nginx/error.log", "/dev/stderr"}};
  return {{"docker.io/library/nginx", "docker.io/nginxinc/nginx-unprivileged", "registry.k8s.io/e2e-test-images/nginx"},
          {debian_layer(), layer},
          {.entrypoint = {"/docker-entrypoint.sh"}, .command = {"nginx", "-g", "daemon off;"}, .env = {kPath}, .stop_signal = "SIGQUIT"}};
}

CatalogueImage curl_image() {
  LayerRecipe user{.name = "curl-user"};
  user.files = {{"etc/passwd", std::string(kBusyboxPasswd) + "curl_user:x:101:102:curl user:/home/curl_user:/bin/sh\n"},
                {"etc/group", std::string(kBusyboxGroup) + "curl_group:x:102:curl_user\n"},
                {"entrypoint.sh", kCurlEntrypoint, 0755},
                folder("home/curl_user", 0755, 101, 102)};
  return {{"docker.io/curlimages/curl", "quay.io/curl/curl"},
          {busybox_layer(), curl_tool_layer(), user},
          {.entrypoint = {"/entrypoint.sh"},
           .command = {"curl"},
           .env = {kPath, "CURL_CA_BUNDLE=/etc/ssl/certs/ca-certificates.crt"},
           .working_dir = "/home/curl_user",
           .user = "curl_user"}};
}

CatalogueImage busybox_image() {
  return {{"docker.io/library/busybox", "registry.k8s.io/e2e-test-images/busybox"}, {busybox_layer()}, {.command = {"sh"}, .env = {kPath}}};
}

CatalogueImage alpine_image() {
  LayerRecipe note{.name = "alpine-note"};
  note.files = {{"etc/os-release", kAlpineNote}, {"usr/sbin/apk", kNoApk, 0755}};
  return {{"docker.io/library/alpine"}, {busybox_layer(), note}, {.command = {"/bin/sh"}, .env = {kPath}}};
}

CatalogueImage debian_image() { return {{"docker.io/library/debian"}, {debian_layer()}, {.command = {"bash"}, .env = {kPath}}}; }

CatalogueImage netshoot_image() {
  LayerRecipe tools{.name = "netshoot"};
  tools.packages = {"curl", "bind9-dnsutils", "bind9-host", "iputils-ping", "iproute2", "tcpdump", "iperf3", "netcat-openbsd"};
  tools.optional_packages = {
      "procps",    "nmap", "socat",   "net-tools", "traceroute", "iptables", "nftables",          "mtr-tiny",       "ethtool",
      "conntrack", "jq",   "openssl", "strace",    "lsof",       "wget",     "iputils-tracepath", "iputils-arping", "bridge-utils"};
  tools.copies = {{"etc/ssl/certs/ca-certificates.crt", "/etc/ssl/certs/ca-certificates.crt"}};
  tools.links = {{"usr/bin/nc", "nc.openbsd"}, {"usr/bin/netcat", "nc.openbsd"}};
  return {{"docker.io/nicolaka/netshoot"}, {debian_layer(), tools}, {.command = {"bash"}, .env = {kPath}, .working_dir = "/root"}};
}

CatalogueImage agnhost_image() {
  LayerRecipe own{.name = "agnhost"};
  own.own_program = true;
  own.packages = {"netcat-openbsd"};
  own.links = {{"usr/bin/nc", "nc.openbsd"}};
  return {{"registry.k8s.io/e2e-test-images/agnhost", "k8s.gcr.io/e2e-test-images/agnhost"},
          {busybox_layer(), curl_tool_layer(), own},
          {.entrypoint = {"/agnhost"}, .command = {"pause"}, .env = {kPath}}};
}

CatalogueImage pause_image() {
  LayerRecipe own{.name = "pause"};
  own.own_program = true;
  own.files = {folder("dev"), folder("proc"), folder("sys"), folder("etc")};
  return {{"registry.k8s.io/pause", "k8s.gcr.io/pause"}, {own}, {.entrypoint = {"/pause"}, .env = {kPath}, .user = "65535:65535"}};
}

const std::vector<CatalogueImage>& catalogue() {
  static const std::vector<CatalogueImage> images = {nginx_image(),  curl_image(),     busybox_image(), alpine_image(),
                                                     debian_image(), netshoot_image(), agnhost_image(), pause_image()};
  return images;
}

}  // namespace

const CatalogueImage* find_in_catalogue(const std::string& registry, const std::string& repository) {
  const std::string name = registry + "/" + repository;
  for (const CatalogueImage& image : catalogue())
    if (std::find(image.repositories.begin(), image.repositories.end(), name) != image.repositories.end()) return &image;
  return nullptr;
}

std::vector<std::string> catalogue_names() {
  std::vector<std::string> names;
  for (const CatalogueImage& image : catalogue()) {
    std::string name = image.repositories.front();
    for (const std::string_view prefix : {"docker.io/library/", "docker.io/"})
      if (name.starts_with(prefix)) {
        name = name.substr(prefix.size());
        break;
      }
    names.push_back(name);
  }
  return names;
}

}  // namespace fairway::runtime
