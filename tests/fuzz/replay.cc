// Runs a fuzz target over its seeds and over what once broke it: the fuzzers' part in the ordinary tests.
#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <fstream>
#include <iterator>
#include <string>
#include <vector>

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size);

namespace {

TEST(FuzzReplay, SeedsAndFormerCrashes) {
  std::size_t inputs = 0;
  for (const char* kind : {"corpus", "crashes"}) {
    std::filesystem::path folder = std::filesystem::path(FW_FUZZ_DIR) / kind / FW_FUZZ_NAME;
    if (!std::filesystem::is_directory(folder)) continue;
    for (const auto& entry : std::filesystem::directory_iterator(folder)) {
      SCOPED_TRACE(entry.path().filename().string());
      std::ifstream file(entry.path(), std::ios::binary);
      std::vector<char> bytes{std::istreambuf_iterator<char>(file), {}};
      LLVMFuzzerTestOneInput(reinterpret_cast<const std::uint8_t*>(bytes.data()), bytes.size());
      ++inputs;
    }
  }
  EXPECT_GT(inputs, 0u) << "tests/fuzz/corpus/" FW_FUZZ_NAME " holds no seeds";
}

}  // namespace
