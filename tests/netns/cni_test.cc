// test-deps: fw_cni
// The CNI plugin as a runtime uses it: the real binary, real namespaces, real pings.
#include "cni_test_support.h"

namespace fairway::cnitest {
namespace {

TEST_F(CniTest, TwoPodsReachEachOtherAndTheirNode) {
  ASSERT_TRUE(start());
  const std::string a = pod("a"), b = pod("b");
  const Answer added_a = add("sandbox-a", a), added_b = add("sandbox-b", b);
  ASSERT_EQ(added_a.exit_code, 0) << added_a.out;
  ASSERT_EQ(added_b.exit_code, 0) << added_b.out;
  ASSERT_EQ(added_a.ips().size(), 2U) << added_a.out;
  for (const auto& ip : added_b.ips()) expect_ping(a, ip);
  for (const auto& ip : added_a.ips()) expect_ping(b, ip);
  for (const auto& ip : added_a.ips()) expect_ping(node_, ip);

  const json::object result = added_a.parsed();
  EXPECT_EQ(result.at("cniVersion").as_string(), "1.1.0");
  const auto& interfaces = result.at("interfaces").as_array();
  ASSERT_EQ(interfaces.size(), 2U);
  EXPECT_EQ(interfaces[1].at("sandbox").as_string(), a);
  EXPECT_EQ(interfaces[1].at("mtu").as_int64(), 1450);
  EXPECT_EQ(result.at("ips").at(0).at("interface").as_int64(), 1);
  EXPECT_FALSE(result.at("ips").at(0).as_object().contains("version"));
  EXPECT_EQ(result.at("routes").at(0).at("dst").as_string(), "0.0.0.0/0");
}

TEST_F(CniTest, PodSideNeedsNoArpNoDadAndTakesNoAdvertisements) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  ASSERT_EQ(add("sandbox-a", a).exit_code, 0);
  const auto addresses = in(a, {"ip", "addr", "show", "eth0"});
  ASSERT_TRUE(addresses.ok());
  EXPECT_EQ(addresses->find("tentative"), std::string::npos) << *addresses;
  EXPECT_EQ(addresses->find("fe80"), std::string::npos) << *addresses;
  EXPECT_NE(addresses->find("/128"), std::string::npos) << *addresses;
  EXPECT_NE(addresses->find("mtu 1450"), std::string::npos) << *addresses;
  const auto neighbours = in(a, {"ip", "neigh"});
  EXPECT_NE(neighbours->find("169.254.1.1 dev eth0"), std::string::npos) << *neighbours;
  EXPECT_NE(neighbours->find("PERMANENT"), std::string::npos) << *neighbours;
  EXPECT_EQ(*in(a, {"cat", "/proc/sys/net/ipv6/conf/eth0/accept_ra"}), "0\n");
  for (const auto& name : host_links()) EXPECT_EQ(*in(node_, {"cat", "/proc/sys/net/ipv6/conf/" + name + "/accept_ra"}), "0\n");
}

TEST_F(CniTest, DelRemovesEverythingAndMayBeRepeated) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  ASSERT_EQ(add("sandbox-a", a).exit_code, 0);
  EXPECT_EQ(rows().size(), 1U);
  EXPECT_EQ(del("sandbox-a", a).exit_code, 0);
  EXPECT_TRUE(rows().empty());
  EXPECT_TRUE(eventually([&] { return host_links().empty(); }));
  EXPECT_EQ(del("sandbox-a", a).exit_code, 0);
  EXPECT_EQ(del("sandbox-a", "").exit_code, 0);
  const Answer never = del("never-added", "/run/netns/does-not-exist");
  EXPECT_EQ(never.exit_code, 0) << never.out;
  EXPECT_EQ(never.out, "");
  const Answer again = add("sandbox-a", a);  // the name may come back, after its interface went
  EXPECT_EQ(again.exit_code, 0) << again.out;
}

TEST_F(CniTest, CheckSeesEachThingThatIsWrong) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  const Answer added = add("sandbox-a", a);
  ASSERT_EQ(added.exit_code, 0) << added.out;
  ASSERT_EQ(check("sandbox-a", a, added).exit_code, 0) << check("sandbox-a", a, added).out;
  const std::string v4 = added.ips().at(0), v6 = added.ips().at(1), host = host_links().at(0);
  struct Damage {
    std::string netns;
    std::vector<std::string> break_it, mend_it;
    std::string word;
  };
  const std::string pod_mac(added.parsed().at("interfaces").at(1).at("mac").as_string());
  const std::string host_mac(added.parsed().at("interfaces").at(0).at("mac").as_string());
  const std::vector<Damage> damages = {
      {a,
       {"ip", "neigh", "del", "169.254.1.1", "dev", "eth0"},
       {"ip", "neigh", "replace", "169.254.1.1", "lladdr", host_mac, "dev", "eth0", "nud", "permanent"},
       "neighbour 169.254.1.1"},
      {a, {"ip", "link", "set", "eth0", "mtu", "1400"}, {"ip", "link", "set", "eth0", "mtu", "1450"}, "MTU"},
      {node_, {"ip", "route", "del", v4}, {"ip", "route", "add", v4, "dev", host}, "route to " + v4},
      {node_, {"ip", "-6", "route", "del", v6}, {"ip", "-6", "route", "add", v6, "dev", host}, "route to " + v6},
      {node_,
       {"ip", "neigh", "del", v4, "dev", host},
       {"ip", "neigh", "replace", v4, "lladdr", pod_mac, "dev", host, "nud", "permanent"},
       "neighbour " + v4},
      {a,
       {"ip", "route", "del", "default"},
       {"ip", "route", "add", "default", "via", "169.254.1.1", "dev", "eth0", "onlink"},
       "default route"},
      {a, {"ip", "link", "set", "eth0", "address", "02:00:00:00:00:01"}, {}, "MAC"},  // not mended: the kernel drops the neighbours with it
      {node_, {"rm", dir_ + "/rows/" + host}, {}, "datapath"},
  };
  for (const auto& damage : damages) {
    ASSERT_TRUE(in(damage.netns, damage.break_it).ok()) << damage.word;
    const Answer answer = check("sandbox-a", a, added);
    EXPECT_EQ(answer.exit_code, 1) << damage.word;
    EXPECT_EQ(answer.code(), 101) << answer.out;
    EXPECT_NE(answer.message().find(damage.word), std::string::npos) << answer.out;
    if (damage.mend_it.empty()) continue;
    ASSERT_TRUE(in(damage.netns, damage.mend_it).ok()) << damage.word;
    ASSERT_EQ(check("sandbox-a", a, added).exit_code, 0) << damage.word << check("sandbox-a", a, added).out;
  }
}

TEST_F(CniTest, CheckOfALostAddressAnInterfaceAndAnUnknownSandbox) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  const Answer added = add("sandbox-a", a);
  ASSERT_TRUE(in(a, {"ip", "addr", "del", added.ips().at(0) + "/32", "dev", "eth0"}).ok());
  EXPECT_NE(check("sandbox-a", a, added).message().find("address " + added.ips().at(0)), std::string::npos);
  ASSERT_TRUE(in(a, {"ip", "link", "del", "eth0"}).ok());
  EXPECT_NE(check("sandbox-a", a, added).message().find("eth0 does not exist"), std::string::npos);
  EXPECT_EQ(check("sandbox-b", a, added).code(), 3);
  const Answer without = call("CHECK", "sandbox-a", a, config());
  EXPECT_EQ(without.code(), 7) << without.out;
  json::object old = config("0.3.1");
  old["prevResult"] = added.parsed();
  EXPECT_EQ(call("CHECK", "sandbox-a", a, old).code(), 1);
}

TEST_F(CniTest, GcCollectsWhatIsNotListedAndNotAlive) {
  ASSERT_TRUE(start({"gc-grace=0"}));
  const std::string kept = pod("kept"), gone = pod("gone"), empty = pod("empty"), inhabited = pod("inhabited");
  for (const auto& [id, path] : {std::pair{"kept", kept}, {"gone", gone}, {"empty", empty}, {"inhabited", inhabited}})
    ASSERT_EQ(add(id, path).exit_code, 0);
  // A process in a namespace that the runtime forgot to list: it must not lose its address.
  const auto fd = sys::open_netns(inhabited);
  pid_t sleeper = -1;
  ASSERT_TRUE(sys::in_netns(*fd, [&]() -> Status {
                char name[] = "sleep", time[] = "60";
                char* argv[] = {name, time, nullptr};
                return ::posix_spawnp(&sleeper, "sleep", nullptr, nullptr, argv, environ) == 0 ? Status{} : make_error(Code::kIo, "spawn");
              }).ok());
  remove_pod(gone);
  json::object conf = config();
  conf["cni.dev/valid-attachments"] = json::array{json::object{{"containerID", "kept"}, {"ifname", "eth0"}}};
  const Answer answer = call("GC", "", "", conf);
  ::kill(sleeper, SIGKILL);
  ::waitpid(sleeper, nullptr, 0);
  EXPECT_EQ(answer.exit_code, 0) << answer.out;
  EXPECT_TRUE(eventually([&] { return host_links().size() == 2; })) << host_links().size();
  EXPECT_EQ(rows().size(), 2U);
  const Answer missing = call("GC", "", "", config());
  EXPECT_EQ(missing.code(), 7) << missing.out;
  EXPECT_EQ(rows().size(), 2U);
}

TEST_F(CniTest, GcSparesTheYoung) {
  ASSERT_TRUE(start());
  ASSERT_EQ(add("young", pod("young")).exit_code, 0);
  json::object conf = config();
  conf["cni.dev/valid-attachments"] = json::array{};
  EXPECT_EQ(call("GC", "", "", conf).exit_code, 0);
  EXPECT_EQ(rows().size(), 1U);
}

TEST_F(CniTest, WithoutAnAgent) {
  const std::string a = pod("a");
  EXPECT_EQ(add("sandbox-a", a).code(), 11);
  EXPECT_EQ(call("STATUS", "", "", config()).code(), 50);
  const Answer version = start_plugin({{"CNI_COMMAND", "VERSION"}}, R"({"cniVersion":"1.0.0"})").wait();
  EXPECT_EQ(version.exit_code, 0);
  EXPECT_EQ(version.parsed().at("supportedVersions").as_array().size(), 4U) << version.out;
}

TEST_F(CniTest, DelIsSpooledWhileTheAgentIsAway) {
  ASSERT_TRUE(start());
  const std::string a = pod("a"), b = pod("b");
  ASSERT_EQ(add("sandbox-a", a).exit_code, 0);
  ASSERT_EQ(add("sandbox-b", b).exit_code, 0);
  kill_server();
  for (int i = 0; i < 2; ++i) {
    const Answer spooled_del = del("sandbox-a", a);
    EXPECT_EQ(spooled_del.exit_code, 0) << spooled_del.out;
  }
  EXPECT_EQ(spooled(), 1U);
  EXPECT_EQ(rows().size(), 2U);
  ASSERT_TRUE(start());
  EXPECT_TRUE(eventually([&] { return spooled() == 0 && rows().size() == 1 && host_links().size() == 1; }));
}

TEST_F(CniTest, SpooledDelDoesNotHitALaterAddOfTheSameName) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  ASSERT_EQ(add("sandbox-a", a).exit_code, 0);
  // The spool is written while the agent lives, as when the plugin just missed its start.
  const json::object body{{"command", "DEL"}, {"containerId", "sandbox-a"}, {"netns", a}, {"ifname", "eth0"}, {"args", ""},
                          {"path", ""},       {"config", config()}};
  stop();
  EXPECT_EQ(del("sandbox-a", a).exit_code, 0);
  const std::string name = fs::directory_iterator(dir_ + "/spool")->path().filename();
  fs::remove(dir_ + "/spool/" + name);
  ASSERT_TRUE(start());
  ASSERT_TRUE(sys::write_file_atomic(dir_ + "/spool/" + name, json::serialize(body)).ok());
  const Answer again = add("sandbox-a", a);
  ASSERT_EQ(again.exit_code, 0) << again.out;
  EXPECT_EQ(spooled(), 0U);
  EXPECT_EQ(check("sandbox-a", a, again).exit_code, 0);
}

TEST_F(CniTest, BadInputIsACniErrorNamingIt) {
  ASSERT_TRUE(start());
  const std::string a = pod("a"), good = json::serialize(config());
  struct Case {
    std::map<std::string, std::string> change;
    std::string input;
    std::int64_t code;
    std::string word;
  };
  const auto with = [&](const std::string& key, json::value value) {
    json::object conf = config();
    conf[key] = std::move(value);
    return json::serialize(conf);
  };
  const std::vector<Case> cases = {
      {{}, "garbage \xff\x01", 6, "decode"},
      {{}, "", 6, "decode"},
      {{}, "[]", 6, "decode"},
      {{}, good + "x", 6, "decode"},
      {{}, std::string(1 << 20, ' '), 6, "larger"},
      {{}, std::string(5000, '['), 6, "decode"},
      {{}, with("cniVersion", "0.1.0"), 1, "0.1.0"},
      {{}, with("cniVersion", 7), 7, "cniVersion"},
      {{}, with("name", "../x"), 7, "name"},
      {{}, with("agentSocket", "relative"), 7, "agentSocket"},
      {{}, with("prevResult", json::object{}), 7, "prevResult"},
      {{}, with("runtimeConfig", json::object{{"ips", json::array{"10.9.9.9"}}}), 7, "10.9.9.9"},
      {{}, with("runtimeConfig", json::object{{"mac", "01:00:00:00:00:01"}}), 7, "mac"},
      {{}, with("runtimeConfig", json::object{{"portMappings", json::array{json::object{{"hostPort", 70000}}}}}), 7, "hostPort"},
      {{}, with("runtimeConfig", json::object{{"bandwidth", json::object{{"ingressRate", -1}}}}), 7, "ingressRate"},
      {{{"CNI_COMMAND", "EXPLODE"}}, good, 4, "CNI_COMMAND"},
      {{{"CNI_CONTAINERID", "../../etc"}}, good, 4, "CNI_CONTAINERID"},
      {{{"CNI_CONTAINERID", ""}}, good, 4, "CNI_CONTAINERID"},
      {{{"CNI_IFNAME", "a/b"}}, good, 4, "CNI_IFNAME"},
      {{{"CNI_IFNAME", "sixteen-letters-x"}}, good, 4, "CNI_IFNAME"},
      {{{"CNI_ARGS", "NOEQUALS"}}, good, 4, "CNI_ARGS"},
      {{{"CNI_NETNS", ""}}, good, 4, "CNI_NETNS"},
      {{{"CNI_NETNS", "relative"}}, good, 4, "CNI_NETNS"},
      {{{"CNI_NETNS", "/etc/hostname"}}, good, 4, "not a network namespace"},
      {{{"CNI_NETNS", node_}}, good, 4, "own network namespace"},
      {{{"CNI_NETNS", "/run/netns/does-not-exist"}}, good, 3, "does-not-exist"},
  };
  for (const auto& one : cases) {
    auto env = environment("ADD", "sandbox-x", a);
    for (const auto& [key, value] : one.change) env[key] = value;
    const Answer answer = start_plugin(env, one.input).wait();
    EXPECT_EQ(answer.exit_code, 1) << one.word << " " << answer.out;
    EXPECT_EQ(answer.code(), one.code) << one.word << " " << answer.out;
    EXPECT_NE(answer.message().find(one.word), std::string::npos) << answer.out;
  }
  EXPECT_TRUE(eventually([&] { return host_links().empty(); }));
  EXPECT_TRUE(rows().empty());
  EXPECT_EQ(add("sandbox-x", a).exit_code, 0);
}

TEST_F(CniTest, ResultsSpeakTheVersionAsked) {
  ASSERT_TRUE(start());
  for (const std::string version : {"0.3.1", "0.4.0", "1.0.0", "1.1.0"}) {
    std::string id = "v" + version;
    const Answer answer = call("ADD", id, pod(id), config(version));
    ASSERT_EQ(answer.exit_code, 0) << answer.out;
    const json::object result = answer.parsed();
    EXPECT_EQ(result.at("cniVersion").as_string(), version);
    EXPECT_EQ(result.at("ips").at(0).as_object().contains("version"), version < "1.0.0") << answer.out;
    EXPECT_EQ(result.at("interfaces").at(1).as_object().contains("mtu"), version == "1.1.0") << answer.out;
  }
}

TEST_F(CniTest, FixedAddressMacAndHostPortAreKept) {
  ASSERT_TRUE(start());
  json::object conf = config();
  conf["runtimeConfig"] =
      json::object{{"ips", json::array{"10.244.7.77/24"}},
                   {"mac", "02:11:22:33:44:55"},
                   {"portMappings", json::array{json::object{{"hostPort", 8080}, {"containerPort", 80}, {"protocol", "tcp"}}}}};
  const std::string a = pod("a");
  const Answer answer = call("ADD", "web", a, conf);
  ASSERT_EQ(answer.exit_code, 0) << answer.out;
  EXPECT_EQ(answer.ips().at(0), "10.244.7.77");
  EXPECT_EQ(answer.parsed().at("interfaces").at(1).at("mac").as_string(), "02:11:22:33:44:55");
  EXPECT_EQ(check("web", a, answer).exit_code, 0);
  const Answer second = call("ADD", "web2", pod("b"), conf);
  EXPECT_EQ(second.code(), 11) << second.out;
  EXPECT_NE(second.message().find("in use by sandbox web"), std::string::npos) << second.out;
}

TEST_F(CniTest, BandwidthShapesBothDirections) {
  ASSERT_TRUE(start());
  json::object conf = config();
  conf["runtimeConfig"] = json::object{
      {"bandwidth",
       json::object{{"ingressRate", 8'000'000}, {"ingressBurst", 800'000}, {"egressRate", 16'000'000}, {"egressBurst", 800'000}}}};
  const std::string a = pod("a");
  const Answer answer = call("ADD", "slow", a, conf);
  ASSERT_EQ(answer.exit_code, 0) << answer.out;
  const auto host = in(node_, {"tc", "qdisc", "show", "dev", host_links().at(0)}), inside = in(a, {"tc", "qdisc", "show", "dev", "eth0"});
  EXPECT_NE(host->find("tbf"), std::string::npos) << *host;
  EXPECT_NE(host->find("rate 8Mbit"), std::string::npos) << *host;
  EXPECT_NE(inside->find("rate 16Mbit"), std::string::npos) << *inside;
  expect_ping(node_, answer.ips().at(0));
}

TEST_F(CniTest, ARangeThatIsFullSaysSo) {
  ASSERT_TRUE(start_exactly({CNI_FIXTURE, node_, dir_, "cidr=10.244.7.0/30", "cool-down=3600"}));
  for (int i = 0; i < 4; ++i) ASSERT_EQ(add("p" + std::to_string(i), pod("p" + std::to_string(i))).exit_code, 0);
  const std::string extra = pod("extra");
  const Answer full = add("extra", extra);
  EXPECT_EQ(full.code(), 11) << full.out;
  EXPECT_NE(full.message().find("10.244.7.0/30"), std::string::npos) << full.out;
  EXPECT_NE(warnings().find("no free address"), std::string::npos);
  ASSERT_EQ(del("p0", "").exit_code, 0);
  const Answer cooling = add("extra", extra);  // freed a moment ago: not given yet
  EXPECT_EQ(cooling.code(), 11) << cooling.out;
  EXPECT_NE(cooling.message().find("1 freed less than"), std::string::npos) << cooling.out;
}

TEST_F(CniTest, AFailureOfTheDatapathLeavesNothing) {
  ASSERT_TRUE(start({"fail-add=1"}));
  const Answer refused = add("sandbox-a", pod("a"));
  EXPECT_EQ(refused.code(), 11) << refused.out;
  EXPECT_NE(refused.message().find("No space left"), std::string::npos) << refused.out;
  EXPECT_TRUE(eventually([&] { return host_links().empty(); }));
}

TEST_F(CniTest, StatusTellsWhetherAddWouldWork) {
  ASSERT_TRUE(start());
  EXPECT_EQ(call("STATUS", "", "", config()).exit_code, 0);
  stop();
  ASSERT_TRUE(start({"unavailable=the datapath is not loaded"}));
  const Answer answer = call("STATUS", "", "", config());
  EXPECT_EQ(answer.code(), 50);
  EXPECT_NE(answer.message().find("datapath is not loaded"), std::string::npos);
  EXPECT_EQ(add("sandbox-a", pod("a")).code(), 11);
  stop();
  ASSERT_TRUE(start_exactly({CNI_FIXTURE, node_, dir_}));
  EXPECT_EQ(call("STATUS", "", "", config()).code(), 50);
}

TEST_F(CniTest, ARepeatedAddAnswersTheSameAndADeadOneIsMadeAnew) {
  ASSERT_TRUE(start());
  const std::string a = pod("a"), b = pod("b");
  const Answer first = add("sandbox-a", a), second = add("sandbox-a", a);
  EXPECT_EQ(second.exit_code, 0) << second.out;
  EXPECT_EQ(first.ips(), second.ips());
  EXPECT_EQ(host_links().size(), 1U);
  const Answer moved = add("sandbox-a", b);  // the same name with another namespace
  ASSERT_EQ(moved.exit_code, 0) << moved.out;
  EXPECT_NE(moved.ips(), first.ips());
  EXPECT_TRUE(eventually([&] { return host_links().size() == 1; }));
  EXPECT_EQ(check("sandbox-a", b, moved).exit_code, 0);
}

TEST_F(CniTest, ANewMtuReachesRunningPods) {
  ASSERT_TRUE(start());
  const std::string a = pod("a");
  const Answer added = add("sandbox-a", a);
  ASSERT_EQ(added.exit_code, 0) << added.out;
  stop();
  ASSERT_TRUE(start({"mtu=1300"}));
  EXPECT_TRUE(eventually([&] { return in(a, {"ip", "link", "show", "eth0"})->find("mtu 1300") != std::string::npos; }));
  EXPECT_TRUE(eventually([&] { return check("sandbox-a", a, added).exit_code == 0; })) << check("sandbox-a", a, added).out;
  EXPECT_EQ(warnings(), "");
}

TEST_F(CniTest, HundredInParallelHaveHundredAddresses) {
  ASSERT_TRUE(start());
  constexpr int kPods = 100;
  std::vector<std::string> paths;
  for (int i = 0; i < kPods; ++i) paths.push_back(pod("p" + std::to_string(i)));
  const std::string input = json::serialize(config());
  std::vector<PluginRun> runs;
  for (int i = 0; i < kPods; ++i)
    runs.push_back(start_plugin(environment("ADD", "p" + std::to_string(i), paths[static_cast<std::size_t>(i)]), input));
  std::map<std::string, int> seen;
  for (auto& run : runs) {
    const Answer answer = run.wait();
    ASSERT_EQ(answer.exit_code, 0) << answer.out;
    for (const auto& ip : answer.ips()) ++seen[ip];
  }
  EXPECT_EQ(seen.size(), 2U * kPods);
  expect_ping(paths[0], seen.begin()->first);
  runs.clear();
  for (int i = 0; i < kPods; ++i) runs.push_back(start_plugin(environment("DEL", "p" + std::to_string(i), ""), input));
  for (auto& run : runs) EXPECT_EQ(run.wait().exit_code, 0);
  EXPECT_TRUE(eventually([&] { return host_links().empty(); }));
  EXPECT_TRUE(rows().empty());
}

}  // namespace
}  // namespace fairway::cnitest
