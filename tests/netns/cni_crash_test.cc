// test-deps: fw_cni
// The CNI server is killed at each step of an ADD and of a DEL; then a new one starts. Whatever the step, in the end:
// no interface without an endpoint, no row without an endpoint, no address with two owners, none lost.
#include "cni_test_support.h"

namespace fairway::cnitest {
namespace {

class CniCrashTest : public CniTest {
 protected:
  // The range is small: one address leaked and the last ADDs fail; one given twice and a ping or the set tells.
  bool start_small(std::vector<std::string> options = {}) {
    std::vector<std::string> args = {CNI_FIXTURE, node_, dir_, "cidr=10.244.7.0/29", "cidr=fd00:10:244:7::/125", "cool-down=0"};
    args.insert(args.end(), options.begin(), options.end());
    return start_exactly(std::move(args));
  }
  // The range has 5 addresses for pods (IPv4: 2 to 6): exactly `free` of them can be given, all different and working.
  void expect_free(int free, const std::vector<std::string>& taken) {
    std::vector<std::string> seen = taken;
    for (int i = 0; i < free; ++i) {
      const std::string id = "fill-" + std::to_string(i), path = pod(id + std::to_string(pods_.size()));
      const Answer answer = add(id, path);
      ASSERT_EQ(answer.exit_code, 0) << answer.out;
      for (const auto& ip : answer.ips()) {
        EXPECT_EQ(std::count(seen.begin(), seen.end(), ip), 0) << ip << " was given twice";
        seen.push_back(ip);
      }
      expect_ping(node_, answer.ips().at(0));
    }
    EXPECT_EQ(add("too-many", pod("too-many")).code(), 11);
    EXPECT_EQ(host_links().size(), 5U);
    EXPECT_EQ(rows().size(), 5U);
  }
};

class KilledAtAdd : public CniCrashTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(KilledAtAdd, NothingLeaksAndNothingIsGivenTwice) {
  const std::string step = GetParam();
  ASSERT_TRUE(start_small());
  const std::string bystander = pod("bystander"), victim = pod("victim");
  const Answer before = add("bystander", bystander);
  ASSERT_EQ(before.exit_code, 0) << before.out;
  stop();
  ASSERT_TRUE(start_small({"kill-at=" + step}));
  const Answer cut = add("victim", victim);
  EXPECT_EQ(cut.code(), 11) << cut.out;
  reap_server();
  ASSERT_TRUE(start_small());
  EXPECT_EQ(check("bystander", bystander, before).exit_code, 0);
  expect_ping(node_, before.ips().at(0));
  // A runtime that saw ADD fail calls DEL; where ADD was finished, it is this DEL that takes it back.
  const std::size_t left = step == "add.finished" ? 2U : 1U;
  EXPECT_TRUE(eventually([&] { return host_links().size() == left; })) << host_links().size();
  EXPECT_EQ(rows().size(), left);
  EXPECT_EQ(del("victim", victim).exit_code, 0);
  EXPECT_TRUE(eventually([&] { return host_links().size() == 1; }));
  expect_free(4, before.ips());
}

INSTANTIATE_TEST_SUITE_P(Steps, KilledAtAdd,
                         ::testing::Values("add.intended", "add.created", "add.announced", "add.activated", "add.finished"));

class KilledAtDel : public CniCrashTest, public ::testing::WithParamInterface<const char*> {};

TEST_P(KilledAtDel, DelIsCompleted) {
  ASSERT_TRUE(start_small());
  const std::string bystander = pod("bystander"), victim = pod("victim");
  const Answer before = add("bystander", bystander);
  ASSERT_EQ(add("victim", victim).exit_code, 0);
  stop();
  ASSERT_TRUE(start_small({std::string("kill-at=") + GetParam()}));
  // Cut off or not: the plugin keeps what was not answered, and says success.
  EXPECT_EQ(del("victim", victim).exit_code, 0);
  reap_server();
  ASSERT_TRUE(start_small());
  EXPECT_TRUE(eventually([&] { return host_links().size() == 1 && rows().size() == 1 && spooled() == 0; }))
      << host_links().size() << " " << rows().size() << " " << spooled();
  EXPECT_EQ(check("bystander", bystander, before).exit_code, 0);
  expect_free(4, before.ips());
}

INSTANTIATE_TEST_SUITE_P(Steps, KilledAtDel, ::testing::Values("del.withdrawn", "del.freed", "del.reaped"));

TEST_F(CniCrashTest, ARestartAdoptsWhatRuns) {
  ASSERT_TRUE(start_small());
  const std::string a = pod("a"), b = pod("b");
  const Answer added_a = add("a", a), added_b = add("b", b);
  for (int round = 0; round < 3; ++round) {
    kill_server();
    fs::remove_all(dir_ + "/rows");  // as if the pins were lost: they are announced anew
    ASSERT_TRUE(start_small());
    EXPECT_EQ(check("a", a, added_a).exit_code, 0);
    EXPECT_EQ(check("b", b, added_b).exit_code, 0);
  }
  for (const auto& ip : added_b.ips()) expect_ping(a, ip);
}

TEST_F(CniCrashTest, ATornJournalLosesNothingThatWasAnswered) {
  ASSERT_TRUE(start_small());
  const std::string a = pod("a");
  const Answer added = add("a", a);
  kill_server();
  const std::string path = dir_ + "/state/ipam.journal";
  const std::string text = *sys::read_file(path);
  ASSERT_TRUE(sys::write_file_atomic(path, text + "0badc0de {\"op\":\"fre").ok());
  ASSERT_TRUE(start_small());
  EXPECT_EQ(check("a", a, added).exit_code, 0);
  EXPECT_EQ(warnings(), "");
  // Damage in the middle is told, and what is whole is used.
  kill_server();
  const std::string whole = *sys::read_file(path);
  ASSERT_TRUE(sys::write_file_atomic(path, "00000000 {\"op\":\"boot\"}\n" + whole).ok());
  ASSERT_TRUE(start_small());
  EXPECT_EQ(check("a", a, added).exit_code, 0);
  EXPECT_NE(warnings().find("damaged"), std::string::npos);
  expect_free(4, added.ips());
}

TEST_F(CniCrashTest, KillsDuringManyAddsLeakNothing) {
  ASSERT_TRUE(start());
  const std::string input = json::serialize(config());
  std::vector<std::string> paths;
  for (int i = 0; i < 40; ++i) paths.push_back(pod("p" + std::to_string(i)));
  for (int round = 0; round < 4; ++round) {
    std::vector<PluginRun> runs;
    for (int i = 0; i < 40; ++i)
      runs.push_back(start_plugin(environment("ADD", "p" + std::to_string(i), paths[static_cast<std::size_t>(i)]), input));
    ::usleep(3000 * static_cast<unsigned>(round + 1));
    kill_server();
    std::map<std::string, int> answered;
    for (auto& run : runs) {
      const Answer answer = run.wait();
      if (answer.exit_code == 0)
        for (const auto& ip : answer.ips()) ++answered[ip];
    }
    for (const auto& [ip, count] : answered) EXPECT_EQ(count, 1) << ip;
    ASSERT_TRUE(start());
    for (int i = 0; i < 40; ++i) EXPECT_EQ(del("p" + std::to_string(i), "").exit_code, 0);
    EXPECT_TRUE(eventually([&] { return host_links().empty() && rows().empty(); }))
        << host_links().size() << " links, " << rows().size() << " rows";
  }
}

}  // namespace
}  // namespace fairway::cnitest
