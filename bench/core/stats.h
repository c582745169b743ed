// Numbers from rounds: medians, percentiles, ratios of pairs.
#pragma once

#include <vector>

namespace fairway::bench {

double percentile(std::vector<double> values, double p);  // p of 0..100, nearest rank; 0 for none
inline double median(std::vector<double> values) { return percentile(std::move(values), 50); }

// Latencies of one run, in nanoseconds: buckets of 1/1024 of their power of two, so percentiles err by 0.1 % at most.
class Histogram {
 public:
  Histogram() : counts_(64 * kSteps) {}
  void add(unsigned long long ns);
  double percentile_ns(double p) const;
  unsigned long long count() const { return total_; }

 private:
  static constexpr unsigned kBits = 10, kSteps = 1u << kBits;
  std::vector<unsigned long long> counts_;
  unsigned long long total_ = 0;
};

}  // namespace fairway::bench
