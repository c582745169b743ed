#!/usr/bin/env python3
"""Every command in the docs runs: each `$ command` line of a ```console block, page by page, in a running lab.

A page's commands run in order in one shell folder. Lines without `$ ` are output, shown to readers, not compared.
A block whose first line is `# not run: REASON` is left out, and the reason is printed and counted as skipped.
Blocks of commands in any other language tag would escape this test, so they are refused.
"""
import glob
import os
import re
import subprocess
import sys

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


def main():
    passed = failed = skipped = 0
    env = dict(os.environ, PATH=BIN + ":" + os.environ["PATH"], KUBECONFIG=subprocess.run([LAB, "lab", "kubeconfig"], capture_output=True, text=True).stdout.strip())
    for path in pages():
        name = os.path.relpath(path, ROOT)
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
