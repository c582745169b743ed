// The programs load, and cost the verifier at most a tenth of what it allows.
#include <gtest/gtest.h>

#include "cluster.h"

namespace fairway::test {
namespace {

constexpr std::uint32_t kBudget = 100000;  // 10 % of BPF_COMPLEXITY_LIMIT_INSNS

TEST(Load, VerifierBudget) {
  FW_CLUSTER(cluster, {});
  const auto versions = cluster.datapath(1).versions();
  ASSERT_TRUE(versions.ok()) << versions.error().message;
  EXPECT_EQ(versions->programs.size(), 11u);
  for (const datapath::ProgramInfo& program : versions->programs) {
    RecordProperty(program.name, static_cast<int>(program.verified_insns));
    std::printf("    %-18s %6u instructions verified\n", program.name.c_str(), program.verified_insns);
    EXPECT_GT(program.verified_insns, 0u) << program.name;
    EXPECT_LE(program.verified_insns, kBudget) << program.name;
  }
  EXPECT_TRUE(cluster.datapath(1).stats()->failures.empty());
}

}  // namespace
}  // namespace fairway::test
