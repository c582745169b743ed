#!/usr/bin/env python3
"""Every command in the docs runs: each `$ command` line of a ```console block, page by page.

A page's commands run in order, from the project's root, in a lab of the test's own; a page that takes a lab up itself
begins with none. Lines without `$ ` are output, shown to readers, not compared.
A block whose first line is `# not run: REASON` is left out, and the reason is printed and counted as skipped.
Blocks of commands in any other language tag would escape this test, so they are refused.
"""
import glob
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), ".."))
BIN = os.path.join(ROOT, "build/release/bin")
LAB = os.path.join(BIN, "fairway")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.M | re.S)


def pages():
    return [os.path.join(ROOT, "README.md")] + sorted(glob.glob(os.path.join(ROOT, "docs/*.md")))


def blocks(path):
    with open(path) as page:
        for language, text in BLOCK.findall(page.read()):
            yield language, text


def commands(text):
    """The `$ ` lines, each with its continuation lines (a trailing backslash)."""
    pending = None
    for line in text.splitlines():
        if pending is not None:
            pending += "\n" + line
        elif line.startswith("$ "):
            pending = line[2:]
        else:
            continue
        if not pending.endswith("\\"):
            yield pending
            pending = None


def run(command, env):
    done = subprocess.run(["bash", "-ec", command], cwd=ROOT, env=env, stdin=subprocess.DEVNULL,
                          capture_output=True, text=True, errors="replace", timeout=180)
    return done.returncode, (done.stdout + done.stderr)[-1500:]


def ensure_lab(env, wanted):
    """Takes the lab up or down, as the page needs it."""
    up = subprocess.run([LAB, "lab", "status"], env=env, capture_output=True).returncode == 0
    if up != wanted:
        subprocess.run([LAB, "lab", "up" if wanted else "down"], env=env, check=True, capture_output=True, timeout=180)


def main():
    folder = tempfile.mkdtemp(prefix="fairway-docs-")
    env = dict(os.environ, PATH=BIN + ":" + os.environ["PATH"], HOME=folder, FAIRWAY_LAB_DIR=folder + "/lab", KUBECONFIG=folder + "/lab/kubeconfig")
    try:
        return check_pages(env)
    finally:
        ensure_lab(env, False)
        shutil.rmtree(folder, ignore_errors=True)


def check_pages(env):
    passed = failed = skipped = 0
    for path in pages():
        name = os.path.relpath(path, ROOT)
        all_commands = [c for language, text in blocks(path) if language == "console" and not text.startswith("# not run") for c in commands(text)]
        if all_commands:
            ensure_lab(env, not any("lab up" in c or "dev demo" in c for c in all_commands))
        for language, text in blocks(path):
            if language in ("sh", "bash", "shell"):
                print(f"FAIL {name}: a block of commands is marked {language}; mark it console, so that it is run")
                failed += 1
            if language != "console":
                continue
            if text.startswith("# not run: "):
                print(f"skipped {name}: {text.splitlines()[0][11:]}")
                skipped += 1
                continue
            for command in commands(text):
                code, output = run(command, env)
                print(f"{'ok  ' if code == 0 else 'FAIL'} {name}: {command}")
                passed, failed = passed + (code == 0), failed + (code != 0)
                if code != 0:
                    print(output)
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
