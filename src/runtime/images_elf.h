// What an ELF file needs to run: the shared libraries of its dynamic section, and its interpreter.
#pragma once

#include <string>
#include <vector>

namespace fairway::runtime {

struct ElfNeeds {
  bool is_elf = false;
  std::string interpreter;             // absolute path, or empty
  std::vector<std::string> libraries;  // sonames
};

// Reads a 64-bit little-endian ELF; anything else, or a damaged one, needs nothing.
ElfNeeds elf_needs(const std::string& path);

}  // namespace fairway::runtime
