// The list that stands for a matrix which is too large.
#include "cli/policy_text.h"

#include "policycheck/testing.h"

namespace fairway::cli {
namespace {

using namespace policycheck;

std::string told(const Check& check, bool all) {
  Selection selection;
  for (const End& end : check.ends()) selection.from.push_back(&end);
  selection.to = {&end_named(check, "default/db")};
  const std::string text = check_text(check, selection, {}, {}, all);
  return text.substr(0, text.find("\n\n"));
}

TEST(PolicyText, AListNamesEverySourceWhereItIsAskedTo) {
  std::string text = pod("db", "{app: db}") +
                     policy("db", "{podSelector: {matchLabels: {app: db}}, ingress: [{from: [{podSelector: {matchLabels: {app: web}}}]}]}");
  for (int i = 10; i < 50; ++i) text += pod("web-" + std::to_string(i), i < 16 ? "{app: web}" : "{app: job}");
  const auto check = check_of(text);
  EXPECT_EQ(told(*check, false),
            "TO           PORTS   FROM\n"
            "default/db   all     default/web-10, default/web-11, default/web-12, default/web-13 and 2 more of 42 (--all names them)");
  std::string wanted = "TO           PORTS   FROM";
  for (int i = 10; i < 16; ++i) wanted += "\ndefault/db   all     default/web-" + std::to_string(i);
  EXPECT_EQ(told(*check, true), wanted);
}

}  // namespace
}  // namespace fairway::cli
