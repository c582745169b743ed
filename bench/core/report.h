// What the benchmark says: rows, as a Markdown table, JSON and an SVG chart.
#pragma once

#include <optional>
#include <string>
#include <vector>

namespace fairway::bench {

struct Goal {
  enum class Of { kNothing, kRatio, kOurs } of = Of::kNothing;
  bool at_most = true;
  double limit = 0;

  static Goal ratio_at_most(double v) { return {Of::kRatio, true, v}; }
  static Goal ratio_at_least(double v) { return {Of::kRatio, false, v}; }
  static Goal at_most_value(double v) { return {Of::kOurs, true, v}; }
  static Goal at_least_value(double v) { return {Of::kOurs, false, v}; }
};

struct Row {
  std::string name;
  double ours = 0;
  std::optional<double> base;
  std::string base_name;
  std::string unit;
  std::optional<double> ratio;   // median over the pairs of ours / base
  std::optional<double> spread;  // largest less smallest of the pairs' ratios
  Goal goal;
  std::string note;

  std::optional<bool> met() const;  // nothing: the row is reported, not judged
  std::string goal_text() const;    // "≤ 1.05×", "≤ 4 ms", "reported"
};

struct Machine {
  std::string cpu, kernel, date, versions;
  unsigned cores = 0;
};
Machine this_machine();

std::string render_markdown(const Machine& machine, const std::vector<Row>& rows);
std::string render_json(const Machine& machine, const std::vector<Row>& rows);
std::string render_svg(const Machine& machine, const std::vector<Row>& rows);

}  // namespace fairway::bench
