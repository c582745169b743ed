#include "core/harness.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/cpu.h"
#include "core/stats.h"

namespace fairway::bench {

namespace {

constexpr double kMostSteal = 0.01;  // of the cores' time

struct Weather {
  double steal;
  std::chrono::steady_clock::time_point at;
};
Weather look(const std::vector<unsigned>& cpus) { return {cpu_ticks(cpus).steal, std::chrono::steady_clock::now()}; }

bool disturbed(const Weather& before, const Weather& after, const std::vector<unsigned>& cpus) {
  double wall = std::chrono::duration<double>(after.at - before.at).count() * static_cast<double>(cpus.size());
  return (after.steal - before.steal) / ticks_per_second() > kMostSteal * wall;
}

}  // namespace

bool Context::wants(const std::string& row) const { return only.empty() || std::find(only.begin(), only.end(), row) != only.end(); }

std::string Compared::note() const { return discarded == 0 ? "" : fmt::format("{} of {} pairs discarded", discarded, discarded + rounds); }

Result<Compared> compare(const Options& options, const std::vector<unsigned>& cpus, const Measurement& ours, const Measurement& base) {
  std::vector<double> all_ours, all_base, ratios;
  Compared out;
  while (ratios.size() < options.rounds) {
    Weather before = look(cpus);
    FW_ASSIGN(double b, base());
    FW_ASSIGN(double a, ours());
    bool last_chance = out.discarded >= 2 * options.rounds;
    if (!options.quick && !last_chance && disturbed(before, look(cpus), cpus)) {
      ++out.discarded;
      continue;
    }
    if (!(a > 0) || !(b > 0)) return make_error(Code::kInternal, "a measurement gave nothing");
    all_ours.push_back(a);
    all_base.push_back(b);
    ratios.push_back(a / b);
  }
  out.rounds = static_cast<unsigned>(ratios.size());
  out.ours = median(all_ours);
  out.base = median(all_base);
  out.ratio = median(ratios);
  out.spread = *std::max_element(ratios.begin(), ratios.end()) - *std::min_element(ratios.begin(), ratios.end());
  return out;
}

Row row_of(std::string name, std::string unit, const Compared& c, std::string base_name, Goal goal) {
  return {.name = std::move(name),
          .ours = c.ours,
          .base = c.base,
          .base_name = std::move(base_name),
          .unit = std::move(unit),
          .ratio = c.ratio,
          .spread = c.spread,
          .goal = goal,
          .note = c.note()};
}

}  // namespace fairway::bench
