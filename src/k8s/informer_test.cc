#include "k8s/informer.h"

#include <gtest/gtest.h>

#include <boost/json.hpp>
#include <deque>

#include "io/io_test_support.h"

namespace fairway::k8s {
namespace {

using io::test::run_until;
namespace json = boost::json;

Json object(const std::string& name, int version, const std::string& note = "") {
  return json::object{{"metadata", {{"namespace", "ns"}, {"name", name}, {"resourceVersion", std::to_string(version)}}}, {"note", note}};
}

// An API server by script: each list and watch is answered by the test's next step, from the loop.
class ScriptedClient : public ApiClient {
 public:
  explicit ScriptedClient(io::Loop& loop) : loop_(loop) {}
  struct FakeCall : Call {
    ~FakeCall() override { *alive = false; }
    std::shared_ptr<bool> alive = std::make_shared<bool>(true);
  };
  CallPtr list(const ResourceRef&, const ListOptions& options, Done done) override {
    log.push_back("list " + options.resource_version);
    auto call = std::make_unique<FakeCall>();
    if (lists.empty()) return call;
    loop_.post([alive = call->alive, done, answer = lists.front()] {
      if (*alive) done(answer);
    });
    lists.pop_front();
    return call;
  }
  CallPtr watch(const ResourceRef&, const ListOptions& options, WatchCallbacks callbacks) override {
    log.push_back("watch " + options.resource_version);
    auto call = std::make_unique<FakeCall>();
    alive_ = call->alive;
    callbacks_ = std::move(callbacks);
    return call;
  }
  CallPtr get(const ResourceRef&, Done) override { return nullptr; }
  CallPtr create(const ResourceRef&, Json, Done) override { return nullptr; }
  CallPtr update(const ResourceRef&, Json, Done) override { return nullptr; }
  CallPtr patch(const ResourceRef&, PatchType, Json, Done) override { return nullptr; }
  CallPtr remove(const ResourceRef&, const DeleteOptions&, Done) override { return nullptr; }

  void answer_list(int version, std::vector<Json> items) {
    lists.emplace_back(Json(json::object{{"kind", "PodList"},
                                         {"apiVersion", "v1"},
                                         {"metadata", {{"resourceVersion", std::to_string(version)}}},
                                         {"items", json::array(items.begin(), items.end())}}));
  }
  bool watching() const { return alive_ && *alive_; }
  void send(EventType type, Json value) {
    if (watching()) callbacks_.on_event(type, std::move(value));
  }
  void cut(Result<void> end) {
    const auto done = callbacks_.on_end;
    if (watching()) done(std::move(end));
  }
  std::deque<Result<Json>> lists;
  std::vector<std::string> log;

 private:
  io::Loop& loop_;
  WatchCallbacks callbacks_;
  std::shared_ptr<bool> alive_;
};

struct InformerFixture {
  void start() {
    informer = std::make_unique<Informer>(
        loop, client, ResourceRef{.resource = "pods"}, ListOptions{},
        Informer::Callbacks{.on_change =
                                [this](const Informer::Key& key, const Json* before, const Json* after) {
                                  changes.push_back(
                                      (before && after ? "~"
                                       : after         ? "+"
                                                       : "-") +
                                      key + (after ? "@" + std::string(after->at("metadata").at("resourceVersion").as_string()) : ""));
                                  if (destroy_at_change) informer.reset();
                                },
                            .on_synced = [this] { ++synced; }});
  }
  bool reaches(const std::function<bool()>& done) { return run_until(loop, done); }
  bool watches(std::size_t times) {
    return reaches([&, times] {
      return static_cast<std::size_t>(
                 std::count_if(client.log.begin(), client.log.end(), [](const auto& l) { return l.starts_with("watch"); })) == times;
    });
  }
  std::vector<std::string> take() { return std::exchange(changes, {}); }
  io::Loop loop;
  ScriptedClient client{loop};
  std::vector<std::string> changes;
  int synced = 0;
  bool destroy_at_change = false;
  std::unique_ptr<Informer> informer;
};

using Changes = std::vector<std::string>;

TEST(Informer, ListsThenWatches) {
  InformerFixture f;
  f.client.answer_list(10, {object("a", 1), object("b", 2)});
  f.start();
  EXPECT_FALSE(f.informer->synced());
  ASSERT_TRUE(f.watches(1));
  EXPECT_EQ(f.take(), (Changes{"+ns/a@1", "+ns/b@2"}));
  EXPECT_EQ(f.synced, 1);
  EXPECT_EQ(f.informer->find("ns/a")->at("kind").as_string(), "Pod");  // from the list's kind
  f.client.send(EventType::kModified, object("a", 11));
  f.client.send(EventType::kDeleted, object("b", 12));
  f.client.send(EventType::kAdded, object("c", 13));
  EXPECT_EQ(f.take(), (Changes{"~ns/a@11", "-ns/b", "+ns/c@13"}));
  EXPECT_EQ(f.informer->objects().size(), 2u);
}

TEST(Informer, CutWatchGoesOnWhereItWas) {
  InformerFixture f;
  f.client.answer_list(10, {});
  f.start();
  ASSERT_TRUE(f.watches(1));
  f.client.send(EventType::kAdded, object("a", 11));
  f.client.send(EventType::kBookmark, object("", 25));
  f.client.cut(make_error(Code::kUnavailable, "cut"));
  ASSERT_TRUE(f.watches(2));
  f.client.cut({});
  ASSERT_TRUE(f.watches(3));
  EXPECT_EQ(f.client.log, (std::vector<std::string>{"list 0", "watch 10", "watch 25", "watch 25"}));
}

TEST(Informer, GoneRelistsAsMarkAndSweep) {
  InformerFixture f;
  f.client.answer_list(10, {object("kept", 1), object("changed", 2), object("deleted", 3)});
  f.start();
  ASSERT_TRUE(f.watches(1));
  f.take();
  f.client.answer_list(40, {object("kept", 1), object("changed", 30), object("new", 31)});
  f.client.cut(make_error(Code::kGone, "too old"));
  ASSERT_TRUE(f.watches(2));
  auto changes = f.take();
  std::sort(changes.begin(), changes.end());
  EXPECT_EQ(changes, (Changes{"+ns/new@31", "-ns/deleted", "~ns/changed@30"}));
  EXPECT_EQ(f.client.log, (std::vector<std::string>{"list 0", "watch 10", "list ", "watch 40"}));
  EXPECT_EQ(f.synced, 1);
}

TEST(Informer, RepeatedAndLateEventsChangeNothing) {
  InformerFixture f;
  f.client.answer_list(10, {object("a", 5)});
  f.start();
  ASSERT_TRUE(f.watches(1));
  f.client.send(EventType::kModified, object("a", 11));
  f.take();
  f.client.send(EventType::kModified, object("a", 11));
  f.client.send(EventType::kAdded, object("a", 9));
  EXPECT_EQ(f.take(), Changes{});
  f.client.send(EventType::kDeleted, object("a", 12));
  EXPECT_EQ(f.take(), (Changes{"-ns/a"}));
  f.client.send(EventType::kModified, object("a", 11));  // an event from before the deletion
  f.client.send(EventType::kDeleted, object("a", 12));
  EXPECT_EQ(f.take(), Changes{});
  f.client.send(EventType::kAdded, object("a", 100));  // made anew; versions compare as numbers, not as text
  f.client.send(EventType::kDeleted, object("a", 12));
  EXPECT_EQ(f.take(), (Changes{"+ns/a@100"}));
}

TEST(Informer, FailedListsAreRepeatedUntilOneSucceeds) {
  InformerFixture f;
  f.client.lists.emplace_back(make_error(Code::kUnavailable, "away"));
  f.client.lists.emplace_back(Json("nonsense"));
  f.client.answer_list(7, {object("a", 1)});
  f.start();
  ASSERT_TRUE(f.watches(1));
  EXPECT_EQ(f.take(), (Changes{"+ns/a@1"}));
}

TEST(Informer, DestroyedInItsOwnCallback) {
  InformerFixture f;
  f.destroy_at_change = true;
  f.client.answer_list(10, {object("a", 1), object("b", 2)});
  f.start();
  ASSERT_TRUE(f.reaches([&] { return !f.informer; }));
  EXPECT_EQ(f.changes.size(), 1u);
  EXPECT_FALSE(f.client.watching());
}

TEST(Informer, RandomHistoriesEndInTheServersState) {
  std::srand(3);
  for (int round = 0; round < 200; ++round) {
    InformerFixture f;
    std::map<std::string, int> truth;
    int version = 10;
    f.client.answer_list(version, {});
    f.start();
    ASSERT_TRUE(f.watches(1));
    std::size_t watches = 1;
    for (int step = 0; step < 40; ++step) {
      const std::string name(1, static_cast<char>('a' + std::rand() % 5));
      const int what = std::rand() % 12;
      const bool seen = what % 3 != 0 || what == 11;  // a third of the changes happen while the watch is cut
      ++version;
      if (what < 8) {
        const EventType type = truth.contains(name) ? EventType::kModified : EventType::kAdded;
        truth[name] = version;
        if (seen) f.client.send(type, object(name, version));
      } else if (truth.erase(name) > 0 && seen) {
        f.client.send(EventType::kDeleted, object(name, version));
      }
      if (seen) continue;
      std::vector<Json> items;
      for (const auto& [key, at] : truth) items.push_back(object(key, at));
      f.client.answer_list(version, items);
      f.client.send(EventType::kBookmark, object("", version - 1));
      f.client.cut(make_error(Code::kGone, "expired"));
      ASSERT_TRUE(f.watches(++watches));
    }
    std::map<std::string, int> held;
    for (const auto& [key, value] : f.informer->objects())
      held[key.substr(3)] = std::stoi(std::string(value.at("metadata").at("resourceVersion").as_string()));
    ASSERT_EQ(held, truth) << "round " << round;
  }
}

}  // namespace
}  // namespace fairway::k8s
