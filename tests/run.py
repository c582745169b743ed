#!/usr/bin/env python3
"""Runs the test suites and counts: the last line is `N passed, N failed, N skipped`.

  tests/run.py --all                     every suite
  tests/run.py --suite unit --suite bpf  these alone
  tests/run.py --list                    what there is

A suite is a set of gtest binaries, or a command whose last line of output is such a count.
What needs root is skipped without it, in one sentence, and counted so.
"""
import argparse
import concurrent.futures
import glob
import json
import os
import re
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
COUNT = re.compile(r"^(\d+) passed, (\d+) failed(?:, (\d+) skipped)?$")
COLOUR = sys.stdout.isatty()


class Suite:
    def __init__(self, name, what, gtests=None, command=None, root=False, parallel=False, timeout=600):
        self.name, self.what, self.gtests, self.command = name, what, gtests, command
        self.root, self.parallel, self.timeout = root, parallel, timeout


# In the order they run: what is quick and likely to fail first.
SUITES = [
    Suite("tidy-self", "each rule of the style check can fail", command=["python3", "tests/tidy/tidy.py", "--self-test"]),
    Suite("tidy", "layers, sizes, purity", command=["python3", "tests/tidy/tidy.py"]),
    Suite("unit", "unit and property tests, ASan and UBSan", gtests="{dev}/tests/fw_*_tests", parallel=True),
    Suite("script", "golden files: YAML to tables to maps", gtests="{dev}/tests/script_*tests", parallel=True),
    Suite("bpf", "the loaded programs by BPF_PROG_TEST_RUN, the verifier's budget", gtests="{release}/tests/bpf_*tests", root=True),
    Suite("netns", "real packets in real namespaces: datapath, CNI, runtime", gtests="{release}/tests/netns_*tests", root=True),
    Suite("apiserver", "the lab's API server with real kubectl", gtests="{release}/tests/apiserver_*tests", root=True, timeout=900),
    Suite("e2e", "a whole cluster driven by kubectl", command=["python3", "tests/e2e/run.py"], root=True, timeout=1800),
    Suite("scale", "a lab of 50 nodes and 500 pods", command=["python3", "tests/e2e/run.py", "--only", "test_scale"], root=True, timeout=900),
    Suite("policy-tables", "nine-pod truth tables of policy on three nodes: every cell as the API's text says",
          command=["python3", "tests/e2e/run.py", "--only", "test_policy_tables"], root=True, timeout=900),
    Suite("policy-race", "first packets of 450 pods (FAIRWAY_RACE_PODS=1000 by hand), label flips under load, connections older than their policy",
          command=["python3", "tests/e2e/run.py", "--only", "test_policy_race"], root=True, timeout=1500),
    Suite("docs", "every command in the docs", command=["python3", "tests/docs_test.py"], root=True, timeout=600),
    Suite("fuzz", "each fuzzer for a short while", command=["tests/fuzz/run", "8"], timeout=900),
    # IPv4 alone, and no thousands of random packets, as emulation takes seconds a test; `./dev test --kernel 6.1` runs them all.
    Suite("kernel-6.1", "BPF and namespace tests under Debian's 6.1 kernel in qemu",
          command=["tests/kernel/run", "6.1", "--gtest_filter=-*/v6:*/clsact:*HostPorts*:*TablesGrow*:PolicyProperty*"], timeout=1600),
    Suite("bench", "the benchmark harness runs (no pass mark on time)", command=["python3", "tests/bench_smoke.py"], root=True, timeout=600),
]


class Outcome:
    def __init__(self, name, passed=0, failed=0, skipped=0, details="", seconds=0.0):
        self.name, self.passed, self.failed, self.skipped = name, passed, failed, skipped
        self.details, self.seconds = details, seconds


def run_process(argv, timeout):
    start = time.monotonic()
    env = dict(os.environ, ASAN_OPTIONS="detect_leaks=1:abort_on_error=0", UBSAN_OPTIONS="print_stacktrace=1")
    # A session of its own: at the deadline the whole group ends.
    process = subprocess.Popen(argv, cwd=ROOT, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               text=True, errors="replace", env=env, start_new_session=True)
    try:
        out, _ = process.communicate(timeout=timeout)
        return process.returncode, out, time.monotonic() - start
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, 9)
        out, _ = process.communicate()
        return -1, (out or "") + f"\nstopped after {timeout} s", time.monotonic() - start


def run_gtest(path, timeout):
    name = os.path.basename(path)
    with tempfile.NamedTemporaryFile(suffix=".json") as report:
        code, out, seconds = run_process([path, f"--gtest_output=json:{report.name}", "--gtest_brief=1"], timeout)
        try:
            data = json.load(open(report.name))
        except ValueError:
            return Outcome(name, failed=1, details=f"{name} ended with {code} before its report:\n{tail(out)}", seconds=seconds)
    outcome = Outcome(name, seconds=seconds)
    for suite in data["testsuites"]:
        for test in suite["testsuite"]:
            if test.get("result") == "SKIPPED" or test.get("status") == "NOTRUN":
                outcome.skipped += 1
                outcome.details += f"  skipped {suite['name']}.{test['name']}\n"
            elif test.get("failures"):
                outcome.failed += 1
                outcome.details += f"  FAILED {suite['name']}.{test['name']}\n"
            else:
                outcome.passed += 1
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
        outcome.details += f"{name} ended with {code}\n"
    if outcome.failed:
        outcome.details += tail(out)
    return outcome


def run_command(suite):
    code, out, seconds = run_process(suite.command, suite.timeout)
    lines = out.strip().splitlines()
    match = COUNT.match(lines[-1]) if lines else None
    outcome = Outcome(suite.name, seconds=seconds)
    if match:
        outcome.passed, outcome.failed, outcome.skipped = (int(g or 0) for g in match.groups())
    else:
        outcome.passed, outcome.failed = (1, 0) if code == 0 else (0, 1)
    if code != 0 and outcome.failed == 0:
        outcome.failed = 1
    if outcome.failed or outcome.skipped:
        outcome.details = tail(out, 120)
    return outcome


def tail(text, lines=80):
    return "\n".join(text.strip().splitlines()[-lines:]) + "\n"


def run_suite(suite, args):
    if suite.root and os.geteuid() != 0:
        print(f"{suite.name}: skipped, it needs root (network namespaces and BPF)")
        return [Outcome(suite.name, skipped=1)]
    if suite.command:
        if not os.path.exists(os.path.join(ROOT, suite.command[1] if suite.command[0] == "python3" else suite.command[0])):
            return [Outcome(suite.name, failed=1, details=f"{' '.join(suite.command)} does not exist")]
        return [run_command(suite)]
    pattern = suite.gtests.format(dev=args.build or os.path.join(ROOT, "build/dev"), release=os.path.join(ROOT, "build/release"))
    binaries = sorted(p for p in glob.glob(pattern) if os.access(p, os.X_OK))
    if not binaries:
        return [Outcome(suite.name, failed=1, details=f"no test binary matches {pattern}")]
    workers = os.cpu_count() + 1 if suite.parallel else 1  # some of them wait more than they compute
    with concurrent.futures.ThreadPoolExecutor(workers) as pool:
        return list(pool.map(lambda path: run_gtest(path, suite.timeout), binaries))


def show(outcome):
    mark = "FAIL" if outcome.failed else "ok" if outcome.passed else "skip"
    colour = {"FAIL": "31", "ok": "32", "skip": "33"}[mark]
    if COLOUR:
        mark = f"\033[{colour}m{mark:<4}\033[0m"
    print(f"  {mark:<4} {outcome.name:<34} {outcome.passed:>5} passed {outcome.failed:>4} failed {outcome.skipped:>4} skipped {outcome.seconds:>7.1f} s",
          flush=True)
    if outcome.details:
        print(outcome.details, end="", flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--all", action="store_true")
    parser.add_argument("--suite", action="append", default=[])
    parser.add_argument("--only", help="comma-separated suites")
    parser.add_argument("--build", help="build folder of the unit tests (build/dev)")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.list:
        for suite in SUITES:
            print(f"{suite.name:<14} {suite.what}")
        return 0
    wanted = args.suite + (args.only.split(",") if args.only else [])
    unknown = set(wanted) - {s.name for s in SUITES}
    if unknown:
        parser.error(f"no suite is called {', '.join(sorted(unknown))}; --list shows them")
    totals, failed = [0, 0, 0], []
    for suite in SUITES:
        if not args.all and suite.name not in wanted or args.only and suite.name not in wanted:
            continue
        print(f"{suite.name}: {suite.what}", flush=True)
        for outcome in run_suite(suite, args):
            show(outcome)
            failed += [f"  {suite.name}: {line.strip()}" for line in outcome.details.splitlines() if line.strip().startswith("FAIL")]
            totals = [totals[0] + outcome.passed, totals[1] + outcome.failed, totals[2] + outcome.skipped]
    if failed:
        print("What failed:\n" + "\n".join(dict.fromkeys(failed)))
    print(f"{totals[0]} passed, {totals[1]} failed, {totals[2]} skipped")
    return 1 if totals[1] or not any(totals) else 0


if __name__ == "__main__":
    sys.exit(main())
