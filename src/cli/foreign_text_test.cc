#include "cli/foreign_text.h"

#include <gtest/gtest.h>

namespace fairway::cli {
namespace {

TEST(ForeignText, IsEscapedForTerminals) {
  EXPECT_EQ(escaped_text("a\033[31m\n\x7f\xc2\x9b"
                         "b"),
            "a\\x1b[31m\\x0a\\x7f\\u009bb");
  EXPECT_EQ(escaped_text("\xe2\x80\xae\xe2\x81\xa6\xd8\x9c"), "\\u202e\\u2066\\u061c");
  EXPECT_EQ(escaped_text("größer … 日本"), "größer … 日本");
}

TEST(ForeignText, MeansItselfToAShellOrIsQuoted) {
  for (const char* word :
       {"shop/db", "kube-dns.kube-system", "/var/lib/fairway", "[fd00::1]", "$(id)", "`id`", "a b", "", "a;b", "~", "a'b", "x=1"})
    EXPECT_EQ(is_plain_word(word), shell_word(word) == word) << word;
  EXPECT_TRUE(is_plain_word("shop/db-0.set"));
  EXPECT_FALSE(is_plain_word("$(id)"));
  EXPECT_FALSE(is_plain_word(""));
  EXPECT_EQ(shell_word("with space"), "'with space'");
  EXPECT_EQ(shell_word("it's"), "'it'\\''s'");
  EXPECT_EQ(shell_word(""), "''");
}

}  // namespace
}  // namespace fairway::cli
