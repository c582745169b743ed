#include "cli/text_table.h"

#include <gtest/gtest.h>

namespace fairway::cli {
namespace {

TEST(TextTable, LinesUpAndLeavesNoTrailingBlanks) {
  TextTable table({"NAME", "STATE"});
  table.add({"node-1", "Ready"});
  table.add({"a", ""});
  EXPECT_EQ(table.render(), "NAME     STATE\nnode-1   Ready\na\n");
}

TEST(TextTable, EscapesAndMultibyteTakeNoExtraColumns) {
  TextTable table({"A", "B"});
  table.add({"\033[32mok\033[0m", "x"});
  table.add({"é", "y"});
  EXPECT_EQ(table.render(), "A    B\n\033[32mok\033[0m   x\né    y\n");
}

TEST(TextTable, KeysBecomeTitles) {
  EXPECT_EQ(column_title("name"), "NAME");
  EXPECT_EQ(column_title("podCidrs"), "POD-CIDRS");
  EXPECT_EQ(column_title("silentMs"), "SILENT-MS");
}

}  // namespace
}  // namespace fairway::cli
