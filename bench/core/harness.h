// Harness: A B A B, pairs, what is thrown away, and what a row family is given.
#pragma once

#include <chrono>
#include <functional>
#include <string>
#include <vector>

#include "base/result.h"
#include "core/report.h"

namespace fairway::bench {

struct Options {
  bool quick = false;                      // checks that it runs; its figures say nothing
  unsigned rounds = 7;                     // pairs that count, at least 5
  std::chrono::milliseconds length{1000};  // of one measurement
  unsigned one_cpu = 1;                    // both ends on it
  unsigned other_cpu = 2;                  // the second end, in rows across cores
};

struct Compared {
  double ours = 0, base = 0, ratio = 0, spread = 0;
  unsigned rounds = 0, discarded = 0;
  std::string note() const;  // what the reader has to know of discarded rounds
};

using Measurement = std::function<Result<double>()>;

// Pairs of base and ours, one after the other, so that both see the same weather. A pair during which the hypervisor
// stole more than a hundredth of the cores is measured again (up to twice as many as wanted).
Result<Compared> compare(const Options& options, const std::vector<unsigned>& cpus, const Measurement& ours, const Measurement& base);

// A row of a comparison.
Row row_of(std::string name, std::string unit, const Compared& c, std::string base_name, Goal goal = {});

struct Context {
  Options options;
  std::string work_dir;           // of this run; removed at its end
  std::string bpf_dir;            // a BPF file system of its own
  std::string cgroup;             // a cgroup2 folder of its own
  std::string bin_dir;            // of the real programs
  std::vector<std::string> only;  // rows asked for; empty: all
  std::function<void(const std::string&)> progress;
  bool wants(const std::string& row) const;
};

struct Family {
  std::vector<std::string> rows;  // names for --only
  // Appends its rows; what it has measured before it fails still counts.
  std::function<Status(Context&, std::vector<Row>&)> run;
};

// One file each.
std::vector<Family> pod_rows();
std::vector<Family> cross_rows();
std::vector<Family> service_rows();
std::vector<Family> sync_rows();
std::vector<Family> decode_rows();
std::vector<Family> cni_rows();
std::vector<Family> agent_rows();
std::vector<Family> lab_rows();
std::vector<Family> policy_rows();
std::vector<Family> policy_path_rows();
std::vector<Family> policy_check_rows();
std::vector<Family> policy_enforce_rows();

}  // namespace fairway::bench
