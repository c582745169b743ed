#include "datapath/drops.h"

#include <gtest/gtest.h>

#include <string>

namespace fairway::datapath {
namespace {

TEST(Drops, EveryNumberHasANameAndATextFitForAnOperator) {
  for (const Reason& reason : reasons()) {
    EXPECT_EQ(find_reason(reason.id), &reason);
    EXPECT_EQ(std::string(reason.name).find_first_not_of("abcdefghijklmnopqrstuvwxyz-"), std::string::npos) << reason.name;
    EXPECT_EQ(reason.drop, reason.id < FW_DROP_COUNT) << reason.name;
  }
  for (std::uint32_t id = 0; id < FW_DROP_COUNT; ++id) EXPECT_NE(find_reason(id), nullptr) << id;
}

TEST(Drops, ANumberOfANewerProgramIsUnknown) { EXPECT_EQ(find_reason(FW_METRICS_SIZE - 1), nullptr); }

}  // namespace
}  // namespace fairway::datapath
