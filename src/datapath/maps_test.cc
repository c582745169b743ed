// The three implementations of Map keep the same manners. The kernel's own needs root.
#include <arpa/inet.h>
#include <bpf/bpf.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <functional>
#include <memory>
#include <set>

#include "abi/endpoints.h"
#include "abi/services.h"
#include "datapath/addr.h"
#include "datapath/faulty_map.h"
#include "datapath/fd_map.h"
#include "datapath/memory_map.h"
#include "datapath/policy_tables.h"

namespace fairway::datapath {
namespace {

using Numbers = Map<std::uint32_t, std::uint64_t>;
constexpr std::uint32_t kRows = 64;

std::unique_ptr<Numbers> memory(MapKind kind) { return std::make_unique<MemoryMap<std::uint32_t, std::uint64_t>>("numbers", kRows, kind); }

std::unique_ptr<Numbers> kernel(MapKind kind) {
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  sys::Fd fd(bpf_map_create(kind == MapKind::kHash ? BPF_MAP_TYPE_HASH : BPF_MAP_TYPE_ARRAY, "numbers", 4, 8, kRows, &opts));
  if (!fd) return nullptr;
  auto map = FdMap<std::uint32_t, std::uint64_t>::from_fd(std::move(fd));
  if (!map.ok()) return nullptr;
  return std::make_unique<FdMap<std::uint32_t, std::uint64_t>>(std::move(*map));
}

struct Implementation {
  const char* name;
  std::function<std::unique_ptr<Numbers>(MapKind)> make;
};

class Maps : public ::testing::TestWithParam<Implementation> {
 protected:
  std::unique_ptr<Numbers> make(MapKind kind) { return GetParam().make(kind); }
};
INSTANTIATE_TEST_SUITE_P(All, Maps, ::testing::Values(Implementation{"memory", memory}, Implementation{"kernel", kernel}),
                         [](const auto& one) { return one.param.name; });

TEST_P(Maps, HashUpdatesAreIdempotent) {
  const auto map = make(MapKind::kHash);
  if (!map) GTEST_SKIP() << "needs root: BPF maps";
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(map->update(1, 10).ok());
  EXPECT_EQ(*map->lookup(1), 10u);
  EXPECT_EQ(map->lookup(2).error().code, Code::kNotFound);
  for (int i = 0; i < 2; ++i) EXPECT_TRUE(map->remove(1).ok());
  EXPECT_EQ(map->lookup(1).error().code, Code::kNotFound);
  EXPECT_EQ(map->name(), "numbers");
  EXPECT_EQ(map->capacity(), kRows);
}

TEST_P(Maps, BatchesAndDump) {
  const auto map = make(MapKind::kHash);
  if (!map) GTEST_SKIP() << "needs root: BPF maps";
  std::vector<std::uint32_t> keys;
  std::vector<std::uint64_t> values;
  for (std::uint32_t i = 0; i < kRows; ++i) {
    keys.push_back(i);
    values.push_back(i * 3);
  }
  ASSERT_TRUE(map->update_batch(keys, values).ok());
  const auto rows = map->dump();
  ASSERT_TRUE(rows.ok());
  EXPECT_EQ(rows->size(), kRows);
  for (const auto& [key, value] : *rows) EXPECT_EQ(value, key * 3u);
  keys.push_back(9999);  // missing rows are no error
  EXPECT_TRUE(map->remove_batch(keys).ok());
  EXPECT_TRUE(map->dump()->empty());
  EXPECT_FALSE(map->update_batch(keys, values).ok()) << "of different lengths";
}

TEST_P(Maps, AFullMapSaysSo) {
  const auto map = make(MapKind::kHash);
  if (!map) GTEST_SKIP() << "needs root: BPF maps";
  for (std::uint32_t i = 0; i < kRows; ++i) ASSERT_TRUE(map->update(i, i).ok());
  const Status full = map->update(kRows, 0);
  ASSERT_FALSE(full.ok());
  EXPECT_EQ(full.error().code, Code::kExhausted);
  EXPECT_NE(full.error().message.find("map numbers"), std::string::npos) << full.error().message;
  EXPECT_TRUE(map->update(0, 7).ok()) << "a row that is there can still be written";
}

TEST_P(Maps, ArrayRowsAreZeroWhereNothingIs) {
  const auto map = make(MapKind::kArray);
  if (!map) GTEST_SKIP() << "needs root: BPF maps";
  EXPECT_EQ(*map->lookup(5), 0u);
  ASSERT_TRUE(map->update(5, 50).ok());
  ASSERT_EQ(map->dump()->size(), 1u);
  EXPECT_EQ(map->dump()->front().first, 5u);
  EXPECT_TRUE(map->remove(5).ok());
  EXPECT_EQ(*map->lookup(5), 0u);
  EXPECT_TRUE(map->dump()->empty());
  EXPECT_EQ(map->lookup(kRows).error().code, Code::kNotFound);
  EXPECT_EQ(map->update(kRows, 1).error().code, Code::kExhausted);
}

TEST(FdMapTrie, DumpHoldsEveryPrefix) {
  LIBBPF_OPTS(bpf_map_create_opts, opts, .map_flags = BPF_F_NO_PREALLOC);
  sys::Fd fd(bpf_map_create(BPF_MAP_TYPE_LPM_TRIE, "prefixes", sizeof(fw_cidr_key), sizeof(fw_peer_class), kRows, &opts));
  if (!fd) GTEST_SKIP() << "needs root: BPF maps";
  auto map = *FdMap<fw_cidr_key, fw_peer_class>::from_fd(std::move(fd));
  std::set<net::Prefix> written, read;
  for (const char* text : {"0.0.0.0/0", "::/0", "10.0.0.0/8", "10.1.0.0/16", "2001:db8::/32"}) {
    written.insert(*net::Prefix::parse(text));
    ASSERT_TRUE(map.update(cidr_key(*net::Prefix::parse(text)), fw_peer_class{{7, 7}}).ok());
  }
  const auto rows = map.dump();
  ASSERT_TRUE(rows.ok()) << rows.error().message;
  for (const auto& [key, row] : *rows) {
    read.insert(prefix_of(key));
    EXPECT_EQ(row.v[0], 7u);
  }
  EXPECT_EQ(read, written);
}

TEST(FdMapSizes, AnotherLayoutIsRefused) {
  LIBBPF_OPTS(bpf_map_create_opts, opts);
  sys::Fd fd(bpf_map_create(BPF_MAP_TYPE_HASH, "other", 4, 12, 4, &opts));
  if (!fd) GTEST_SKIP() << "needs root: BPF maps";
  const auto map = FdMap<std::uint32_t, std::uint64_t>::from_fd(std::move(fd));
  ASSERT_FALSE(map.ok());
  EXPECT_EQ(map.error().code, Code::kInvalid);
}

TEST(FaultyMap, FailsItsShareAndTheSameEachTime) {
  const auto faults = [](double share) {
    MemoryMap<std::uint32_t, std::uint64_t> inner("numbers");
    FaultyMap<std::uint32_t, std::uint64_t> map(inner, share, 42);
    std::size_t failed = 0;
    for (std::uint32_t i = 0; i < 1000; ++i) failed += map.update(i, i).ok() ? 0 : 1;
    EXPECT_EQ(failed, map.faults());
    EXPECT_EQ(inner.size(), 1000 - failed);
    return failed;
  };
  EXPECT_EQ(faults(0), 0u);
  EXPECT_EQ(faults(1), 1000u);
  EXPECT_NEAR(static_cast<double>(faults(0.3)), 300, 60);
  EXPECT_EQ(faults(0.3), faults(0.3));
}

TEST(FaultyMap, AFailedBatchHasAppliedAPart) {
  MemoryMap<std::uint32_t, std::uint64_t> inner("numbers");
  FaultyMap<std::uint32_t, std::uint64_t> map(inner, 1);
  std::vector<std::uint32_t> keys(100);
  std::vector<std::uint64_t> values(100);
  for (std::uint32_t i = 0; i < 100; ++i) keys[i] = i;
  EXPECT_FALSE(map.update_batch(keys, values).ok());
  EXPECT_LT(inner.size(), 100u);
  map.set_share(0);
  EXPECT_TRUE(map.update_batch(keys, values).ok());
  EXPECT_EQ(inner.size(), 100u);
}

TEST(Addr, IsTheSameSixteenBytes) {
  for (const char* text : {"10.244.1.2", "fd00:10:244::2"}) {
    const net::IpAddr addr = *net::IpAddr::parse(text);
    EXPECT_EQ(from_abi(to_abi(addr)), addr);
  }
  EXPECT_EQ(to_abi(*net::IpAddr::parse("10.244.1.2")).words[2], htonl(0xffff));
  EXPECT_EQ(abi_length(*net::Prefix::parse("10.244.0.0/16")), 112);
  EXPECT_EQ(abi_length(*net::Prefix::parse("fd00:10::/56")), 56);
}

}  // namespace
}  // namespace fairway::datapath
