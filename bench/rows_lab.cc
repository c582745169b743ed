// lab_up: from the command to three Ready nodes. Only where no lab is up, and where the program is built.
#include <fmt/format.h>

#include <filesystem>

#include "core/harness.h"
#include "core/stats.h"
#include "sys/process.h"

namespace fairway::bench {

namespace {

Status run(Context& context, std::vector<Row>& rows) {
  std::string fairway = context.bin_dir + "/fairway";
  if (!std::filesystem::exists(fairway)) return make_error(Code::kNotFound, "lab_up: bin/fairway is not built");
  auto lab = [&](std::vector<std::string> args, std::chrono::seconds limit) {
    args.insert(args.begin(), {"env", "FAIRWAY_LAB_DIR=" + context.work_dir + "/lab", fairway, "lab"});
    return sys::run_ok(args, "", limit);
  };
  std::vector<double> seconds;
  for (unsigned round = 0; round < (context.options.quick ? 1u : 3u); ++round) {
    context.progress(fmt::format("lab_up, round {}", round + 1));
    auto begin = std::chrono::steady_clock::now();
    auto up = lab({"up", "--nodes", "3"}, std::chrono::seconds(180));
    double took = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    auto down = lab({"down"}, std::chrono::seconds(120));
    if (!up.ok()) return std::move(up).error();
    if (!down.ok()) return std::move(down).error();
    seconds.push_back(took);
  }
  rows.push_back({.name = "lab_up", .ours = median(seconds), .unit = "s", .note = "three nodes Ready"});
  return {};
}

}  // namespace

std::vector<Family> lab_rows() { return {{{"lab_up"}, run}}; }

}  // namespace fairway::bench
