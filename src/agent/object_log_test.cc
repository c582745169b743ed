#include "agent/object_log.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <random>

#include "k8s/decode.h"
#include "sys/file.h"
#include "sys/log.h"

namespace fairway::agent {
namespace {

using k8s::Kind;

struct Copy {
  model::Problems problems;
  reflect::Cluster cluster{problems};
  std::unique_ptr<ObjectLog> log;
};

class ObjectLogTest : public ::testing::Test {
 protected:
  ObjectLogTest() : dir_(std::filesystem::temp_directory_path() / ("fw-objects-" + std::to_string(::getpid()))) {
    std::filesystem::create_directories(dir_);
    log::set_level(log::Level::kError);
  }
  ~ObjectLogTest() override { std::filesystem::remove_all(dir_); }
  std::unique_ptr<Copy> open() {
    auto out = std::make_unique<Copy>();
    auto log = ObjectLog::open(path(), out->cluster);
    EXPECT_TRUE(log.ok());
    if (log.ok()) out->log = std::move(*log);
    return out;
  }
  static void put(Copy& copy, const std::string& name, const std::string& vip) {
    k8s::Decoder decoder(Kind::kService);
    std::string json =
        R"({"metadata":{"namespace":"d","name":")" + name + R"("},"spec":{"clusterIPs":[")" + vip + R"("],"ports":[{"port":80}]}})";
    json.reserve(json.size() + k8s::Decoder::kPadding);
    ASSERT_TRUE(decoder.decode_object(json).ok());
    copy.cluster.put(decoder.object());
  }
  static std::map<std::string, std::string> rows(const Copy& copy) {
    std::map<std::string, std::string> out;
    copy.cluster.table(Kind::kService).for_each([&](std::string_view key, std::string_view row) { out.emplace(key, row); });
    return out;
  }
  std::string path() const { return dir_ / "objects.log"; }
  std::filesystem::path dir_;
};

TEST_F(ObjectLogTest, KeepsPoliciesOfBothKinds) {
  const auto put_policy = [](Copy& copy, Kind kind, std::string json) {
    k8s::Decoder decoder(kind);
    json.reserve(json.size() + k8s::Decoder::kPadding);
    ASSERT_TRUE(decoder.decode_object(json).ok());
    copy.cluster.put(decoder.object());
  };
  {
    const auto a = open();
    put_policy(*a, Kind::kNetworkPolicy, R"({"metadata":{"namespace":"d","name":"deny"},"spec":{"podSelector":{}}})");
    put_policy(*a, Kind::kClusterNetworkPolicy,
               R"({"metadata":{"name":"deny"},"spec":{"tier":"Admin","priority":1,"subject":{"namespaces":{}}}})");
    ASSERT_TRUE(a->log->append().ok());
  }
  const auto b = open();
  EXPECT_EQ(b->log->restored(), 2U);
  EXPECT_TRUE(b->cluster.find_policy("d/deny").has_value());
  EXPECT_TRUE(b->cluster.find_policy("deny").has_value());
}

TEST_F(ObjectLogTest, RestoresWhatWasThere) {
  std::map<std::string, std::string> expected;
  {
    const auto a = open();
    EXPECT_FALSE(a->log->restored_whole());
    put(*a, "one", "10.96.0.1");
    put(*a, "two", "10.96.0.2");
    ASSERT_TRUE(a->log->append().ok());
    a->cluster.forget(Kind::kService, "d/two");
    put(*a, "one", "10.96.0.9");
    ASSERT_TRUE(a->log->append().ok());
    ASSERT_TRUE(a->log->mark_whole().ok());
    expected = rows(*a);
    EXPECT_EQ(expected.size(), 1U);
  }
  const auto b = open();
  EXPECT_TRUE(b->log->restored_whole());
  EXPECT_EQ(rows(*b), expected);
}

// A crash may cut the file anywhere: what was written before the cut is there, and nothing else.
TEST_F(ObjectLogTest, AnyCutIsSurvived) {
  {
    const auto a = open();
    for (int i = 0; i < 20; ++i) {
      put(*a, "s" + std::to_string(i), "10.96.0." + std::to_string(i + 1));
      ASSERT_TRUE(a->log->append().ok());
    }
  }
  const std::string whole = *sys::read_file(path());
  std::size_t before = 0;
  for (std::size_t cut = 0; cut <= whole.size(); cut += 7) {
    ASSERT_TRUE(sys::write_file_atomic(path(), whole.substr(0, cut)).ok());
    const auto b = open();
    EXPECT_GE(rows(*b).size(), before);
    before = rows(*b).size();
  }
  EXPECT_GE(before, 19U);
}

TEST_F(ObjectLogTest, NoiseIsNoRow) {
  {
    const auto a = open();
    for (int i = 0; i < 20; ++i) put(*a, "s" + std::to_string(i), "10.96.0." + std::to_string(i + 1));
    ASSERT_TRUE(a->log->append().ok());
  }
  const std::string whole = *sys::read_file(path());
  std::mt19937 random(3);
  for (int i = 0; i < 200; ++i) {
    std::string noisy = whole;
    noisy[random() % noisy.size()] ^= static_cast<char>(1 + random() % 255);
    ASSERT_TRUE(sys::write_file_atomic(path(), noisy).ok());
    const auto b = open();
    for (const auto& [key, row] : rows(*b)) EXPECT_TRUE(model::ServiceCodec::decode(key, row).has_value());
  }
}

// History does not grow without end.
TEST_F(ObjectLogTest, IsRewritten) {
  const auto a = open();
  std::size_t largest = 0;
  for (int i = 0; i < 60000; ++i) {
    put(*a, "s" + std::to_string(i % 10), "10.96." + std::to_string(i % 200) + "." + std::to_string(i % 251));
    ASSERT_TRUE(a->log->append().ok());
    largest = std::max(largest, a->log->file_bytes());
  }
  EXPECT_LT(largest, std::size_t{2} << 20);
  const auto expected = rows(*a);
  a->log.reset();
  EXPECT_EQ(rows(*open()), expected);
}

}  // namespace
}  // namespace fairway::agent
