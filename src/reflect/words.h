// How a problem names what is wrong in an object: the field's path, and the text that stands there.
#pragma once

#include <string>
#include <string_view>

namespace fairway::reflect {

inline std::string quoted(std::string_view text) { return "\"" + std::string(text.substr(0, 64)) + "\""; }

// "ports[2]", or with `rest` "ports[2].protocol"
inline std::string indexed(std::string_view field, std::size_t i, std::string_view rest = "") {
  return std::string(field) + "[" + std::to_string(i) + "]" + std::string(rest);
}

}  // namespace fairway::reflect
