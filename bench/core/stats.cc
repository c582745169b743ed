#include "core/stats.h"

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstddef>

namespace fairway::bench {

double percentile(std::vector<double> values, double p) {
  if (values.empty()) return 0;
  std::sort(values.begin(), values.end());
  if (p == 50 && values.size() % 2 == 0) return (values[values.size() / 2 - 1] + values[values.size() / 2]) / 2;
  auto rank = static_cast<std::size_t>(std::ceil(p / 100 * static_cast<double>(values.size())));
  return values[std::clamp<std::size_t>(rank, 1, values.size()) - 1];
}

// Values below kSteps have a bucket each; above, each power of two has kSteps.
void Histogram::add(unsigned long long ns) {
  ++total_;
  if (ns < kSteps) {
    ++counts_[ns];
    return;
  }
  unsigned power = static_cast<unsigned>(std::bit_width(ns)) - 1;  // kBits and more
  ++counts_[kSteps * (power - kBits + 1) + ((ns >> (power - kBits)) & (kSteps - 1))];
}

double Histogram::percentile_ns(double p) const {
  auto wanted = static_cast<unsigned long long>(std::ceil(p / 100 * static_cast<double>(total_)));
  unsigned long long seen = 0;
  for (std::size_t i = 0; i < counts_.size(); ++i) {
    seen += counts_[i];
    if (seen < wanted || counts_[i] == 0) continue;
    if (i < kSteps) return static_cast<double>(i);
    int power = static_cast<int>(i / kSteps) + static_cast<int>(kBits) - 1;
    double width = std::ldexp(1.0, power - static_cast<int>(kBits));
    return std::ldexp(1.0, power) + (static_cast<double>(i % kSteps) + 0.5) * width;
  }
  return 0;
}

}  // namespace fairway::bench
