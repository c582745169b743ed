#include "apiserver/protobuf.h"

#include "apiserver/test_support.h"

namespace fairway::apiserver {
namespace {

// A writer of just what these tests need.
std::string varint(std::uint64_t value) {
  std::string out;
  for (; value >= 0x80; value >>= 7) out += static_cast<char>(value | 0x80);
  return out + static_cast<char>(value);
}
std::string bytes(unsigned number, const std::string& data) { return varint(number << 3 | 2) + varint(data.size()) + data; }
std::string integer(unsigned number, std::uint64_t value) { return varint(number << 3) + varint(value); }
std::string envelope(const std::string& version, const std::string& kind, const std::string& raw) {
  return std::string("k8s\0", 4) + bytes(1, bytes(1, version) + bytes(2, kind)) + bytes(2, raw);
}

std::string read(const char* kind, const std::string& body) {
  auto value = read_protobuf(*Schemas::builtin().find(kind), body);
  return value.ok() ? to_text(*value) : value.error().message;
}

TEST(Protobuf, ReadsADeploymentAsKubectlSendsIt) {
  const std::string pod = bytes(2, bytes(1, "c") + bytes(2, "nginx") + bytes(6, integer(3, 80)));
  const std::string labels = bytes(11, bytes(1, "app") + bytes(2, "web"));
  const std::string spec = integer(1, 0) + bytes(2, bytes(1, bytes(1, "app") + bytes(2, "web"))) +
                           bytes(3, bytes(1, labels) + bytes(2, pod)) + bytes(4, bytes(1, ""));
  const std::string text = read(
      "Deployment", envelope("apps/v1", "Deployment", bytes(1, bytes(1, "web") + bytes(8, "") + labels) + bytes(2, spec) + bytes(3, "")));
  EXPECT_EQ(
      text,
      R"({"metadata":{"name":"web","labels":{"app":"web"}},"spec":{"replicas":0,"selector":{"matchLabels":{"app":"web"}},)"
      R"("template":{"metadata":{"labels":{"app":"web"}},"spec":{"containers":[{"name":"c","image":"nginx","ports":[{"containerPort":80}]}]}},)"
      R"("strategy":{"type":""}},"status":{},"apiVersion":"apps/v1","kind":"Deployment"})");
}

TEST(Protobuf, ScalarsOfAllKinds) {
  EXPECT_EQ(read("Secret", envelope("v1", "Secret", bytes(2, bytes(1, "k") + bytes(2, "\x01\x02")))),
            R"({"data":{"k":"AQI="},"apiVersion":"v1","kind":"Secret"})");
  const std::string port = integer(3, 80) + bytes(4, integer(1, 1) + bytes(3, "http"));
  EXPECT_EQ(read("Service", envelope("v1", "Service",
                                     bytes(2, bytes(1, port) + bytes(1, integer(3, 81) + bytes(4, integer(1, 0) + integer(2, 8081)))))),
            R"({"spec":{"ports":[{"port":80,"targetPort":"http"},{"port":81,"targetPort":8081}]},"apiVersion":"v1","kind":"Service"})");
  // Embedded messages: an Ingress rule's http stands in field 2.
  EXPECT_EQ(read("Ingress", envelope("networking.k8s.io/v1", "Ingress",
                                     bytes(2, bytes(3, bytes(1, "h") + bytes(2, bytes(1, bytes(1, bytes(1, "/")))))))),
            R"({"spec":{"rules":[{"host":"h","http":{"paths":[{"path":"/"}]}}]},"apiVersion":"networking.k8s.io/v1","kind":"Ingress"})");
  EXPECT_EQ(read("DeleteOptions", envelope("v1", "DeleteOptions", integer(1, 0))),
            R"({"gracePeriodSeconds":0,"apiVersion":"v1","kind":"DeleteOptions"})");
}

TEST(Protobuf, RefusesWhatIsCut) {
  const std::string whole = envelope("v1", "ConfigMap", bytes(1, bytes(1, "name")) + bytes(2, bytes(1, "k") + bytes(2, "v")));
  for (std::size_t length = 0; length < whole.size(); ++length)
    EXPECT_FALSE(read_protobuf(*Schemas::builtin().find("ConfigMap"), whole.substr(0, length)).ok() && length > 4 &&
                 length + 1 == whole.size())
        << length;
  EXPECT_FALSE(read_protobuf(*Schemas::builtin().find("ConfigMap"), "{}").ok());
  EXPECT_FALSE(read_protobuf(*Schemas::builtin().find("ConfigMap"), envelope("v1", "ConfigMap", "\x0a\xff\xff\xff\xff\x0f")).ok());
  std::string deep;
  for (int i = 0; i < 5000; ++i) deep = bytes(1, deep);
  EXPECT_TRUE(read_protobuf(*Schemas::builtin().find("ConfigMap"), envelope("v1", "ConfigMap", deep)).ok());
}

}  // namespace
}  // namespace fairway::apiserver
