#include "compile/dns/zone.h"

#include <gtest/gtest.h>
#include <malloc.h>

#include <algorithm>
#include <map>
#include <random>

namespace fairway::compile::dns {
namespace {

using Kind = Answer::Kind;
constexpr std::uint16_t kA = 1, kNs = 2, kCname = 5, kSoa = 6, kPtr = 12, kMx = 15, kTxt = 16, kAaaa = 28, kSrv = 33;

net::IpAddr ip(std::string_view text) { return net::IpAddr::parse(text).value(); }
net::Prefix prefix(std::string_view text) { return net::Prefix::parse(text).value(); }

ZoneConfig config() {
  return {.nameservers = {ip("10.96.0.10"), ip("fd00:10:96::a")},
          .reverse = {prefix("10.96.0.0/16"), prefix("10.244.0.0/16"), prefix("fd00:10:96::/112")}};
}

model::Service service(std::string name, std::vector<std::string> ips, std::vector<model::ServicePort> ports = {}) {
  model::Service s{.id = {"default", std::move(name)}, .ports = std::move(ports)};
  for (const auto& i : ips) s.cluster_ips.push_back(ip(i));
  return s;
}
model::Service headless(std::string name) {
  model::Service s{.id = {"default", std::move(name)}};
  s.headless = true;
  return s;
}
model::Service external(std::string name, std::string target) {
  model::Service s{.id = {"default", std::move(name)}, .type = model::ServiceType::kExternalName, .external_name = std::move(target)};
  return s;
}
model::EndpointSlice slice(std::string of, std::vector<model::Endpoint> endpoints, std::vector<model::NamedPort> ports = {},
                           std::string suffix = "-1") {
  return {.id = {"default", of + suffix}, .service = {"default", of}, .ports = std::move(ports), .endpoints = std::move(endpoints)};
}
model::Endpoint endpoint(std::string addr, std::string hostname = "", bool ready = true) {
  return {.addr = ip(addr), .ready = ready, .hostname = std::move(hostname)};
}

Answer ask(const Zone& zone, std::string_view name, std::uint16_t type) {
  std::vector<std::string_view> labels;
  while (!name.empty()) {
    labels.push_back(name.substr(0, name.find('.')));
    name = name.find('.') == std::string_view::npos ? "" : name.substr(name.find('.') + 1);
  }
  return zone.lookup(labels, type);
}

std::string text(const Record& r) {
  switch (r.type) {
    case RecordType::kA:
    case RecordType::kAaaa:
      return r.addr.to_string();
    case RecordType::kSrv:
      return std::to_string(r.port) + " " + r.target;
    default:
      return r.target;
  }
}
// "nxdomain", "nodata", "outside", "incomplete", or the records' data, sorted, with commas.
std::string say(const Zone& zone, std::string_view name, std::uint16_t type) {
  Answer a = ask(zone, name, type);
  switch (a.kind) {
    case Kind::kOutside:
      return "outside";
    case Kind::kIncomplete:
      return "incomplete";
    case Kind::kNxDomain:
      return "nxdomain";
    case Kind::kNoData:
      return "nodata";
    default:
      break;
  }
  std::vector<std::string> all;
  for (const auto& r : a.records) all.push_back(text(r));
  std::sort(all.begin(), all.end());
  std::string out = a.kind == Kind::kCname ? "cname " : "";
  for (const auto& t : all) out += (&t == &all[0] ? "" : ", ") + t;
  return out;
}

class ZoneTable : public ::testing::Test {
 protected:
  ZoneTable() {
    std::vector<model::Service> services = {
        service("web", {"10.96.0.5", "fd00:10:96::5"}, {{"http", net::Protocol::kTcp, 80}, {"dns", net::Protocol::kUdp, 53}}),
        service("v4", {"10.96.0.6"}, {{"", net::Protocol::kTcp, 80}}),
        service("pending", {}),
        headless("db"),
        headless("empty"),
        headless("single"),
        external("ext", "WWW.Example.com."),
        external("bad", "a..b"),
    };
    services.push_back(headless("eager"));
    services.back().publish_not_ready = true;
    std::vector<model::EndpointSlice> slices = {
        slice("db", {endpoint("10.244.1.1", "db-0"), endpoint("10.244.1.2"), endpoint("10.244.1.3", "db-2", false)},
              {{"pg", net::Protocol::kTcp, 5432}}),
        slice("db", {endpoint("10.244.2.1", "db-3"), endpoint("10.244.1.1", "db-0")}, {{"pg", net::Protocol::kTcp, 15432}}, "-2"),
        slice("db", {endpoint("fd00:10:244::1", "db-0"), endpoint("127.0.0.1", "evil"), endpoint("fe80::1", "evil")},
              {{"pg", net::Protocol::kTcp, 5432}}, "-3"),
        slice("empty", {endpoint("10.244.1.9", "x", false)}),
        slice("eager", {endpoint("10.244.1.8", "e", false)}),
        slice("single", {endpoint("10.244.1.1")}),
        slice("web", {endpoint("10.244.1.1")}),
    };
    std::vector<model::Pod> pods = {
        {.id = {"default", "p1"}, .ips = {ip("10.244.1.1"), ip("fd00:10:244::1")}},
        {.id = {"other", "p2"}, .ips = {ip("10.244.3.1")}},
        {.id = {"other", "done"}, .terminated = true, .ips = {ip("10.244.3.2")}},
    };
    zone = compile_zone(config(), services, slices, pods);
  }
  std::shared_ptr<const Zone> zone;
};

struct TableRow {
  std::string name;
  std::uint16_t type;
  std::string want;
};
// "$" stands for default.svc.cluster.local.
const std::vector<TableRow> kTable = {
    {"dns-version.cluster.local", kTxt, "1.1.0"},
    {"dns-version.cluster.local", kA, "nodata"},
    {"web.$", kA, "10.96.0.5"},
    {"web.$", kAaaa, "fd00:10:96::5"},
    {"web.$", kMx, "nodata"},
    {"v4.$", kAaaa, "nodata"},
    {"pending.$", kA, "nxdomain"},
    {"_http._tcp.web.$", kSrv, "80 web.$"},
    {"_dns._udp.web.$", kSrv, "53 web.$"},
    {"_dns._tcp.web.$", kSrv, "nxdomain"},
    {"_http._tcp.web.$", kA, "nodata"},
    {"_tcp.web.$", kSrv, "nodata"},
    {"_sctp.web.$", kSrv, "nxdomain"},
    {"_tcp.v4.$", kSrv, "nxdomain"},
    {"x._http._tcp.web.$", kSrv, "nxdomain"},
    {"5.0.96.10.in-addr.arpa", kPtr, "web.$"},
    {"5.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa", kPtr, "web.$"},
    {"5.0.96.10.in-addr.arpa", kA, "nodata"},
    {"99.0.96.10.in-addr.arpa", kPtr, "nxdomain"},
    {"0.96.10.in-addr.arpa", kPtr, "nodata"},
    {"96.10.in-addr.arpa", kPtr, "nodata"},
    {"10.in-addr.arpa", kPtr, "outside"},
    {"x.0.96.10.in-addr.arpa", kPtr, "nxdomain"},
    {"1.5.0.96.10.in-addr.arpa", kPtr, "nxdomain"},
    {"05.0.96.10.in-addr.arpa", kPtr, "nxdomain"},
    {"8.8.8.8.in-addr.arpa", kPtr, "outside"},
    {"db.$", kA, "10.244.1.1, 10.244.1.2, 10.244.2.1"},
    {"db.$", kAaaa, "fd00:10:244::1"},
    {"db-0.db.$", kA, "10.244.1.1"},
    {"db-0.db.$", kAaaa, "fd00:10:244::1"},
    {"db-3.db.$", kAaaa, "nodata"},
    {"db-2.db.$", kA, "nxdomain"},
    {"10-244-1-2.db.$", kA, "10.244.1.2"},
    {"10-244-1-1.db.$", kA, "nxdomain"},
    {"evil.db.$", kA, "nxdomain"},
    {"_pg._tcp.db.$", kSrv, "15432 db-0.db.$, 15432 db-3.db.$, 5432 10-244-1-2.db.$, 5432 db-0.db.$"},
    {"1.2.244.10.in-addr.arpa", kPtr, "db-3.db.$"},
    {"1.1.244.10.in-addr.arpa", kPtr, "10-244-1-1.single.$, db-0.db.$"},
    {"empty.$", kA, "nxdomain"},
    {"eager.$", kA, "10.244.1.8"},
    {"ext.$", kA, "cname www.example.com"},
    {"ext.$", kCname, "cname www.example.com"},
    {"x.ext.$", kA, "nxdomain"},
    {"bad.$", kA, "nxdomain"},
    {"10-244-1-1.default.pod.cluster.local", kA, "10.244.1.1"},
    {"10-244-1-1.default.pod.cluster.local", kAaaa, "nodata"},
    {"fd00-10-244--1.default.pod.cluster.local", kAaaa, "fd00:10:244::1"},
    {"10-244-1-1.other.pod.cluster.local", kA, "nxdomain"},
    {"10-244-3-2.other.pod.cluster.local", kA, "nxdomain"},
    {"other.pod.cluster.local", kA, "nodata"},
    {"other.svc.cluster.local", kA, "nxdomain"},
    {"default.svc.cluster.local", kA, "nodata"},
    {"svc.cluster.local", kA, "nodata"},
    {"cluster.local", kA, "nodata"},
    {"cluster.local", kNs, "ns.dns.cluster.local"},
    {"cluster.local", kSoa, "ns.dns.cluster.local"},
    {"ns.dns.cluster.local", kA, "10.96.0.10"},
    {"dns.cluster.local", kA, "nodata"},
    {"nope.cluster.local", kA, "nxdomain"},
    {"www.google.com.cluster.local", kA, "nxdomain"},
    {"xcluster.local", kA, "outside"},
    {"local", kA, "outside"},
    {"", kA, "outside"},
};

std::string spelled_out(std::string text) {
  for (std::size_t at; (at = text.find('$')) != std::string::npos;) text.replace(at, 1, "default.svc.cluster.local");
  return text;
}

TEST_F(ZoneTable, EveryRecordOfTheSpecification) {
  for (const TableRow& row : kTable) {
    EXPECT_EQ(say(*zone, spelled_out(row.name), row.type), spelled_out(row.want)) << row.name << " " << row.type;
  }
}

TEST_F(ZoneTable, AnyGivesOneRrset) {
  Answer a = ask(*zone, "web.default.svc.cluster.local", kTypeAny);
  ASSERT_EQ(a.records.size(), 1u);
  EXPECT_EQ(a.records[0].type, RecordType::kA);
}

TEST_F(ZoneTable, SrvBringsItsAddresses) {
  Answer a = ask(*zone, "_http._tcp.web.default.svc.cluster.local", kSrv);
  ASSERT_EQ(a.additional.size(), 2u);
  EXPECT_EQ(a.additional[0].owner, "web.default.svc.cluster.local");
}

TEST_F(ZoneTable, LabelsMayHoldAnyBytes) {
  std::vector<std::string_view> labels = {std::string_view("web\0x", 5), std::string_view("default\0web", 11), "svc", "cluster", "local"};
  EXPECT_EQ(zone->lookup(labels, kA).kind, Kind::kNxDomain);
  labels = {"web.default", "svc", "cluster", "local"};
  EXPECT_EQ(zone->lookup(labels, kA).kind, Kind::kNxDomain);
}

TEST(Zone, BeforeTheSyncNothingIsDenied) {
  ZoneBuilder builder(config());
  builder.set_service(service("web", {"10.96.0.5"}), {});
  auto before = builder.snapshot();
  EXPECT_EQ(say(*before, "web.default.svc.cluster.local", kA), "10.96.0.5");
  EXPECT_EQ(say(*before, "web.default.svc.cluster.local", kAaaa), "nodata");
  EXPECT_EQ(say(*before, "new.default.svc.cluster.local", kA), "incomplete");
  EXPECT_EQ(say(*before, "other.svc.cluster.local", kA), "incomplete");
  EXPECT_EQ(say(*before, "7.0.96.10.in-addr.arpa", kPtr), "incomplete");
  EXPECT_EQ(say(*before, "www.google.com.cluster.local", kA), "nxdomain");
  builder.set_complete(true);
  EXPECT_EQ(say(*builder.snapshot(), "new.default.svc.cluster.local", kA), "nxdomain");
  EXPECT_EQ(say(*before, "new.default.svc.cluster.local", kA), "incomplete");
}

TEST(Zone, SnapshotIsTheSameUntilSomethingChanges) {
  ZoneBuilder builder(config());
  auto first = builder.snapshot();
  EXPECT_EQ(builder.snapshot(), first);
  builder.set_service(service("web", {"10.96.0.5"}), {});
  auto second = builder.snapshot();
  EXPECT_NE(second, first);
  builder.set_service(service("web", {"10.96.0.5"}), {});
  EXPECT_EQ(builder.snapshot(), second);
  EXPECT_GT(second->serial(), first->serial());
}

// Random adds, changes and removals of Services, slices and pods, in steps, against compile_zone of the outcome.
class RandomCluster {
 public:
  RandomCluster() { builder_.set_complete(true); }

  void step() {
    model::Name id{"ns" + std::to_string(pick(3)), "s" + std::to_string(pick(12))};
    switch (pick(5)) {
      case 0:
        services_.erase(id);
        break;
      case 1:
        services_[id] = service(id);
        break;
      case 2: {
        model::EndpointSlice s = slice(id);
        slices_[s.id] = s;
        break;
      }
      case 3:
        slices_.erase({id.ns, id.name + "-" + std::to_string(pick(3))});
        break;
      default:
        return pod(id);
    }
    std::vector<model::EndpointSlice> own;
    for (const auto& [name, s] : slices_)
      if (s.service == id) own.push_back(s);
    if (auto found = services_.find(id); found != services_.end()) builder_.set_service(found->second, own);
    else builder_.remove_service(id);
  }
  std::shared_ptr<const Zone> step_by_step() { return builder_.snapshot(); }
  std::shared_ptr<const Zone> full() const { return compile_zone(config(), values(services_), values(slices_), values(pods_)); }

 private:
  unsigned pick(unsigned n) { return static_cast<unsigned>(random_() % n); }
  template <typename Map>
  static std::vector<typename Map::mapped_type> values(const Map& map) {
    std::vector<typename Map::mapped_type> out;
    for (const auto& [key, value] : map) out.push_back(value);
    return out;
  }
  model::Service service(const model::Name& id) {
    model::Service s{.id = id};
    unsigned kind = pick(3);
    if (kind == 0) s.cluster_ips = {net::IpAddr::v4(0x0a600000 + pick(20))};
    if (kind == 1) s.headless = true;
    if (kind == 2) {
      s.type = model::ServiceType::kExternalName;
      s.external_name = "x" + std::to_string(pick(3)) + ".example";
    }
    if (pick(2)) s.ports.push_back({"p" + std::to_string(pick(3)), net::Protocol::kTcp, static_cast<std::uint16_t>(pick(100))});
    return s;
  }
  model::EndpointSlice slice(const model::Name& id) {
    model::EndpointSlice s{.id = {id.ns, id.name + "-" + std::to_string(pick(3))}, .service = id};
    for (unsigned i = pick(6); i > 0; --i) {
      std::string hostname = pick(2) ? "h" + std::to_string(pick(4)) : "";
      s.endpoints.push_back({.addr = net::IpAddr::v4(0x0af40000 + pick(30)), .ready = pick(4) != 0, .hostname = hostname});
    }
    if (pick(2)) s.ports.push_back({"p" + std::to_string(pick(2)), net::Protocol::kTcp, static_cast<std::uint16_t>(pick(3))});
    return s;
  }
  void pod(const model::Name& id) {
    model::Pod pod{.id = id, .terminated = pick(5) == 0, .ips = {net::IpAddr::v4(0x0af40000 + pick(30))}};
    if (pick(2)) {
      pods_[id] = pod;
      return builder_.set_pod(pod);
    }
    pods_.erase(id);
    builder_.remove_pod(id);
  }

  std::mt19937 random_{11};
  std::map<model::Name, model::Service> services_;
  std::map<model::Name, model::EndpointSlice> slices_;
  std::map<model::Name, model::Pod> pods_;
  ZoneBuilder builder_{config()};
};

TEST(Zone, IncrementalIsFull) {
  RandomCluster cluster;
  for (int step = 0; step < 4000; ++step) {
    cluster.step();
    if (step % 97 != 0 && step != 3999) continue;
    auto full = cluster.full(), steps = cluster.step_by_step();
    ASSERT_EQ(steps->dump(), full->dump()) << "step " << step;
    ASSERT_EQ(steps->counts().services, full->counts().services);
    ASSERT_EQ(steps->counts().addresses, full->counts().addresses);
    ASSERT_EQ(steps->counts().pods, full->counts().pods);
    for (const auto& r : full->dump()) {  // what is dumped is answered
      ASSERT_NE(say(*steps, r.owner, static_cast<std::uint16_t>(r.type)).find(text(r)), std::string::npos) << r.owner;
    }
    for (std::string ns : {"ns0", "ns1", "ns2"}) {  // namespaces end with their last name
      ASSERT_EQ(say(*steps, ns + ".svc.cluster.local", kA), say(*full, ns + ".svc.cluster.local", kA));
      ASSERT_EQ(say(*steps, ns + ".pod.cluster.local", kA), say(*full, ns + ".pod.cluster.local", kA));
    }
  }
}

#if !defined(__SANITIZE_ADDRESS__) && !defined(__SANITIZE_THREAD__)
TEST(Zone, AnObjectCostsAQuarterOfAKilobyte) {
  ZoneBuilder builder(config());
  std::size_t before = mallinfo2().uordblks;
  constexpr unsigned kServices = 20'000, kPods = 20'000;
  for (unsigned i = 0; i < kServices; ++i) {
    model::Service s{.id = {"namespace-" + std::to_string(i % 100), "some-service-name-" + std::to_string(i)},
                     .cluster_ips = {net::IpAddr::v4(0x0a600000 + i)},
                     .ports = {{"http", net::Protocol::kTcp, 80}}};
    builder.set_service(s, {});
  }
  for (unsigned i = 0; i < kPods; ++i) {
    builder.set_pod({.id = {"namespace-" + std::to_string(i % 100), "some-deployment-5d9c7b8f6d-x" + std::to_string(i)},
                     .ips = {net::IpAddr::v4(0x0af40000 + i)}});
  }
  auto zone = builder.snapshot();
  std::size_t used = mallinfo2().uordblks - before;
  EXPECT_LE(used / (kServices + kPods), 256u);
  EXPECT_EQ(zone->counts().services, kServices);
}
#endif

}  // namespace
}  // namespace fairway::compile::dns
