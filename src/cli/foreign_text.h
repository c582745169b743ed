// Text that somebody else wrote (names, messages, paths), made harmless for where it is shown: a terminal, or a shell that reads it back.
#pragma once

#include <string>
#include <string_view>

namespace fairway::cli {

// For a terminal: controls and what turns the direction of writing are shown as \x1b and \u202e.
std::string escaped_text(std::string_view text);
// Whether it means itself to any shell: letters, digits and _/.:@%+,- alone, and something.
bool is_plain_word(std::string_view text);
// As it can be pasted into a POSIX shell: bare where it is plain, else quoted.
std::string shell_word(const std::string& text);

}  // namespace fairway::cli
