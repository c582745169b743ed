// The reporter against an API in memory that counts what is asked of it: a large cluster, and agents that fail.
#include "agent/policy_reporter.h"

#include <gtest/gtest.h>

#include <boost/json/parse.hpp>
#include <boost/json/serialize.hpp>

namespace fairway::agent {
namespace {

namespace json = boost::json;
using std::chrono::milliseconds;
using Clock = std::chrono::steady_clock;

// Leases by name, Events by name; a version a write, and writes that name another are refused.
class FakeApi final : public k8s::ApiClient {
 public:
  explicit FakeApi(io::Loop& loop) : loop_(loop) {}
  std::map<std::string, k8s::Json> leases, events, conditions, patched;  // patched: Leases, by the nodes
  std::size_t reads = 0, writes = 0, lists = 0, told = 0;
  bool away = false, refuses_events = false;

  void node_says(const std::string& node, const PolicyVersions& versions, const std::string& error = "", const std::string& took = "12") {
    leases[lease_of_node(node)] =
        json::object{{"metadata",
                      {{"name", lease_of_node(node)},
                       {"labels", {{kReportLabel, "node"}}},
                       {"annotations", {{kVersionAnnotation, versions.to_string()}, {kErrorAnnotation, error}, {kTookAnnotation, took}}}}},
                     {"spec", {{"holderIdentity", node}, {"renewTime", "2026-01-01T00:00:00.000000Z"}}}};
  }
  std::string message(const std::string& policy) const {
    const auto it = events.find(policy + ".fairway-in-force");
    return it == events.end()
               ? ""
               : std::string(it->second.at("reason").get_string()) + ": " + std::string(it->second.at("message").get_string());
  }

  k8s::CallPtr get(const k8s::ResourceRef& ref, k8s::Done done) override {
    ++reads;
    if (ref.resource == "nodes")
      return answer(
          std::move(done),
          json::parse(
              R"({"metadata":{"uid":"u"},"status":{"conditions":[{"type":"Ready","status":"Unknown","lastTransitionTime":"T","message":"gone"}]}})"));
    const auto it = leases.find(ref.name);
    return it == leases.end() ? fail(std::move(done), Code::kNotFound) : answer(std::move(done), it->second);
  }
  k8s::CallPtr list(const k8s::ResourceRef&, const k8s::ListOptions&, k8s::Done done) override {
    ++lists;
    json::array items;
    for (const auto& [name, lease] : leases)
      if (lease.at("metadata").get_object().contains("labels")) items.push_back(lease);
    return answer(std::move(done), json::object{{"items", std::move(items)}});
  }
  k8s::CallPtr create(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override {
    if (leases.contains(ref.name)) return fail(std::move(done), Code::kAlreadyExists);
    return write(ref, std::move(object), std::move(done));
  }
  k8s::CallPtr update(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) override {
    const auto it = leases.find(ref.name);
    if (it == leases.end()) return fail(std::move(done), Code::kNotFound);
    if (it->second.at("metadata").at("resourceVersion") != object.at("metadata").at("resourceVersion"))
      return fail(std::move(done), Code::kConflict);
    return write(ref, std::move(object), std::move(done));
  }
  k8s::CallPtr patch(const k8s::ResourceRef& ref, k8s::PatchType, k8s::Json body, k8s::Done done) override {
    ++writes;
    if (away || (refuses_events && ref.resource == "events")) return fail(std::move(done), Code::kUnavailable);
    if (ref.resource == "events") ++told, events[ref.name] = body;
    else if (ref.resource == "leases") patched[ref.name] = body;
    else conditions[ref.name] = body;
    return answer(std::move(done), std::move(body));
  }
  k8s::CallPtr remove(const k8s::ResourceRef&, const k8s::DeleteOptions&, k8s::Done done) override {
    return fail(std::move(done), Code::kUnsupported);
  }
  k8s::CallPtr watch(const k8s::ResourceRef&, const k8s::ListOptions&, k8s::WatchCallbacks) override { return nullptr; }

 private:
  struct Pending final : k8s::Call {
    io::Loop::Timer timer;
  };
  k8s::CallPtr write(const k8s::ResourceRef& ref, k8s::Json object, k8s::Done done) {
    ++writes;
    object.at("metadata").get_object()["resourceVersion"] = std::to_string(++version_);
    leases[ref.name] = object;
    return answer(std::move(done), std::move(object));
  }
  k8s::CallPtr answer(k8s::Done done, k8s::Json value) {
    if (away) return fail(std::move(done), Code::kUnavailable);
    auto call = std::make_unique<Pending>();
    call->timer = loop_.after(milliseconds(0), [done = std::move(done), value = std::move(value)] { done(value); });
    return call;
  }
  k8s::CallPtr fail(k8s::Done done, Code code) {
    auto call = std::make_unique<Pending>();
    call->timer = loop_.after(milliseconds(0), [done = std::move(done), code] { done(make_error(code, "asked for by the test")); });
    return call;
  }
  io::Loop& loop_;
  std::uint64_t version_ = 0;
};

class Reporter : public ::testing::Test {
 protected:
  PolicyReporter::Config config(const std::string& node) {
    return {node, [this] { return nodes; }, milliseconds(200), milliseconds(600), milliseconds(0), milliseconds(500)};
  }
  static PolicyChange change(const std::string& name, std::uint64_t version) {
    PolicyChange out;
    out.id = {"d", name};
    out.generation = 1;
    out.version = version;
    return out;
  }
  void all_say(std::uint64_t version) {
    for (const auto& node : nodes) api.node_says(node, {version, 0});
  }
  // Runs the loop until it is so; a test that waits for what never comes fails.
  bool comes(const std::function<bool()>& so, milliseconds most = milliseconds(20'000)) {
    const auto end = Clock::now() + most;
    while (!so() && Clock::now() < end) run(milliseconds(10));
    return so();
  }
  void run(milliseconds time) {
    const auto timer = loop.after(time, [this] { loop.stop(); });
    loop.run();
  }
  std::vector<std::string> nodes{"n1", "n2", "n3"};
  io::Loop loop;
  FakeApi api{loop};
};

TEST_F(Reporter, SaysWhenItIsInForceOnAllNodesAndNotBefore) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(5);
  one.changed(change("p", 7));
  run(milliseconds(500));
  EXPECT_EQ(api.message("p"), "");
  all_say(7);
  api.node_says("n2", {7, 0}, "", "31");
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
  EXPECT_EQ(api.message("p"), "InForce: generation 1 is in force on all 3 nodes, on each within 31 ms of hearing of it")
      << "what the slowest node took, not how long it took to find that out";
  ASSERT_TRUE(comes([&] { return one.pending() == 0 && !one.holds(); }));
  const auto asked = api.reads + api.lists + api.writes;
  run(milliseconds(700));
  EXPECT_EQ(api.reads + api.lists + api.writes, asked) << "at rest nothing is asked for";
}

TEST_F(Reporter, SaysNoTimeWhereANodeDoesNotTellItsOwn) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(7);
  api.node_says("n2", {7, 0}, "", "");
  api.node_says("n3", {8, 0});
  one.changed(change("p", 7));
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
  EXPECT_EQ(api.message("p"), "InForce: generation 1 is in force on all 3 nodes");
  api.node_says("n2", {7, 0});
  one.changed(change("q", 7));
  ASSERT_TRUE(comes([&] { return !api.message("q").empty(); }));
  EXPECT_EQ(api.message("q"), "InForce: generation 1 is in force on all 3 nodes") << "n3 tells of a later change";
}

// The node's own part: from the watch's word to the switch.
TEST_F(Reporter, ANodeTellsHowLongItTook) {
  PolicyReport report(loop, api, "n1");
  const auto took = [&] {
    const auto it = api.patched.find("fairway-n1");
    if (it == api.patched.end()) return 0;
    const auto* text = it->second.at("metadata").at("annotations").get_object().if_contains(kTookAnnotation);
    return text == nullptr ? 0 : std::stoi(std::string(text->get_string()));
  };
  report.seen(k8s::Kind::kNetworkPolicy, 7);
  run(milliseconds(60));
  report.step(false, "");
  report.seen(k8s::Kind::kNetworkPolicy, 8);
  run(milliseconds(60));
  report.step(true, "");
  ASSERT_TRUE(comes([&] { return took() != 0; }));
  EXPECT_GE(took(), 120) << "the one that waited longest";
  run(milliseconds(2500));
  report.step(true, "");
  report.seen(k8s::Kind::kNetworkPolicy, 9);
  report.step(true, "");
  ASSERT_TRUE(comes([&] { return took() < 120; })) << "what was reported is not told again";
}

TEST_F(Reporter, SaysWhyNotAndTakesItBack) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(7);
  api.node_says("n2", {5, 0}, "pol_verdicts: this change needs 9 rows");
  api.leases.erase(lease_of_node("n3"));
  one.changed(change("p", 7));
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
  EXPECT_NE(api.message("p").find("NotInForce: generation 1 is not in force on 2 of 3 nodes"), std::string::npos) << api.message("p");
  EXPECT_NE(api.message("p").find("n3: the node is not Ready since T (gone); n2: pol_verdicts: this change needs 9 rows"),
            std::string::npos)
      << api.message("p");
  const auto told = api.told, lists = api.lists;
  ASSERT_TRUE(comes([&] { return api.lists >= lists + 2; }));
  EXPECT_EQ(api.told, told) << "once, as long as nothing changes";
  all_say(7);
  ASSERT_TRUE(comes([&] { return api.message("p").starts_with("InForce"); }));
}

TEST_F(Reporter, WhatIsDeletedIsNotTold) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(5);
  one.changed(change("p", 7));
  one.changed(change("q", 7));
  one.removed(k8s::Kind::kNetworkPolicy, {"d", "p"});
  all_say(7);
  ASSERT_TRUE(comes([&] { return !api.message("q").empty() && one.pending() == 0; }));
  EXPECT_EQ(api.message("p"), "");
}

TEST_F(Reporter, AClusterNetworkPolicyHasAConditionAndVersionsOfItsOwn) {
  PolicyReporter one(loop, api, config("n1"));
  for (const auto& node : nodes) api.node_says(node, {9, 6});
  auto cluster = change("p", 7);
  cluster.kind = k8s::Kind::kClusterNetworkPolicy;
  one.changed(cluster);
  run(milliseconds(500));
  EXPECT_EQ(api.message("cluster.p"), "") << "9 is of the other kind";
  for (const auto& node : nodes) api.node_says(node, {0, 7});
  ASSERT_TRUE(comes([&] { return api.conditions.contains("p"); }));
  EXPECT_TRUE(api.message("cluster.p").starts_with("InForce: ")) << api.message("cluster.p");
  const auto& condition = api.conditions.at("p").at("status").at("conditions").get_array().at(0);
  EXPECT_EQ(condition.at("status").get_string(), "True") << json::serialize(condition);
  EXPECT_EQ(condition.at("observedGeneration").to_number<int>(), 1);
}

TEST_F(Reporter, APolicyThatCannotBeReadIsTold) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(7);
  auto partly = change("partly", 7), not_at_all = change("refused", 8);
  partly.not_understood = not_at_all.not_understood = {{"spec.ingress[0]", "no such thing"}};
  not_at_all.refused = true;
  one.changed(partly);
  one.changed(not_at_all);
  ASSERT_TRUE(comes([&] { return !api.message("refused").empty() && !api.message("partly").empty(); }));
  EXPECT_NE(api.message("partly").find("NotUnderstood: generation 1 is in force on all 3 nodes"), std::string::npos)
      << api.message("partly");
  EXPECT_NE(api.message("partly").find("but for what could not be read: spec.ingress[0]: no such thing"), std::string::npos);
  EXPECT_EQ(api.message("refused"),
            "NotUnderstood: generation 1 cannot be read, what was in force before stays: spec.ingress[0]: no such thing");
}

TEST_F(Reporter, OneWritesAndAnotherTakesOverWhereItIsSilent) {
  PolicyReporter one(loop, api, config("n1")), two(loop, api, config("n2")), three(loop, api, config("n3"));
  all_say(7);
  for (auto* each : {&one, &two, &three}) each->changed(change("p", 7));
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
  EXPECT_EQ(api.leases.at("fairway-policy-status").at("spec").at("holderIdentity"), "n1");
  ASSERT_TRUE(comes([&] { return two.pending() + three.pending() == 0; })) << "what the holder has told is forgotten";
  EXPECT_EQ(api.told, 1U) << "also by those that look after it has released the Lease";
  run(milliseconds(1100));  // a Lease that was released is held for a second
  // The holder hangs: it knows of the next change and says nothing.
  for (auto* each : {&two, &three}) each->changed(change("q", 9));
  all_say(9);
  ASSERT_TRUE(comes([&] { return !api.message("q").empty(); }));
  EXPECT_NE(api.leases.at("fairway-policy-status").at("spec").at("holderIdentity"), "n1") << "n2, unless this process stood for 200 ms";
}

TEST_F(Reporter, NobodyTakesOverFromOneThatIsAtIt) {
  PolicyReporter one(loop, api, config("n1")), two(loop, api, config("n2"));
  all_say(5);
  one.changed(change("p", 7));
  ASSERT_TRUE(comes([&] { return one.holds(); }));
  two.changed(change("p", 7));
  run(milliseconds(1000));  // it has looked
  EXPECT_EQ(two.pending(), 1U) << "it is not told yet";
  EXPECT_FALSE(two.holds());
  EXPECT_TRUE(one.holds());
  EXPECT_EQ(api.leases.at("fairway-policy-status").at("spec").at("holderIdentity"), "n1");
}

TEST_F(Reporter, WhatAHolderHadNotToldIsToldByTheNext) {
  all_say(5);
  {
    PolicyReporter one(loop, api, config("n1"));
    one.changed(change("p", 7));
    ASSERT_TRUE(comes([&] { return one.holds(); }));
  }
  api.leases.at("fairway-policy-status").as_object()["spec"].as_object()["leaseDurationSeconds"] = 1;
  run(milliseconds(1100));
  PolicyReporter two(loop, api, config("n2"));
  two.changed(change("p", 7));
  all_say(7);
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
}

TEST_F(Reporter, ARestartedHolderDoesNotMakeOthersForget) {
  nodes = {"n1", "n2"};
  all_say(1);
  auto young = config("n1");
  young.young = milliseconds(60'000);
  auto first = std::make_unique<PolicyReporter>(loop, api, young);
  PolicyReporter other(loop, api, config("n2"));
  first->changed(change("a", 5)), other.changed(change("a", 5));
  ASSERT_TRUE(comes([&] { return first->holds(); }));
  first = std::make_unique<PolicyReporter>(loop, api, young);  // kill -9 before it could tell
  all_say(6);
  first->changed(change("b", 6)), other.changed(change("b", 6));
  EXPECT_TRUE(comes([&] { return !api.message("b").empty(); }));
  EXPECT_TRUE(comes([&] { return !api.message("a").empty(); })) << "the other one has it still";
}

TEST_F(Reporter, WhoDoesNotHoldItWaitsItsTurn) {
  PolicyReporter three(loop, api, config("n3"));
  all_say(7);
  three.changed(change("p", 7));
  run(milliseconds(250));
  EXPECT_EQ(api.reads, 0U) << "n1 and n2 come first";
  ASSERT_TRUE(comes([&] { return !api.message("p").empty(); }));
}

TEST_F(Reporter, WhatIsNewIsLookedAtSoon) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(5);
  one.changed(change("p", 9));
  run(milliseconds(3000));
  const auto lists = api.lists;
  EXPECT_LE(lists, 12U) << "ever less often: the next look is half its age away";
  ASSERT_TRUE(comes([&] { return api.lists > lists; }));
  run(milliseconds(100));
  one.changed(change("q", 5));
  EXPECT_TRUE(comes([&] { return !api.message("q").empty(); }, milliseconds(1000)));
}

TEST_F(Reporter, WarningsGoFirst) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(7);
  for (int i = 0; i < 60; ++i) one.changed(change("p" + std::to_string(i), 7));
  auto refused = change("refused", 8);
  refused.refused = true;
  one.changed(refused);
  ASSERT_TRUE(comes([&] { return api.told >= 10; }));
  EXPECT_NE(api.message("refused"), "");
}

TEST_F(Reporter, TenThousandPoliciesOnAThousandNodesCostAFewRequests) {
  nodes.clear();
  for (int i = 0; i < 1000; ++i) nodes.push_back("node-" + std::to_string(1000 + i));
  PolicyReporter one(loop, api, config(nodes.front()));
  all_say(10'000);
  for (int i = 0; i < 10'000; ++i) one.changed(change("p" + std::to_string(i), static_cast<std::uint64_t>(i)));
  EXPECT_EQ(one.pending(), PolicyReporter::kMostPending);
  EXPECT_EQ(one.let_go(), 10'000 - PolicyReporter::kMostPending);
  ASSERT_TRUE(comes([&] { return api.events.size() >= 50; }));
  for (const auto& [name, event] : api.events)
    EXPECT_GE(std::stoul(name.substr(1)), 10'000 - PolicyReporter::kMostPending) << "the oldest are let go";
  const auto events = api.events.size();
  run(milliseconds(2000));
  EXPECT_LE(api.events.size(), events + 6) << "two a second after the first fifty";
  EXPECT_LE(api.lists, 3U);
  EXPECT_LE(api.reads + api.writes, api.events.size() + 6);
}

TEST_F(Reporter, WhileTheApiIsAwayNothingIsLost) {
  PolicyReporter one(loop, api, config("n1"));
  all_say(7);
  api.away = true;
  one.changed(change("p", 7));
  run(milliseconds(600));
  EXPECT_FALSE(one.last_error().empty());
  api.away = false;
  ASSERT_TRUE(comes([&] { return api.message("p").starts_with("InForce"); }));
  api.refuses_events = true;
  one.changed(change("q", 7));
  const auto writes = api.writes;
  ASSERT_TRUE(comes([&] { return api.writes >= writes + 3; }));  // the Lease, and an Event that is tried twice
  EXPECT_GT(one.pending(), 0U);
  api.refuses_events = false;
  ASSERT_TRUE(comes([&] { return api.message("q").starts_with("InForce"); }));
}

}  // namespace
}  // namespace fairway::agent
