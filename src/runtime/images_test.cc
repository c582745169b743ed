#include "runtime/images.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "runtime/images_builder.h"
#include "runtime/images_catalogue.h"
#include "runtime/images_elf.h"

namespace fairway::runtime {
namespace {

std::string normal(const std::string& text) {
  auto ref = parse_image_reference(text);
  return ref.ok() ? ref->name() : "error";
}

TEST(ImageReference, IsNormalisedAsDockerDoes) {
  EXPECT_EQ(normal("nginx"), "docker.io/library/nginx:latest");
  EXPECT_EQ(normal("curlimages/curl:8.1"), "docker.io/curlimages/curl:8.1");
  EXPECT_EQ(normal("registry.k8s.io/e2e-test-images/agnhost:2.47"), "registry.k8s.io/e2e-test-images/agnhost:2.47");
  EXPECT_EQ(normal("localhost:5000/a/b"), "localhost:5000/a/b:latest");
  const std::string digest = "sha256:" + std::string(64, 'a');
  EXPECT_EQ(normal("nginx@" + digest), "docker.io/library/nginx@" + digest);
}

TEST(ImageReference, RefusesWhatIsNone) {
  for (const char* bad : {"", "Nginx", "a//b", "../../etc", "nginx:", "nginx@sha256:12", "a b", "nginx;rm", "/x", "x/", "-o:ok:no"})
    EXPECT_EQ(normal(bad), "error") << bad;
  EXPECT_EQ(normal(std::string(600, 'a')), "error");
}

TEST(Catalogue, KnowsWhatThePromiseNames) {
  for (const char* name : {"nginx", "curlimages/curl", "busybox", "alpine", "debian", "nicolaka/netshoot",
                           "registry.k8s.io/e2e-test-images/agnhost:2.47", "registry.k8s.io/pause:3.9"}) {
    auto ref = parse_image_reference(name);
    ASSERT_TRUE(ref.ok());
    EXPECT_NE(find_in_catalogue(ref->registry, ref->repository), nullptr) << name;
  }
  EXPECT_EQ(find_in_catalogue("docker.io", "library/no-such"), nullptr);
}

TEST(Elf, KnowsItsLibraries) {
  const ElfNeeds needs = elf_needs("/proc/self/exe");
  EXPECT_TRUE(needs.is_elf);
  EXPECT_FALSE(needs.interpreter.empty());
  bool libc = false;
  for (const auto& library : needs.libraries) libc |= library.starts_with("libc.so");
  EXPECT_TRUE(libc);
  EXPECT_FALSE(elf_needs("/etc/passwd").is_elf);
  EXPECT_FALSE(elf_needs("/nonexistent").is_elf);
}

TEST(Layer, HasOneUsrForFilesAndTheirFolders) {
  EXPECT_EQ(path_in_layer("/bin/ping"), "usr/bin/ping");
  EXPECT_EQ(path_in_layer("/bin"), "usr/bin");
  EXPECT_EQ(path_in_layer("/lib64"), "usr/lib64");
  EXPECT_EQ(path_in_layer("/usr/bin/ping"), "usr/bin/ping");
  EXPECT_EQ(path_in_layer("/library/x"), "library/x");
  EXPECT_EQ(path_in_layer("/etc"), "etc");
}

TEST(Sha256, IsSha256) { EXPECT_EQ(sha256_hex("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"); }

}  // namespace
}  // namespace fairway::runtime
