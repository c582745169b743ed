#include "lab/readiness.h"

#include <boost/json.hpp>
#include <filesystem>
#include <optional>
#include <thread>

#include "lab/calls.h"
#include "lab/lock.h"
#include "sys/file.h"

namespace fairway::lab {
namespace fs = std::filesystem;
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::uintmax_t kLeastSpace = 256 << 10;
constexpr std::int64_t kHopeless = 8;  // restarts; with the supervisor's backoff, some seconds of them

// How many nodes have the condition Ready; an error while the API is not up.
Result<unsigned> ready_nodes(const Layout& layout) {
  const auto answer =
      call_api(layout, [](k8s::ApiClient& client, k8s::Done done) { return client.list({.resource = "nodes"}, {}, std::move(done)); });
  if (!answer.ok()) return answer.error();
  unsigned count = 0;
  for (const auto& node : answer->at("items").as_array()) {
    const auto* conditions = node.as_object().contains("status") ? node.at("status").as_object().if_contains("conditions") : nullptr;
    if (!conditions) continue;
    for (const auto& condition : conditions->as_array()) count += condition.at("type") == "Ready" && condition.at("status") == "True";
  }
  return count;
}

std::string last_lines(const std::string& path, std::size_t bytes = 1500) {
  auto text = sys::read_file(path);
  if (!text.ok()) return "";
  return text->size() > bytes ? "..." + text->substr(text->size() - bytes) : *text;
}

std::string last_line(const std::string& path) {
  std::string text = last_lines(path);
  while (text.ends_with('\n')) text.pop_back();
  return text.substr(text.rfind('\n') + 1);
}

// A full disk takes everybody's last words, so it is looked for. Empty where there is space.
std::string full_disk(const Layout& layout) {
  std::error_code ec;
  const auto space = fs::space(layout.dir, ec);
  if (ec || space.available >= kLeastSpace) return "";
  return "; no space is left in " + layout.dir + ": make some, or choose another folder with FAIRWAY_LAB_DIR";
}

// A process that has ended whenever it was started, with its last line; empty where there is none.
std::string broken_process(const Layout& layout) {
  const auto answer = ask_supervisor(layout, "GET", "/v1/lab");
  boost::system::error_code ec;
  const auto lab = answer.ok() ? boost::json::parse(*answer, ec) : boost::json::value();
  if (!lab.is_object()) return "";
  std::vector<const boost::json::value*> processes{&lab.at("server")};
  for (const auto& node : lab.at("nodes").as_array()) processes.insert(processes.end(), {&node.at("agent"), &node.at("runtime")});
  for (const auto* process : processes) {
    if (process->at("restarts").to_number<std::int64_t>() < kHopeless) continue;
    const std::string name(process->at("name").as_string()), log = layout.log(name);
    return name + " ends whenever it is started (" + std::string(process->at("lastEnd").as_string()) + "): " + last_line(log) +
           "\nIts log is " + log + ". Take the lab down with: fairway lab down";
  }
  return "";
}

}  // namespace

Error supervisor_ended(const Layout& layout) {
  std::error_code ec;
  if (!fs::exists(layout.spec(), ec)) return make_error(Code::kUnavailable, "the lab was taken down while it came up");
  const std::string words = last_lines(layout.log("supervisor"));
  return make_error(Code::kInternal, "the lab's supervisor ended" + full_disk(layout) + (words.empty() ? "" : ":\n" + words));
}

Status wait_until_ready(const Layout& layout, unsigned nodes, std::chrono::seconds timeout, const Progress& progress) {
  const auto deadline = Clock::now() + timeout;
  std::optional<unsigned> seen;
  std::string why;
  while (Clock::now() < deadline) {
    std::this_thread::sleep_for(std::chrono::milliseconds(50));
    if (running_lab_dir() != layout.dir) {
      const auto settled = take_change_lock([] {});  // who takes it down comes to an end first
      return supervisor_ended(layout);
    }
    const auto ready = ready_nodes(layout);
    why = ready.ok() ? std::to_string(*ready) + " of " + std::to_string(nodes) + " nodes are Ready" : ready.error().message;
    if (ready.ok() && seen != *ready) {
      progress(why);
      seen = *ready;
    }
    if (seen >= nodes) return {};
    if (const std::string full = full_disk(layout); !full.empty()) return make_error(Code::kExhausted, why + full);
    if (const std::string broken = broken_process(layout); !broken.empty()) return make_error(Code::kInternal, why + "; " + broken);
  }
  return make_error(Code::kTimeout, "the lab is not ready after " + std::to_string(timeout.count()) + " s: " + why + "; its logs are in " +
                                        layout.dir + "/logs");
}

}  // namespace fairway::lab
