#include "io/loop.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <unistd.h>

#include <csignal>
#include <thread>
#include <vector>

#include "io/io_test_support.h"
#include "sys/fd.h"
#include "sys/process.h"

namespace fairway::io {
namespace {

using namespace std::chrono_literals;

TEST(Loop, RunsPostedTasksInOrderAlsoFromOtherThreads) {
  Loop loop;
  std::vector<int> order;
  std::thread other([&] {
    for (int i = 0; i < 100; ++i) loop.post([&order, i] { order.push_back(i); });
    loop.post([&] { loop.stop(); });
  });
  loop.run();
  other.join();
  ASSERT_EQ(order.size(), 100u);
  for (int i = 0; i < 100; ++i) EXPECT_EQ(order[static_cast<std::size_t>(i)], i);
}

TEST(Loop, StopAheadOfRunIsNotLost) {
  Loop loop;
  loop.stop();
  loop.run();
  bool ran = false;
  loop.post([&] {
    ran = true;
    loop.stop();
  });
  loop.run();
  EXPECT_TRUE(ran);
}

TEST(Loop, CancelledTimerNeverRuns) {
  Loop loop;
  bool ran = false;
  auto doomed = loop.after(1ms, [&] { ran = true; });
  loop.post([&] {
    std::this_thread::sleep_for(5ms);
    doomed.cancel();
  });  // expired already, yet not to run
  auto end = loop.after(20ms, [&] { loop.stop(); });
  EXPECT_TRUE(end.pending());
  loop.run();
  EXPECT_FALSE(end.pending());
  EXPECT_FALSE(ran);
}

TEST(Loop, EveryRepeatsAndMayEndItself) {
  Loop loop;
  int runs = 0;
  Loop::Timer end;
  Loop::Timer timer = loop.every(1ms, [&] {
    if (++runs < 3) return;
    timer.cancel();
    end = loop.after(20ms, [&] { loop.stop(); });
  });
  loop.run();
  EXPECT_EQ(runs, 3);
}

TEST(Loop, WatchesOfOneFdInBothDirections) {
  Loop loop;
  int ends[2];
  ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM, 0, ends), 0);
  const sys::Fd a(ends[0]), b(ends[1]);
  std::string got;
  int writable = 0;
  Loop::Watch reading = loop.watch(a.get(), Loop::Ready::kRead, [&] {
    char c;
    while (::read(a.get(), &c, 1) == 1) got += c;
    if (got == "hello") loop.stop();
  });
  Loop::Watch writing = loop.watch(a.get(), Loop::Ready::kWrite, [&] {
    if (++writable < 3) return;
    writing.cancel();
    ASSERT_EQ(::write(b.get(), "hello", 5), 5);
  });
  loop.run();
  EXPECT_EQ(got, "hello");
  EXPECT_EQ(writable, 3);
}

TEST(Loop, SignalsArriveOnTheLoop) {
  Loop loop;
  int seen = 0;
  auto watch = loop.on_signal(SIGUSR1, [&] {
    EXPECT_TRUE(loop.on_loop_thread());
    if (++seen == 2) loop.stop();
    else ::raise(SIGUSR1);
  });
  ::raise(SIGUSR1);
  loop.run();
  EXPECT_EQ(seen, 2);
}

TEST(Loop, SigpipeEndsNeitherUsNorIsIgnoredByWhatWeStart) {
  Loop loop;
  ::raise(SIGPIPE);
  auto child = sys::run({"/bin/grep", "SigIgn", "/proc/self/status"});
  ASSERT_TRUE(child.ok());
  const std::string mask = child->out.substr(child->out.find_first_of("0123456789abcdef", child->out.find('\t')));
  EXPECT_EQ(std::stoull(mask, nullptr, 16) >> (SIGPIPE - 1) & 1, 0u) << child->out;
}

TEST(Loop, PendingWorkDiesWithTheLoop) {
  auto held = std::make_shared<int>(1);
  Loop::Timer timer;
  {
    Loop loop;
    loop.post([held] {});
    timer = loop.after(1h, [held] {});
    timer.cancel();
  }
  EXPECT_EQ(held.use_count(), 1);
}

}  // namespace
}  // namespace fairway::io
