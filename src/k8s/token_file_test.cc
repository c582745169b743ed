#include "k8s/token_file.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>

namespace fairway::k8s {
namespace {

TEST(TokenFile, IsReadAgainAndOutlivesItsFile) {
  const auto path = std::filesystem::temp_directory_path() / ("fairway-token-" + std::to_string(::getpid()));
  const TokenFile::TimePoint start{};
  TokenFile token(path);
  const auto sent = [&](int seconds) {
    io::HttpRequest request;
    token.authorize(request, start + std::chrono::seconds(seconds));
    return std::string(request.headers.get("Authorization"));
  };
  EXPECT_EQ(sent(0), "") << "there is none yet";
  std::ofstream(path) << "one\n";
  EXPECT_EQ(sent(1), "Bearer one");
  std::ofstream(path) << "two \r\n";
  EXPECT_EQ(sent(30), "Bearer one") << "not for every request";
  EXPECT_EQ(sent(70), "Bearer two");
  for (const char* none : {"", "\n", "a\nb"}) {
    std::ofstream(path) << none;
    EXPECT_EQ(sent(140), "Bearer two") << "the file holds no token";
  }
  std::filesystem::remove(path);
  EXPECT_EQ(sent(200), "Bearer two");
  io::HttpRequest request;
  TokenFile().authorize(request);
  EXPECT_EQ(request.headers.get("Authorization"), "");
}

}  // namespace
}  // namespace fairway::k8s
