#include "apiserver/store.h"

#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>

#include "apiserver/test_support.h"
#include "apiserver/watch_hub.h"

namespace fairway::apiserver {
namespace {

Json object(const std::string& name, const std::string& label = "") {
  return Object{{"metadata", Object{{"name", name}, {"namespace", "n"}, {"labels", Object{{"l", label}}}}}};
}

struct TempFile {
  std::string path = (std::filesystem::temp_directory_path() / ("fw-store-" + std::to_string(::getpid()) + ".db")).string();
  TempFile() { remove(); }
  ~TempFile() { remove(); }
  void remove() {
    for (const char* end : {"", "-wal", "-shm"}) std::filesystem::remove(path + end);
  }
};

TEST(Store, SurvivesRestartAndGoesOnCounting) {
  TempFile file;
  std::uint64_t last = 0;
  {
    auto store = Store::open(file.path, 10).value();
    ASSERT_TRUE(store->put("g/r", object("a")).ok());
    ASSERT_TRUE(store->put("g/r", object("b")).ok());
    ASSERT_TRUE(store->remove("g/r", "n", "b").ok());
    last = store->revision();
  }
  auto store = Store::open(file.path, 10).value();
  EXPECT_EQ(store->revision(), last);
  EXPECT_EQ(store->objects("g/r").size(), 1U);
  EXPECT_TRUE(store->get("g/r", "n", "a"));
  std::vector<EventPtr> events;
  EXPECT_TRUE(store->events_since("g/r", last, events));
  EXPECT_FALSE(store->events_since("g/r", last - 1, events));
  EXPECT_EQ(store->put("g/r", object("c")).value()->revision, last + 1);
}

TEST(Store, LosesNothingAcknowledgedToKill9) {
  TempFile file;
  int pipe_fds[2];
  ASSERT_EQ(::pipe(pipe_fds), 0);
  const pid_t child = ::fork();
  if (child == 0) {
    auto store = Store::open(file.path, 10).value();
    for (int i = 0;; ++i) {
      if (!store->put("g/r", object("o" + std::to_string(i))).ok()) ::_exit(1);
      if (::write(pipe_fds[1], &i, sizeof i) != sizeof i) ::_exit(1);
    }
  }
  int acknowledged = -1;
  for (int n = 0; n < 200; ++n)
    ASSERT_EQ(::read(pipe_fds[0], &acknowledged, sizeof acknowledged), static_cast<ssize_t>(sizeof acknowledged));
  ::kill(child, SIGKILL);
  ::waitpid(child, nullptr, 0);
  ::close(pipe_fds[1]);
  while (::read(pipe_fds[0], &acknowledged, sizeof acknowledged) > 0) {}
  ::close(pipe_fds[0]);
  auto store = Store::open(file.path, 10).value();
  for (int i = 0; i <= acknowledged; ++i) ASSERT_TRUE(store->get("g/r", "n", "o" + std::to_string(i))) << i;
  EXPECT_GE(store->revision(), static_cast<std::uint64_t>(acknowledged) + 2);
}

TEST(Store, RefusesABadDatabase) {
  TempFile file;
  FILE* out = ::fopen(file.path.c_str(), "w");
  ::fputs("this is not a database, but long enough to look like one if one does not look at all closely............", out);
  ::fclose(out);
  EXPECT_FALSE(Store::open(file.path, 10).ok());
  EXPECT_FALSE(Store::open("/nonexistent/folder/x.db", 10).ok());
}

TEST(Store, HistoryIsAWindow) {
  auto store = Store::open("", 3).value();
  const auto start = store->revision();
  for (int i = 0; i < 5; ++i) (void)store->put("g/r", object("a"));
  std::vector<EventPtr> events;
  EXPECT_FALSE(store->events_since("g/r", start, events));
  EXPECT_TRUE(store->events_since("g/r", start + 2, events));
  EXPECT_EQ(events.size(), 3U);
}

TEST(Store, HistoryIsBoundedInBytes) {
  auto store = Store::open("", 1000).value();
  const auto start = store->revision();
  for (int i = 0; i < 40; ++i)
    ASSERT_TRUE(
        store->put("g/r", Object{{"metadata", Object{{"name", "a"}, {"namespace", "n"}}}, {"x", boost::json::string(1 << 20, 'x')}}).ok());
  std::vector<EventPtr> events;
  EXPECT_FALSE(store->events_since("g/r", start, events));
  EXPECT_TRUE(store->events_since("g/r", start + 20, events));
}

struct Seen {
  std::vector<std::string> events;
  std::vector<const std::string*> lines;
  WatchHub::Callback callback() {
    return [this](const WatchEvent& event) {
      events.push_back(std::string(to_string(event.type)) + (event.object ? " " + event.object->name : ""));
      lines.push_back(event.line.get());
      kept.push_back(event.line);
    };
  }
  std::vector<std::shared_ptr<const std::string>> kept;
};

TEST(WatchHub, SelectorsTurnChangesIntoAdditionsAndDeletions) {
  auto store = Store::open("", 10).value();
  WatchHub hub(*store);
  (void)store->put("g/r", object("a", "x"));
  Seen seen;
  WatchQuery query;
  query.collection = "g/r";
  query.labels = LabelSelector::parse("l=x").value();
  auto handle = hub.start(query, seen.callback());
  (void)store->put("g/r", object("a", "y"));
  (void)store->put("g/r", object("b", "y"));
  (void)store->put("g/r", object("b", "x"));
  (void)store->put("g/r", object("b", "x"));
  (void)store->remove("g/r", "n", "b");
  (void)store->remove("g/r", "n", "a");
  EXPECT_THAT(seen.events, testing::ElementsAre("ADDED a", "DELETED a", "ADDED b", "MODIFIED b", "DELETED b"));
  handle.reset();
  (void)store->put("g/r", object("c", "x"));
  EXPECT_EQ(seen.events.size(), 5U);
}

TEST(WatchHub, OneTextForAllWatchers) {
  auto store = Store::open("", 10).value();
  WatchHub hub(*store);
  Seen one, two;
  WatchQuery query;
  query.collection = "g/r";
  auto first = hub.start(query, one.callback());
  auto second = hub.start(query, two.callback());
  (void)store->put("g/r", object("a"));
  ASSERT_EQ(one.lines.size(), 1U);
  EXPECT_EQ(one.lines, two.lines);
}

TEST(WatchHub, StartsWhereTheListEnded) {
  auto store = Store::open("", 4).value();
  WatchHub hub(*store);
  (void)store->put("g/r", object("a"));
  const auto since = store->revision();
  (void)store->put("g/r", object("b"));
  Seen seen;
  WatchQuery query;
  query.collection = "g/r";
  query.since = since;
  auto handle = hub.start(query, seen.callback());
  EXPECT_THAT(seen.events, testing::ElementsAre("ADDED b"));
  for (int i = 0; i < 9; ++i) (void)store->put("g/r", object("b"));
  EXPECT_EQ(hub.start(query, seen.callback()), nullptr);
}

TEST(WatchHub, InjectsFaults) {
  auto store = Store::open("", 10).value();
  WatchHub hub(*store);
  Seen seen;
  WatchQuery query;
  query.collection = "g/r";
  auto handle = hub.start(query, seen.callback());
  hub.faults.swap = 1;
  (void)store->put("g/r", object("a"));
  (void)store->put("g/r", object("b"));
  hub.faults.duplicate = 1;
  (void)store->put("g/r", object("c"));
  hub.faults.drop = 1;
  (void)store->put("g/r", object("d"));
  EXPECT_THAT(seen.events, testing::ElementsAre("ADDED b", "ADDED a", "ADDED c", "ADDED c"));
}

}  // namespace
}  // namespace fairway::apiserver
