// fairway-bench: measures the goals of issue 2 (docs/benchmarks.md). Started by ./dev bench.
#include <fmt/format.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <filesystem>
#include <thread>

#include "core/harness.h"
#include "sys/file.h"
#include "sys/process.h"

namespace fairway::bench {
namespace {

struct Arguments {
  std::vector<std::string> only;
  std::string json, svg, markdown;
  bool quick = false, list = false;
  unsigned rounds = 7;
  unsigned seconds_tenths = 10;
};

std::vector<Family> all_families() {
  std::vector<Family> out;
  for (auto make : {pod_rows, cross_rows, policy_path_rows, service_rows, sync_rows, decode_rows, cni_rows, agent_rows, lab_rows,
                    policy_rows, policy_check_rows, policy_enforce_rows})
    for (Family& f : make()) out.push_back(std::move(f));
  return out;
}

// A mount namespace, /run/netns and BPF file system of our own: what is made there goes with the process.
Status isolate(Context& context) {
  if (unshare(CLONE_NEWNS) != 0) return errno_error(errno, "unshare mount namespace (the benchmark needs root)");
  if (mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0) return errno_error(errno, "make mounts private");
  mkdir("/run/netns", 0755);
  if (mount("tmpfs", "/run/netns", "tmpfs", 0, "mode=755") != 0) return errno_error(errno, "mount a tmpfs on /run/netns");
  if (mount("tmpfs", context.work_dir.c_str(), "tmpfs", 0, "mode=755") != 0)
    return errno_error(errno, "mount a tmpfs on " + context.work_dir);
  context.bpf_dir = context.work_dir + "/bpf";
  mkdir(context.bpf_dir.c_str(), 0755);
  if (mount("bpf", context.bpf_dir.c_str(), "bpf", 0, nullptr) != 0) return errno_error(errno, "mount a BPF file system");
  return {};
}

// Also takes away what a killed run left.
Status make_cgroup(Context& context) {
  std::string root;
  for (const char* path : {"/sys/fs/cgroup/unified", "/sys/fs/cgroup"})
    if (root.empty() && access((std::string(path) + "/cgroup.procs").c_str(), F_OK) == 0) root = path;
  if (root.empty()) return make_error(Code::kUnsupported, "no cgroup2 is mounted");
  for (const auto& entry : std::filesystem::directory_iterator(root)) {
    std::string name = entry.path().filename();
    if (!name.starts_with("fairway-bench-")) continue;
    if (kill(std::atoi(name.c_str() + 14), 0) != 0 && errno == ESRCH) rmdir(entry.path().c_str());
  }
  context.cgroup = root + "/fairway-bench-" + std::to_string(getpid());
  if (mkdir(context.cgroup.c_str(), 0755) != 0) return errno_error(errno, "make " + context.cgroup);
  return {};
}

bool wanted(const Family& family, const Context& context) {
  return std::any_of(family.rows.begin(), family.rows.end(), [&](const std::string& row) { return context.wants(row); });
}

// Rows of the families that ran, and how many families failed.
std::pair<std::vector<Row>, int> run_all(Context& context) {
  std::vector<Row> rows;
  int failed = 0;
  for (Family& family : all_families()) {
    if (!wanted(family, context)) continue;
    if (Status ran = family.run(context, rows); !ran.ok()) {
      fmt::print(stderr, "{}: {}\n", fmt::join(family.rows, ", "), ran.error().message);
      ++failed;
    }
  }
  return {std::move(rows), failed};
}

Status save(const std::string& path, const std::string& text) { return path.empty() ? Status{} : sys::write_file_atomic(path, text); }

int run(const Arguments& args) {
  for (const std::string& o : args.only) {
    auto families = all_families();
    auto has = [&](const Family& f) { return std::find(f.rows.begin(), f.rows.end(), o) != f.rows.end(); };
    if (std::none_of(families.begin(), families.end(), has)) {
      fmt::print(stderr, "There is no row \"{}\"; --list names them.\n", o);
      return 2;
    }
  }
  char work[] = "/tmp/fairway-bench-XXXXXX";
  if (mkdtemp(work) == nullptr) return 1;
  Context context;
  context.only = args.only;
  context.work_dir = work;
  context.bin_dir = std::filesystem::read_symlink("/proc/self/exe").parent_path();
  context.options.quick = args.quick;
  context.options.rounds = args.quick ? 1 : args.rounds;
  context.options.length = std::chrono::milliseconds(args.quick ? 50 : args.seconds_tenths * 100);
  unsigned cores = std::thread::hardware_concurrency();
  context.options.one_cpu = cores > 1 ? 1 : 0;
  context.options.other_cpu = cores > 2 ? 2 : 0;
  context.progress = [](const std::string& what) { fmt::print(stderr, "  {}\n", what); };
  Status ready = isolate(context);
  if (ready.ok()) ready = make_cgroup(context);
  int code = 1;
  if (!ready.ok()) {
    fmt::print(stderr, "{}\n", ready.error().message);
  } else {
    auto [rows, failed] = run_all(context);
    Machine machine = this_machine();
    std::string table = render_markdown(machine, rows);
    fmt::print("{}", table);
    for (auto& [path, text] :
         {std::pair{args.json, render_json(machine, rows)}, {args.svg, render_svg(machine, rows)}, {args.markdown, table}}) {
      if (Status saved = save(path, text); !saved.ok()) {
        fmt::print(stderr, "{}\n", saved.error().message);
        ++failed;
      }
    }
    code = failed == 0 && !rows.empty() ? 0 : 1;
  }
  if (!context.cgroup.empty()) rmdir(context.cgroup.c_str());
  umount2(context.bpf_dir.c_str(), MNT_DETACH);
  umount2(work, MNT_DETACH);
  rmdir(work);
  return code;
}

}  // namespace
}  // namespace fairway::bench

int main(int argc, char** argv) {
  fairway::bench::Arguments args;
  CLI::App app("Measures Fairway against what it replaces. Needs root: it makes network namespaces and loads BPF programs.");
  app.add_option("--only", args.only, "rows, by commas")->delimiter(',');
  app.add_option("--json", args.json, "writes the rows as JSON");
  app.add_option("--svg", args.svg, "writes a chart");
  app.add_option("--markdown", args.markdown, "writes the table");
  app.add_option("--rounds", args.rounds, "pairs that count, per row")->check(CLI::Range(5, 100));
  app.add_option("--tenths", args.seconds_tenths, "tenths of a second per measurement")->check(CLI::Range(1, 600));
  app.add_flag("--quick", args.quick, "only checks that it runs; the figures say nothing");
  app.add_flag("--list", args.list, "names the rows");
  CLI11_PARSE(app, argc, argv);
  if (args.list) {
    for (const auto& family : fairway::bench::all_families()) fmt::print("{}\n", fmt::join(family.rows, "\n"));
    return 0;
  }
  if (geteuid() != 0) {
    fmt::print(stderr, "fairway-bench needs root: it makes network namespaces and loads BPF programs.\n");
    return 1;
  }
  return fairway::bench::run(args);
}
