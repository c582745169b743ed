#include "cni/request.h"

#include <gtest/gtest.h>

#include "cni/json_scan.h"
#include "cni/render.h"
#include "cni/spool_name.h"

namespace fairway::cni {
namespace {

std::string body(const std::string& command, const std::string& config) {
  return R"({"command":")" + command +
         R"(","containerId":"c1","netns":"/run/netns/x","ifname":"eth0","args":"K8S_POD_NAMESPACE=ns;K8S_POD_NAME=web","config":)" +
         config + "}";
}

CniRequest accepted(const std::string& text) {
  auto parsed = parse_request(text);
  if (auto* refused = std::get_if<RequestError>(&parsed)) {
    ADD_FAILURE() << refused->error.message;
    return {};
  }
  return std::get<CniRequest>(parsed);
}

unsigned refused(const std::string& text) {
  auto parsed = parse_request(text);
  const auto* error = std::get_if<RequestError>(&parsed);
  return error != nullptr ? static_cast<unsigned>(error->error.code) : 0;
}

TEST(RequestTest, AddWithEverything) {
  const CniRequest request =
      accepted(body("ADD", R"({"cniVersion":"1.1.0","name":"n","runtimeConfig":{"ips":["10.0.0.9/24","fd00::9"],"mac":"02:00:00:00:00:01",
      "portMappings":[{"hostPort":8080,"containerPort":80,"protocol":"udp"},{"hostPort":0,"containerPort":81}],"bandwidth":{"ingressRate":1000}}})"));
  EXPECT_EQ(request.pod.to_string(), "ns/web");
  ASSERT_EQ(request.ips.size(), 2U);
  EXPECT_EQ(request.ips[0].to_string(), "10.0.0.9");
  ASSERT_EQ(request.port_mappings.size(), 1U);
  EXPECT_EQ(request.port_mappings[0].protocol, net::Protocol::kUdp);
  EXPECT_EQ(request.bandwidth.ingress_rate, 1000U);
}

TEST(RequestTest, RefusalsHaveTheSpecificationsCodes) {
  EXPECT_EQ(refused(""), 6U);
  EXPECT_EQ(refused("[]"), 6U);
  EXPECT_EQ(refused(std::string(2 << 20, ' ')), 6U);
  EXPECT_EQ(refused(body("ADD", "7")), 6U);
  EXPECT_EQ(refused(body("ADD", R"({"cniVersion":"2.0.0","name":"n"})")), 1U);
  EXPECT_EQ(refused(body("ADD", R"({"name":"n"})")), 1U);
  EXPECT_EQ(refused(body("ADD", R"({"cniVersion":"1.1.0"})")), 7U);
  EXPECT_EQ(refused(body("FLY", R"({"cniVersion":"1.1.0","name":"n"})")), 4U);
  EXPECT_EQ(refused(body("GC", R"({"cniVersion":"1.0.0","name":"n","cni.dev/valid-attachments":[]})")), 1U);
  EXPECT_EQ(refused(body("GC", R"({"cniVersion":"1.1.0","name":"n"})")), 7U);
  EXPECT_EQ(refused(body("ADD", R"({"cniVersion":"1.1.0","name":"n","runtimeConfig":{"ips":["10.0.0.1","10.0.0.2"]}})")), 7U);
  for (const char* port : {R"("hostIP":"127.0.0.1")", R"("hostIP":"::1")", R"("protocol":"sctp")", R"("hostIP":"node")"})
    EXPECT_EQ(
        refused(body("ADD", R"({"cniVersion":"1.1.0","name":"n","runtimeConfig":{"portMappings":[{"hostPort":80,"containerPort":80,)" +
                                std::string(port) + "}]}}")),
        7U)
        << port;
}

TEST(RequestTest, AnExplicitNullListOfAttachmentsIsEmpty) {
  EXPECT_TRUE(accepted(body("GC", R"({"cniVersion":"1.1.0","name":"n","cni.dev/valid-attachments":null})")).valid_attachments.empty());
}

TEST(RequestTest, AnErrorSpeaksTheVersionOfTheConfiguration) {
  auto parsed = parse_request(body("ADD", R"({"cniVersion":"0.4.0","name":"/"})"));
  EXPECT_EQ(std::get<RequestError>(parsed).version, "0.4.0");
}

TEST(JsonScanTest, TellsTopLevelTextsAndSeesMalformedOnes) {
  std::string found;
  const auto collect = [&](std::string_view key, std::string_view value) { found += std::string(key) + "=" + std::string(value) + ";"; };
  EXPECT_TRUE(JsonScan(R"( {"a":"x","b":{"a":"inner"},"c":[1,-2.5e3,true,null,{"a":"y"}],"d":"q\"\u00e9"} )").scan(collect));
  EXPECT_EQ(found, "a=x;d=q\\\"\\u00e9;");
  for (const char* bad : {"", "{", "[]", "{}x", R"({"a"})", R"({"a":})", R"({"a":1,})", R"({"a":01})", R"({"a":"\x"})", "{\"a\":\"\n\"}",
                          R"({"a":tru})", R"({"a":1 "b":2})", R"({"a":-})", R"({"a":1.})"})
    EXPECT_FALSE(JsonScan(bad).scan(collect)) << bad;
}

TEST(SpoolNameTest, DependsOnBothParts) {
  char a[kSpoolNameBytes], b[kSpoolNameBytes], c[kSpoolNameBytes];
  spool_name("ab", "c", a);
  spool_name("a", "bc", b);
  spool_name("ab", "c", c);
  EXPECT_STREQ(a, c);
  EXPECT_STRNE(a, b);
  EXPECT_EQ(std::string_view(a).substr(16), ".del");
}

}  // namespace
}  // namespace fairway::cni
