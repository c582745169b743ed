#include "model/policy.h"

#include <gtest/gtest.h>

namespace fairway::model {
namespace {

using Op = LabelRequirement::Op;

bool one(Op op, std::vector<std::string> values, const Labels& labels) { return matches({{{"app", op, std::move(values)}}}, labels); }

// The table of k8s.io/apimachinery/pkg/labels: the absence of a key satisfies NotIn and DoesNotExist.
TEST(LabelSelector, EveryOperator) {
  const Labels web{{"app", "web"}}, none{{"other", "x"}}, empty{{"app", ""}};
  EXPECT_TRUE(one(Op::kIn, {"db", "web"}, web));
  EXPECT_FALSE(one(Op::kIn, {"db"}, web));
  EXPECT_FALSE(one(Op::kIn, {"db"}, none));
  EXPECT_FALSE(one(Op::kIn, {}, web));
  EXPECT_FALSE(one(Op::kIn, {""}, none));
  EXPECT_TRUE(one(Op::kIn, {""}, empty));
  EXPECT_FALSE(one(Op::kNotIn, {"db", "web"}, web));
  EXPECT_TRUE(one(Op::kNotIn, {"db"}, web));
  EXPECT_TRUE(one(Op::kNotIn, {"db"}, none));
  EXPECT_TRUE(one(Op::kExists, {}, web));
  EXPECT_TRUE(one(Op::kExists, {}, empty));
  EXPECT_FALSE(one(Op::kExists, {}, none));
  EXPECT_FALSE(one(Op::kDoesNotExist, {}, empty));
  EXPECT_TRUE(one(Op::kDoesNotExist, {}, none));
}

TEST(LabelSelector, RequirementsAreJoinedByAndAndNoneMatchesAll) {
  EXPECT_TRUE(matches({}, {}));
  const LabelSelector both{{{"app", Op::kIn, {"web"}}, {"tier", Op::kExists, {}}}};
  EXPECT_TRUE(matches(both, {{"app", "web"}, {"tier", "x"}}));
  EXPECT_FALSE(matches(both, {{"app", "web"}}));
  EXPECT_FALSE(matches(both, {{"tier", "x"}}));
}

TEST(LabelSelector, OneFormForOneMeaning) {
  LabelSelector a{{{"tier", Op::kExists, {}}, {"app", Op::kIn, {"web", "db", "web"}}, {"tier", Op::kExists, {}}}};
  LabelSelector b{{{"app", Op::kIn, {"db", "web"}}, {"tier", Op::kExists, {}}}};
  canonicalize(a);
  canonicalize(b);
  EXPECT_EQ(a, b);
  EXPECT_TRUE(matches(a, {{"app", "db"}, {"tier", ""}}));
}

}  // namespace
}  // namespace fairway::model
