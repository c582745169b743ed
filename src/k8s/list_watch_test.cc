// ListWatch against a server of this process: pages, bookmarks, 410, cuts, silence, rotation, broken bytes.
#include "k8s/list_watch.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <algorithm>
#include <deque>
#include <filesystem>
#include <fstream>
#include <map>
#include <set>

#include "io/http_server.h"
#include "k8s/watch_stream.h"

namespace fairway::k8s {
namespace {

using std::chrono::milliseconds;

std::string pod(const std::string& name, int revision) {
  return R"({"metadata":{"namespace":"d","name":")" + name + R"(","resourceVersion":")" + std::to_string(revision) + R"("}})";
}
std::string event(const std::string& type, const std::string& object) { return R"({"type":")" + type + R"(","object":)" + object + "}\n"; }

class ListWatchTest : public ::testing::Test {
 protected:
  void SetUp() override {
    auto server = io::HttpServer::create(
        loop_, {}, [this](io::ServerRequest r, std::unique_ptr<io::Responder> w) { serve(std::move(r), std::move(w)); });
    ASSERT_TRUE(server.ok());
    server_ = std::move(*server);
    auto listener = io::listen_tcp("127.0.0.1", 0);
    ASSERT_TRUE(listener.ok());
    port_ = *io::local_port(*listener);
    ASSERT_TRUE(server_->serve(std::move(*listener)).ok());
  }
  void serve(io::ServerRequest request, std::unique_ptr<io::Responder> responder) {
    io::HttpResponse response;
    authorizations_.insert(std::string(request.headers.get("Authorization")));
    if (request.query_value("watch") == "true") {
      watches_.push_back(std::string(request.query_value("resourceVersion")));
      if (lost_ > 0) {
        --lost_;
        response.status = 404;
        return responder->respond(std::move(response));
      }
      if (gone_ > 0) {
        --gone_;
        response.status = 410;
        response.body = R"({"kind":"Status","code":410,"reason":"Expired"})";
        return responder->respond(std::move(response));
      }
      body_ = responder->start_body(200, {});
      return;
    }
    ++lists_;
    if (failing_lists_ > 0) {
      --failing_lists_;
      response.status = failing_status_;
      return responder->respond(std::move(response));
    }
    // Two items a page, whatever the limit.
    const std::size_t from =
        request.query_value("continue").empty() ? 0 : static_cast<std::size_t>(std::stoi(std::string(request.query_value("continue"))));
    std::string items;
    std::size_t i = 0;
    for (const auto& name : listed_) {
      if (i >= from && i < from + 2) items += (items.empty() ? "" : ",") + pod(name, 5);
      ++i;
    }
    response.body = R"({"kind":"PodList","metadata":{"resourceVersion":"10")" +
                    (from + 2 < listed_.size() ? R"(,"continue":")" + std::to_string(from + 2) + "\"" : std::string()) + R"(},"items":[)" +
                    items + "]}";
    responder->respond(std::move(response));
  }
  void start(ListWatchTiming timing = fast()) {
    io::Origin origin;
    origin.host = "127.0.0.1";
    origin.port = port_;
    auto servers = ApiServers::create(loop_, dead_first_ ? dead() : origin, token_file_);
    ASSERT_TRUE(servers.ok());
    servers_ = std::move(*servers);
    if (dead_first_) servers_->learn({{*net::IpAddr::parse("127.0.0.1"), port_}});
    ListWatch::Callbacks callbacks;
    callbacks.on_list_begin = [this] { fresh_.clear(), listing_ = true; };
    callbacks.on_put = [this](const SlimObject& o) { (listing_ ? fresh_ : have_).insert(std::string(o.meta.name)); };
    callbacks.on_remove = [this](const SlimObject& o) { have_.erase(std::string(o.meta.name)); };
    callbacks.on_list_end = [this] { have_ = fresh_, listing_ = false; };
    callbacks.on_batch = [] {};
    if (may_be_absent_) callbacks.on_absent = [this](unsigned times) { absences_.push_back(times); };
    watch_ = std::make_unique<ListWatch>(loop_, *servers_, Kind::kPod, "/api/v1/pods", callbacks, timing);
  }
  static ListWatchTiming fast() {
    ListWatchTiming timing;
    timing.backoff_min = milliseconds(2);
    timing.backoff_max = milliseconds(20);
    return timing;
  }
  static io::Origin dead() {
    io::Origin origin;
    origin.host = "127.0.0.1";
    origin.port = 1;  // nobody listens there
    return origin;
  }
  // Runs the loop until the condition holds.
  void until(const std::function<bool()>& condition, const char* what) {
    bool held = false;
    const auto poll = loop_.every(milliseconds(1), [&] {
      if (condition()) held = true, loop_.stop();
    });
    const auto deadline = loop_.after(std::chrono::seconds(20), [&] { loop_.stop(); });
    loop_.run();
    ASSERT_TRUE(held) << what << ": " << watch_->state().phase << " " << watch_->state().last_error;
  }
  void until_watching(std::size_t watches = 1) {
    until([&] { return watches_.size() >= watches && body_ != nullptr && watch_->state().phase == "watching"; }, "watching");
  }

  io::Loop loop_;
  std::unique_ptr<io::HttpServer> server_;
  std::uint16_t port_ = 0;
  std::vector<std::string> watches_;  // the revisions asked for
  std::unique_ptr<io::BodyStream> body_;
  std::string token_file_;
  std::set<std::string> authorizations_;
  std::set<std::string> listed_{"a", "b", "c", "d", "e"};
  int lists_ = 0, gone_ = 0, lost_ = 0, failing_lists_ = 0;
  int failing_status_ = 500;
  bool dead_first_ = false, may_be_absent_ = false;
  std::vector<unsigned> absences_;
  std::unique_ptr<ApiServers> servers_;
  std::set<std::string> have_, fresh_;
  bool listing_ = false;
  std::unique_ptr<ListWatch> watch_;  // last: goes first
};
using Names = std::set<std::string>;

TEST_F(ListWatchTest, PagesThenEventsInAnyCut) {
  start();
  until_watching();
  EXPECT_EQ(lists_, 3);
  EXPECT_EQ(watches_, std::vector<std::string>{"10"});
  EXPECT_EQ(have_, (Names{"a", "b", "c", "d", "e"}));
  const std::string text =
      event("ADDED", pod("f", 11)) + event("DELETED", pod("a", 12)) + event("BOOKMARK", R"({"metadata":{"resourceVersion":"20"}})");
  for (const char c : text) body_->write(std::string(1, c));
  until([&] { return watch_->state().revision == "20"; }, "bookmark");
  EXPECT_EQ(have_, (Names{"b", "c", "d", "e", "f"}));
}

TEST_F(ListWatchTest, ListsAndWatchesCarryTheTokenOfTheFile) {
  const auto path = std::filesystem::temp_directory_path() / ("fairway-list-watch-token-" + std::to_string(::getpid()));
  std::ofstream(path) << "secret\n";
  token_file_ = path;
  start();
  until_watching();
  std::filesystem::remove(path);
  EXPECT_EQ(authorizations_, std::set<std::string>{"Bearer secret"});
}

TEST_F(ListWatchTest, GoesOnFromTheLastRevisionAfterACut) {
  start();
  until_watching();
  body_->write(event("ADDED", pod("f", 15)));
  until([&] { return have_.contains("f"); }, "event");
  body_.reset();
  until_watching(2);
  EXPECT_EQ(watches_[1], "15");
  EXPECT_EQ(lists_, 3);  // no new list
}

TEST_F(ListWatchTest, TooOldMeansAListAndWhatWentIsGone) {
  start();
  until_watching();
  listed_ = {"a", "z"};
  gone_ = 1;
  body_.reset();
  until_watching(3);
  EXPECT_EQ(have_, (Names{"a", "z"}));
  listed_ = {"z"};
  body_->write(event("ERROR", R"({"kind":"Status","code":410,"message":"too old"})"));  // or in the midst of a watch
  until([&] { return have_ == Names{"z"}; }, "relist");
}

TEST_F(ListWatchTest, BrokenBytesMeanAList) {
  start();
  until_watching();
  body_->write("{\"type\":\"ADDED\",\"object\":{{{\n");
  until_watching(2);
  EXPECT_EQ(lists_, 6);
  EXPECT_EQ(watch_->state().last_error, "");
}

TEST_F(ListWatchTest, TwiceIsOnceAndOutOfOrderMeansAList) {
  start();
  until_watching();
  body_->write(event("ADDED", pod("f", 11)) + event("ADDED", pod("f", 11)) + event("DELETED", pod("a", 12)) +
               event("DELETED", pod("a", 12)));
  until([&] { return watch_->state().events >= 5 + 4; }, "events");
  EXPECT_EQ(have_, (Names{"b", "c", "d", "e", "f"}));
  EXPECT_EQ(lists_, 3);
  // The older event, which comes late, would bring back what is gone; and what follows it is of no worth.
  listed_ = {"b", "g"};
  body_->write(event("DELETED", pod("f", 14)) + event("MODIFIED", pod("f", 13)) + event("ADDED", pod("never", 15)));
  until([&] { return !have_.contains("f"); }, "the newer event");
  EXPECT_FALSE(have_.contains("never"));
  until([&] { return have_ == Names{"b", "g"}; }, "a list");
  until_watching(2);
  EXPECT_EQ(watches_[1], "10");
}

TEST_F(ListWatchTest, SilenceCountsAsLoss) {
  auto timing = fast();
  timing.silence = milliseconds(50);
  start(timing);
  until_watching();
  until_watching(2);
  EXPECT_EQ(lists_, 3);
  EXPECT_EQ(watches_[1], "10");
}

TEST_F(ListWatchTest, OnlyWhatCameCountsAsHeard) {
  start();
  until_watching();
  body_->write(event("ADDED", pod("f", 11)));
  until([&] { return have_.contains("f"); }, "the last word");
  const auto heard = watch_->state().heard;
  server_.reset();
  const auto before = watch_->state().reconnects;
  until([&] { return watch_->state().reconnects >= before + 4; }, "attempts in vain");
  EXPECT_EQ(watch_->state().heard, heard);
}

TEST_F(ListWatchTest, FailingListsAreRetriedWhole) {
  failing_lists_ = 3;
  start();
  until_watching();
  EXPECT_EQ(have_.size(), 5U);
}

TEST_F(ListWatchTest, AnApiThatIsNotInstalledIsToldAndAskedForAgain) {
  failing_lists_ = 5;
  failing_status_ = 404;
  may_be_absent_ = true;
  auto timing = fast();
  timing.absent_retry = milliseconds(3);
  start(timing);
  until_watching();
  EXPECT_EQ(absences_, (std::vector<unsigned>{1, 2, 3, 3, 3}));
  EXPECT_EQ(have_.size(), 5U);
  // Uninstalled while it is watched: the watch goes unanswered, and the list says why.
  failing_lists_ = 3;
  lost_ = 1;
  body_.reset();
  until([&] { return watch_->state().phase == "absent" && absences_.size() >= 8; }, "absent");
  EXPECT_EQ(absences_[5], 1U);  // counted anew
  EXPECT_EQ(watch_->state().last_error, "");
}

TEST_F(ListWatchTest, AnApiThatMustBeThereIsAnErrorWhereItIsNot) {
  failing_lists_ = 1000;
  failing_status_ = 404;
  start();
  until([&] { return !watch_->state().last_error.empty() && lists_ > 3; }, "error");
  EXPECT_FALSE(watch_->state().synced);
}

TEST_F(ListWatchTest, AnotherServerIsTried) {
  dead_first_ = true;
  start();
  until_watching();
  EXPECT_EQ(have_.size(), 5U);
  EXPECT_EQ(servers_->current_name(), "127.0.0.1:" + std::to_string(port_));
}

TEST(WatchStream, AnEndlessLineIsAnError) {
  Decoder decoder(Kind::kPod);
  WatchStream stream(decoder, [](const WatchEvent&) {});
  const std::string piece(1 << 20, 'x');
  Status status;
  for (int i = 0; i < 16 && status.ok(); ++i) status = stream.feed(piece);
  EXPECT_FALSE(status.ok());
}

}  // namespace
}  // namespace fairway::k8s
