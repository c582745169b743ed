#include "k8s/decode.h"

#include <gtest/gtest.h>

#include <random>
#include <string>

namespace fairway::k8s {
namespace {

std::string padded(std::string text) {
  text.reserve(text.size() + Decoder::kPadding);
  return text;
}

TEST(Decode, ServiceEvent) {
  Decoder decoder(Kind::kService);
  const std::string line = padded(R"({"type":"MODIFIED","object":{"kind":"Service","apiVersion":"v1","metadata":{"name":"web",
    "namespace":"default","uid":"u1","resourceVersion":"42","labels":{"a":"b"},"managedFields":[{"x":[1,2,{"y":"}"}]}]},
    "spec":{"clusterIP":"10.96.0.5","clusterIPs":["10.96.0.5","fd00::5"],"ports":[{"name":"http","protocol":"TCP","port":80,"targetPort":"web","nodePort":30080}],
    "sessionAffinity":"ClientIP","sessionAffinityConfig":{"clientIP":{"timeoutSeconds":600}},"externalIPs":["1.2.3.4"],"type":"NodePort"}}})");
  const auto event = decoder.decode_event(line);
  ASSERT_TRUE(event.ok()) << event.error().message;
  EXPECT_EQ(event->type, WatchType::kModified);
  EXPECT_EQ(event->resource_version, "42");
  const SlimObject& s = decoder.object();
  EXPECT_EQ(s.meta.name, "web");
  EXPECT_EQ(s.meta.ns, "default");
  EXPECT_EQ(s.meta.resource_version, 42U);
  ASSERT_EQ(s.cluster_ips.size(), 2U);
  EXPECT_EQ(s.cluster_ips[1], "fd00::5");
  ASSERT_EQ(s.ports.size(), 1U);
  EXPECT_EQ(s.ports[0].node_port, 30080);
  EXPECT_EQ(s.affinity_seconds, 600);
  EXPECT_EQ(s.external_ips, 1U);
  EXPECT_EQ(s.bad_field, "");
}

TEST(Decode, SliceWithEscapesAndNulls) {
  Decoder decoder(Kind::kEndpointSlice);
  const std::string line = padded(
      R"({"object":{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":null,"serving":true,"terminating":false},
    "nodeName":"n\u0031","targetRef":{"kind":"Pod","namespace":"d","name":"p"}},{"addresses":["10.0.0.2"]}],"ports":null,
    "metadata":{"name":"s","namespace":"d","deletionTimestamp":null}},"type":"ADDED"})");
  ASSERT_TRUE(decoder.decode_event(line).ok());
  const SlimObject& s = decoder.object();
  ASSERT_EQ(s.endpoint_count, 2U);
  EXPECT_EQ(s.endpoints[0].node_name, "n1");
  EXPECT_FALSE(s.endpoints[0].ready.has_value());
  EXPECT_EQ(s.endpoints[0].serving, true);
  EXPECT_EQ(s.endpoints[1].node_name, "");
  EXPECT_FALSE(s.meta.deleting);
}

TEST(Decode, AWrongTypeMarksTheObjectAndItsNameStays) {
  Decoder decoder(Kind::kService);
  ASSERT_TRUE(decoder
                  .decode_event(padded(
                      R"({"type":"ADDED","object":{"spec":{"ports":{"a":[1,2]},"type":7},"metadata":{"name":"web","namespace":"x"}}})"))
                  .ok());
  EXPECT_EQ(decoder.object().bad_field, "spec.ports");
  EXPECT_EQ(decoder.object().bad_reason, "is not a list");
  EXPECT_EQ(decoder.object().meta.name, "web");
  ASSERT_TRUE(decoder.decode_event(padded(R"({"type":"ADDED","object":{"spec":{},"metadata":{"name":"web"}}})")).ok());
  EXPECT_EQ(decoder.object().bad_field, "");
}

TEST(Decode, ErrorEvent) {
  Decoder decoder(Kind::kPod);
  const std::string line =
      padded(R"({"type":"ERROR","object":{"kind":"Status","status":"Failure","message":"too old","reason":"Expired","code":410}})");
  const auto event = decoder.decode_event(line);
  ASSERT_TRUE(event.ok());
  EXPECT_EQ(event->type, WatchType::kError);
  EXPECT_EQ(event->error_code, 410);
  EXPECT_EQ(event->error_message, "too old");
}

TEST(Decode, ListInEitherOrder) {
  Decoder decoder(Kind::kPod);
  int items = 0;
  const auto meta = decoder.decode_list(
      padded(
          R"({"items":[{"metadata":{"name":"a"}},{"metadata":{"name":"b"},"status":{"podIP":"10.0.0.1","podIPs":[{"ip":"10.0.0.1"},{"ip":"fd00::1"}]}}],"kind":"PodList","metadata":{"continue":"abc","resourceVersion":"7"}})"),
      [&] {
        ++items;
        if (items == 2) { EXPECT_EQ(decoder.object().pod_ips.size(), 2U); }
      });
  ASSERT_TRUE(meta.ok());
  EXPECT_EQ(items, 2);
  EXPECT_EQ(meta->continue_token, "abc");
  EXPECT_EQ(meta->resource_version, "7");
}

// Whatever the bytes, it answers: an object or an error.
TEST(Decode, BrokenInputIsAnError) {
  Decoder decoder(Kind::kEndpointSlice);
  for (const char* text :
       {"", "{", "[]", "nonsense", R"({"type":"ADDED","object":[]})", R"({"type":"ADDED","object":{"metadata":{"name":"x}}})",
        R"({"object":{}})", "{\"type\":\"ADDED\",\"object\":{\"metadata\":{\"name\":\"\xff\xfe\"}}}"})
    EXPECT_FALSE(decoder.decode_event(padded(text)).ok()) << text;

  const std::string good =
      R"({"type":"ADDED","object":{"addressType":"IPv4","endpoints":[{"addresses":["10.0.0.1"],"conditions":{"ready":true}}],"metadata":{"name":"s","labels":{"a":"b"}}}})";
  std::mt19937 random(1);
  for (int i = 0; i < 20000; ++i) {
    std::string text = good;
    for (int n = 0; n < 3; ++n) text[random() % text.size()] = "{}[]\",:0a\\\xff"[random() % 12];
    if (i % 3 == 0) text.resize(random() % text.size());
    (void)decoder.decode_event(padded(std::move(text)));
  }
}

}  // namespace
}  // namespace fairway::k8s
