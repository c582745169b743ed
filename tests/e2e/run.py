#!/usr/bin/env python3
"""End-to-end tests: a real lab, driven by the real kubectl. The last line is `N passed, N failed, N skipped`.

  tests/e2e/run.py                        all but what is big and runs by name: scale, policy_tables, policy_race
  tests/e2e/run.py --only scenario,dns    modules, classes or tests whose name contains one of these
  tests/e2e/run.py --nodes 3 --keep       leave the lab up afterwards, and say where it is
  tests/e2e/run.py --list
"""
import argparse
import glob
import os
import sys
import time
import traceback
import unittest

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import lab as lab_module  # noqa: E402


OWN_LABS = ("test_lab", "test_scale")
BY_NAME = ("test_scale", "test_policy_tables", "test_policy_race")  # suites of their own in tests/run.py
THREE_NODES = ("test_policy_tables", "test_policy_race")


class Report(unittest.TestResult):
    def __init__(self):
        super().__init__()
        self.passed, self.started = 0, 0.0
        self.told = []

    def startTest(self, test):
        super().startTest(test)
        self.started = time.monotonic()

    def line(self, mark, test, text=""):
        print(f"  {mark:<4} {test.id() if hasattr(test, 'id') else test} ({time.monotonic() - self.started:.1f} s){text}", flush=True)

    def addSuccess(self, test):
        self.passed += 1
        self.line("ok", test)

    def fail(self, test, err):
        self.line("FAIL", test)
        # A failed check says all in its message and the case's own line; another exception needs its trace.
        text = "".join(traceback.format_exception(*err))
        if isinstance(err[1], AssertionError):
            frames = [f for f in traceback.extract_tb(err[2]) if os.path.basename(f.filename).startswith("test_")]
            text = (f"{os.path.basename(frames[-1].filename)}:{frames[-1].lineno}: {frames[-1].line}\n" if frames else "") + str(err[1])
        self.told.append(f"{test.id()}\n    " + text.rstrip().replace("\n", "\n    "))
        print(self.told[-1].split("\n", 1)[1], flush=True)

    def again(self):
        """What failed once more, where a reader of the log's end finds it."""
        for text in self.told:
            print(f"  FAIL {text[-4000:]}", flush=True)

    def addError(self, test, err):
        super().addError(test, err)
        self.fail(test, err)

    def addFailure(self, test, err):
        super().addFailure(test, err)
        self.fail(test, err)

    def addSubTest(self, test, subtest, err):
        super().addSubTest(test, subtest, err)
        if err is not None:
            self.fail(subtest, err)

    def addSkip(self, test, reason):
        super().addSkip(test, reason)
        self.line("skip", test, f": {reason}")


def all_tests(only):
    here = os.path.dirname(os.path.abspath(__file__))
    loader = unittest.defaultTestLoader
    found = []
    modules = sorted(os.path.basename(p)[:-3] for p in glob.glob(os.path.join(here, "test_*.py")))

    def wanted(test):
        # A module's name means that module, not every test that begins so.
        return not only or any(word == type(test).__module__ if word in modules else word in test.id() for word in only)

    def flatten(suite):
        for item in suite:
            if isinstance(item, unittest.TestSuite):
                flatten(item)
            elif wanted(item):
                found.append(item)

    # What takes labs up and down itself comes last, when the shared one is gone.
    for name in sorted(modules, key=lambda n: n in OWN_LABS):
        if name not in BY_NAME or any(word.startswith(name) for word in only):
            flatten(loader.loadTestsFromName(name))
    return found


def why_not():
    if os.geteuid() != 0:
        return "a lab needs root: network namespaces, control groups and BPF"
    if not os.path.exists(lab_module.FAIRWAY):
        return f"{os.path.relpath(lab_module.FAIRWAY)} is not built; run ./dev build"
    if not lab_module.find_kubectl():
        return "there is no kubectl on this machine"
    return None


def dump_logs(directory):
    for path in sorted(glob.glob(os.path.join(directory, "logs", "*.log"))):
        with open(path, errors="replace") as log:
            print(f"--- end of {os.path.basename(path)}\n" + "".join(log.readlines()[-25:]), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="")
    parser.add_argument("--nodes", type=int, help="2; what is made for three has three")
    parser.add_argument("--seed", help="of what is random (FAIRWAY_SEED)")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--list", action="store_true")
    args = parser.parse_args()
    if args.seed:
        os.environ["FAIRWAY_SEED"] = args.seed
    tests = all_tests([w for w in args.only.split(",") if w])
    if args.list:
        print("\n".join(t.id() for t in tests))
        return 0
    if reason := why_not():
        print(f"skipped: {reason}\n0 passed, 0 failed, {len(tests)} skipped")
        return 0
    if not tests:
        print(f"nothing is called {args.only}\n0 passed, 1 failed, 0 skipped")
        return 1
    own = [t for t in tests if type(t).__module__ in OWN_LABS]
    shared = [t for t in tests if type(t).__module__ not in OWN_LABS]
    report = Report()
    if shared:
        run_shared(shared, report, args)
    unittest.TestSuite(own).run(report)
    failed = len(report.failures) + len(report.errors)
    report.again()
    print(f"{report.passed} passed, {failed} failed, {len(report.skipped)} skipped")
    return 1 if failed else 0


def run_shared(tests, report, args):
    nodes = args.nodes or (3 if any(type(t).__module__ in THREE_NODES for t in tests) else 2)
    lab = lab_module.LAB = lab_module.Lab(nodes)
    up = False
    try:
        lab.up()
        up = True
        print(f"lab of {nodes} nodes up after {lab.up_seconds:.1f} s", flush=True)
        unittest.TestSuite(tests).run(report)
    except lab_module.Failed as error:
        print(error, flush=True)
        report.errors.append(("lab up", str(error)))
    finally:
        if report.failures or report.errors:
            dump_logs(lab.dir)
        if args.keep and up:
            print(f"the lab stays up: export FAIRWAY_LAB_DIR={lab.dir} KUBECONFIG={lab.dir}/kubeconfig", flush=True)
        else:
            # A lab that was refused because another is up is not ours to take down; `lab down` sees to that itself.
            lab.fairway("lab", "down", check=False)
            for path in (lab.dir, lab.home):
                lab_module.shutil.rmtree(path, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
