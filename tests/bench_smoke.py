#!/usr/bin/env python3
"""The benchmark harness runs and reports whole rows. No figure is a pass mark: CI machines are noisy."""
import json
import os
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
ROWS = ["pod_rr", "svc_flat", "watch_decode", "policy_compute", "policy_rows", "policy_crr", "policy_check"]
FIELDS = {"name", "ours", "base", "base_name", "unit", "ratio", "spread", "goal", "met"}


def main():
    with tempfile.TemporaryDirectory() as folder:
        out = os.path.join(folder, "bench.json")
        bench = os.path.join(ROOT, "build/release/bin/fairway-bench")
        done = subprocess.run([bench, "--quick", "--only", ",".join(ROWS), "--json", out], capture_output=True, text=True, timeout=500)
        problems = [] if done.returncode == 0 else [f"fairway-bench ended with {done.returncode}: {done.stderr[-2000:]}"]
        rows = {row["name"]: row for row in json.load(open(out))["rows"]} if os.path.exists(out) else {}
    passed = 0
    for name in ROWS:
        row = next((r for n, r in rows.items() if n.startswith(name)), None)
        missing = FIELDS - set(row) if row else FIELDS
        if row is None or missing or not row["ours"] > 0:
            problems.append(f"{name}: {'no such row' if row is None else f'missing {sorted(missing)} or not positive: {row}'}")
        else:
            passed += 1
    for problem in problems:
        print(problem)
    print(f"{passed} passed, {len(problems)} failed, 0 skipped")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
