#include "policycheck/asked.h"

#include "policycheck/testing.h"

namespace fairway::policycheck {
namespace {

const std::string kAsked =
    pod("db", "{app: db}") + pod("many", "{app: many}") + pod("plain").replace(pod("plain").find(", ports:"), std::string::npos, "}]}\n") +
    "---\nkind: Pod\napiVersion: v1\nmetadata: {name: report, namespace: shop}\nspec: {containers: [{name: c, image: i}]}\n"
    "---\nkind: Service\napiVersion: v1\nmetadata: {name: store}\n"
    "spec: {selector: {app: db}, ports: [{name: a, port: 80, targetPort: http}, {name: b, port: 53, targetPort: 5353, protocol: UDP}]}\n"
    "---\nkind: Service\napiVersion: v1\nmetadata: {name: empty}\nspec: {selector: {app: none}, ports: [{port: 80}]}\n";

struct Told {
  std::string ends, ports, note;
  bool operator==(const Told&) const = default;
};
std::ostream& operator<<(std::ostream& out, const Told& told) { return out << told.ends << " | " << told.ports << " | " << told.note; }

Told asked(const std::string& text) {
  const auto check = check_of(kAsked);
  const auto out = parse_destination(*check, text, "default");
  if (!out.ok()) return {"", "", out.error().message};
  Told told{"", out->ports.to_string(), out->note};
  for (const End* end : out->ends) told.ends += (told.ends.empty() ? "" : ",") + end->name;
  return told;
}

TEST(Asked, APortThatIsGivenIsTaken) {
  EXPECT_EQ(asked("db:22"), (Told{"default/db", "22", ""}));
  EXPECT_EQ(asked("store:80").ends, "default/db");
}

TEST(Asked, WithoutOneEachThatContainersAndServicesName) {
  EXPECT_EQ(asked("db"), (Told{"default/db", "8080,5353/udp", "port 8080,5353/udp, as containers and Services of default/db name it"}));
  EXPECT_EQ(asked("many").ports, "8080");
  EXPECT_EQ(asked("plain").note, "name a port: plain:80; its manifests name none");
  EXPECT_EQ(asked("outside").note, "name a port: outside:80; its manifests name none");
  EXPECT_EQ(asked("*").note, "name a port: *:80; it is several ends");
}

TEST(Asked, AServiceIsWhatIsBehindIt) {
  EXPECT_EQ(asked("store"),
            (Told{"default/db", "8080,5353/udp", "Service default/store port 80,53/udp leads to port 8080,5353/udp of default/db"}));
  EXPECT_EQ(asked("default/store:53/udp"),
            (Told{"default/db", "5353/udp", "Service default/store port 53/udp leads to port 5353/udp of default/db"}));
  EXPECT_EQ(asked("store:81").note, "Service default/store has no such port: 81");
  EXPECT_EQ(asked("empty").note, "Service default/empty selects no pod here: name a workload");
}

TEST(Asked, AServiceThatHasAWorkloadsName) {
  const auto check = check_of(kAsked +
                              "---\nkind: Service\napiVersion: v1\nmetadata: {name: many}\n"
                              "spec: {selector: {app: db}, ports: [{port: 80, targetPort: 8080}, {port: 8080}]}\n");
  const auto note = [&](const std::string& text) { return parse_destination(*check, text, "default")->note; };
  EXPECT_EQ(note("many:80"), "its pods are asked on port 80 itself; by Service default/many it is svc/default/many:80");
  EXPECT_EQ(note("many:8080"), "") << "it is the same by either";
  EXPECT_EQ(note("svc/many:80"), "Service default/many port 80 leads to port 8080 of default/db");
  EXPECT_EQ(note("svc/default/many:80"), note("svc/many:80"));
  EXPECT_EQ(parse_destination(*check, "svc/db:80", "default").error().message, "there is no Service default/db");
}

TEST(Asked, ANameOfAnotherNamespaceIsPointedTo) {
  const auto check = check_of(kAsked);
  const auto told = [&](const std::string& name) { return ends_named(*check, name, "default").error().message; };
  EXPECT_EQ(told("report"), "\"report\": namespace default has no workload or pod of that name; there is shop/report: -n shop");
  EXPECT_EQ(told("other/report"), "\"other/report\": namespace other has no workload or pod of that name; there is shop/report");
  EXPECT_EQ(
      told("store"),
      "\"store\": namespace default has no workload or pod of that name; there is a Service of that name: name the workload behind it");
  EXPECT_EQ(told("shop/store"), "\"shop/store\": namespace shop has no workload or pod of that name; there is Service default/store");
  EXPECT_EQ(told("x*"), "nothing here is named \"x*\"; `*` shows all there is");
  EXPECT_EQ(ends_named(*check, "db", "default").value_or({}).size(), 1u);
}

}  // namespace
}  // namespace fairway::policycheck
