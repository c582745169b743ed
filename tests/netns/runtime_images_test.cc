// test-deps: fw_runtime
// Images as they come: an OCI layout with layers that remove files, through the local store; and what is refused.
#include <gtest/gtest.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <boost/json.hpp>
#include <cerrno>
#include <cstring>
#include <filesystem>

#include "runtime/images.h"
#include "runtime/images_builder.h"
#include "sys/file.h"
#include "sys/process.h"

namespace fairway::runtime {
namespace {

namespace fs = std::filesystem;
namespace json = boost::json;

class ImagesTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (::geteuid() != 0) GTEST_SKIP() << "needs root, for the devices that mark removed files";
    dir_ = "/tmp/fairway-images-test-" + std::to_string(::getpid());
    fs::create_directories(dir_ + "/layout/blobs/sha256");
    ::setenv("FAIRWAY_REGISTRY", "off", 1);
  }
  void TearDown() override {
    std::error_code ec;
    fs::remove_all(dir_, ec);
  }

  std::string blob(const std::string& content) {
    const std::string digest = sha256_hex(content);
    EXPECT_TRUE(sys::write_file_atomic(dir_ + "/layout/blobs/sha256/" + digest, content).ok());
    return "sha256:" + digest;
  }
  json::object descriptor(const std::string& type, const std::string& content) {
    return {{"mediaType", "application/vnd.oci.image." + type}, {"digest", blob(content)}, {"size", content.size()}};
  }
  // A layer of empty files.
  json::object layer(const std::vector<std::string>& paths) {
    const std::string tree = dir_ + "/tree";
    fs::remove_all(tree);
    for (const auto& path : paths) {
      fs::create_directories(fs::path(tree + "/" + path).parent_path());
      EXPECT_TRUE(sys::write_file_atomic(tree + "/" + path, path).ok());
    }
    auto tar = sys::run_ok({"tar", "--create", "--gzip", "--directory", tree, "."});
    EXPECT_TRUE(tar.ok());
    return descriptor("layer.v1.tar+gzip", *tar);
  }
  void write_layout(const json::array& layers) {
    json::array diff_ids;
    for (std::size_t i = 0; i < layers.size(); ++i) diff_ids.emplace_back("sha256:" + std::string(64, '0'));
    const json::object config{
        {"architecture", "amd64"},
        {"os", "linux"},
        {"rootfs", json::object{{"type", "layers"}, {"diff_ids", diff_ids}}},
        {"config", json::object{{"Cmd", json::array{"run"}}, {"Env", json::array{"A=1"}}, {"User", "5"}, {"WorkingDir", "/w"}}}};
    const json::object manifest{{"schemaVersion", 2},
                                {"mediaType", "application/vnd.oci.image.manifest.v1+json"},
                                {"config", descriptor("config.v1+json", json::serialize(config))},
                                {"layers", layers}};
    const json::object index{{"schemaVersion", 2}, {"manifests", json::array{descriptor("manifest.v1+json", json::serialize(manifest))}}};
    ASSERT_TRUE(sys::write_file_atomic(dir_ + "/layout/index.json", json::serialize(index)).ok());
    ASSERT_TRUE(sys::write_file_atomic(dir_ + "/layout/oci-layout", R"({"imageLayoutVersion":"1.0.0"})").ok());
  }

  std::string dir_;
};

TEST_F(ImagesTest, AnImportedLayoutIsUsedFirst) {
  if (::access("/usr/bin/skopeo", X_OK) != 0) GTEST_SKIP() << "needs skopeo";
  write_layout({layer({"keep", "gone", "dir/old"}), layer({".wh.gone", "dir/.wh..wh..opq", "dir/new"})});
  ImageStore store({.dir = dir_ + "/store", .agnhost = ""});
  EXPECT_FALSE(store.find("nginx").ok());
  ASSERT_TRUE(store.import(dir_ + "/layout", "nginx").ok());
  auto image = store.pull("nginx");  // though the catalogue has one by this name
  ASSERT_TRUE(image.ok()) << image.error().message;
  EXPECT_EQ(image->source, "local store");
  EXPECT_EQ(image->config.command, std::vector<std::string>{"run"});
  EXPECT_EQ(image->config.user, "5");
  EXPECT_EQ(image->config.working_dir, "/w");
  ASSERT_EQ(image->layers.size(), 2u);
  struct stat st {};
  const std::string top = store.layers_dir() + "/" + image->layers[0];
  ASSERT_EQ(::lstat((top + "/gone").c_str(), &st), 0);
  EXPECT_TRUE(S_ISCHR(st.st_mode) && st.st_rdev == 0) << "overlayfs removes a file by such a device";
  EXPECT_TRUE(fs::exists(top + "/dir/new"));
  EXPECT_FALSE(fs::exists(top + "/dir/.wh..wh..opq"));
  auto again = store.find("docker.io/library/nginx:latest");
  ASSERT_TRUE(again.ok());
  EXPECT_EQ(again->id, image->id);
}

TEST_F(ImagesTest, ADamagedRecordOrMissingLayerIsMadeAgain) {
  ImageStore store({.dir = dir_ + "/store", .agnhost = ""});
  auto image = store.pull("busybox");
  if (!image.ok()) GTEST_SKIP() << image.error().message;
  fs::remove_all(store.layers_dir() + "/" + image->layers[0]);
  EXPECT_FALSE(store.find("busybox").ok());
  EXPECT_TRUE(store.pull("busybox").ok());
  EXPECT_TRUE(fs::exists(store.layers_dir() + "/" + image->layers[0] + "/usr/bin/busybox"));
}

TEST_F(ImagesTest, WhatNobodyHasIsRefusedWithAllReasons) {
  ImageStore store({.dir = dir_ + "/store", .agnhost = ""});
  auto image = store.pull("no.such/thing:1");
  ASSERT_FALSE(image.ok());
  for (const char* part : {"no.such/thing:1", "local store", "registries are turned off", "catalogue"})
    EXPECT_NE(image.error().message.find(part), std::string::npos) << image.error().message;
  auto pinned = store.pull("nginx@sha256:" + std::string(64, 'a'));
  EXPECT_FALSE(pinned.ok()) << "the catalogue cannot honour a digest";
}

TEST_F(ImagesTest, ALayoutThatPointsElsewhereIsRefused) {
  ImageStore store({.dir = dir_ + "/store", .agnhost = ""});
  const std::string place = dir_ + "/store/oci/docker.io%2Flibrary%2Fevil%3Alatest";
  fs::create_directories(place);
  for (const char* index : {"", "{", "[]", R"({"manifests":[]})", R"({"manifests":[{"digest":"sha256:../../../etc/passwd"}]})",
                            R"({"manifests":[{"digest":7}]})"}) {
    ASSERT_TRUE(sys::write_file_atomic(place + "/index.json", index).ok());
    EXPECT_FALSE(store.pull("evil").ok()) << index;
  }
}

// As on a machine that has Debian's essential packages and these: all else is downloaded, and unpacked over what is copied.
struct FreshImage {
  const char *name, *reference, *installed;
  std::vector<const char*> commands;
};

class FreshMachineTest : public ImagesTest, public ::testing::WithParamInterface<FreshImage> {
 protected:
  void SetUp() override {
    ImagesTest::SetUp();
    if (dir_.empty()) return;
    if (::unshare(CLONE_NEWNS) != 0 || ::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      GTEST_SKIP() << "needs to make namespaces";
    if (!sys::run_ok({"env", "--chdir=" + dir_, "apt-get", "-qq", "-o", "Acquire::Retries=0", "-o", "Acquire::http::Timeout=5", "-o",
                      "APT::Sandbox::User=root", "download", "dash"})
             .ok())
      GTEST_SKIP() << "needs a Debian mirror";
    ASSERT_TRUE(sys::run_ok({"python3", FRESH_MACHINE, dir_ + "/machine", GetParam().installed}).ok());
    ::setenv("DPKG_ADMINDIR", (dir_ + "/machine").c_str(), 1);
    ::setenv("APT_CONFIG", (dir_ + "/machine/apt.conf").c_str(), 1);
  }
  void TearDown() override {
    ::unsetenv("DPKG_ADMINDIR");
    ::unsetenv("APT_CONFIG");
    ::umount2((dir_ + "/root/dev").c_str(), MNT_DETACH);
    ::umount2((dir_ + "/root").c_str(), MNT_DETACH);
    ImagesTest::TearDown();
  }
  void mount_image(const ImageStore& store, const Image& image) {
    std::string options = "lowerdir=";
    for (const auto& layer : image.layers) options += (options.ends_with('=') ? "" : ":") + store.layers_dir() + "/" + layer;
    for (const char* part : {"root", "upper", "work"}) fs::create_directories(dir_ + "/" + part);
    options += ",upperdir=" + dir_ + "/upper,workdir=" + dir_ + "/work";
    ASSERT_EQ(::mount("overlay", (dir_ + "/root").c_str(), "overlay", 0, options.c_str()), 0) << std::strerror(errno);
    // Not the machine's own /dev: what is below is removed at the end.
    const std::string dev = dir_ + "/root/dev";
    ASSERT_EQ(::mount("tmpfs", dev.c_str(), "tmpfs", 0, nullptr), 0) << std::strerror(errno);
    ASSERT_EQ(::mknod((dev + "/null").c_str(), S_IFCHR | 0666, makedev(1, 3)), 0) << std::strerror(errno);
    for (const char* log : {"/stdout", "/stderr"}) ASSERT_TRUE(sys::write_file_atomic(dev + log, "").ok());
  }
};

TEST_P(FreshMachineTest, ItsProgramsRun) {
  ImageStore store({.dir = dir_ + "/store", .agnhost = FAIRWAY_AGNHOST});
  auto image = store.pull(GetParam().reference);
  ASSERT_TRUE(image.ok()) << image.error().message;
  mount_image(store, *image);
  for (const char* command : GetParam().commands) {
    auto ran = sys::run({"chroot", dir_ + "/root", "sh", "-c", command});
    ASSERT_TRUE(ran.ok()) << command << ": " << ran.error().message;
    EXPECT_EQ(ran->exit_code, 0) << command << ": " << ran->err << ran->out;
  }
}

const FreshImage kFreshImages[] = {
    {"nginx",
     "nginx",
     "",
     {"nginx -t", "curl --version", "ping -V", "bash --version", "tar --version", "sed --version", "getopt -V", "id",
      "cat /etc/os-release"}},
    {"curl", "curlimages/curl", "", {"curl --version", "ping -V", "busybox true", "wget --help"}},
    {"netshoot",
     "nicolaka/netshoot",
     "",
     {"dig -v", "host -V", "nslookup -version", "curl --version", "ip -V", "ss -V", "tcpdump --version", "iperf3 --version", "ping -V",
      "nc -h", "bash -c 'echo | awk 1'"}},
    {"netshoot_after_iproute2", "nicolaka/netshoot", "iproute2", {"ip -V", "bridge -V", "dig -v"}},
    {"agnhost", "registry.k8s.io/e2e-test-images/agnhost:2.53", "", {"test -x /agnhost -a -x /pause", "curl --version", "nc -h", "ls /"}}};

INSTANTIATE_TEST_SUITE_P(Images, FreshMachineTest, ::testing::ValuesIn(kFreshImages),
                         [](const auto& info) { return std::string(info.param.name); });

}  // namespace
}  // namespace fairway::runtime
