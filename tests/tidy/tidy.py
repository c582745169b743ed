#!/usr/bin/env python3
"""The rules of docs/style.md that a program can check: layers, sizes, purity of compile/, no shell.

Run by ./dev check and ./dev lint; `tidy.py --self-test` shows that each rule can fail.
"""
import os
import re
import subprocess
import sys

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_BPF_FUNCTION_LINES = 100
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
IMPURE = re.compile(r'#\s*include\s+[<"](chrono|random|ctime|iostream|fstream|thread|sys/(log|file|process|netns|fd)\.h|unistd\.h|io/)')
SHELL = re.compile(r'(?<![\w:.>])(system|popen|execlp)\s*\(|"/bin/(ba)?sh"\s*,\s*"-c"')


def read_layers():
    layers = {}
    with open(os.path.join(ROOT, "docs/layers.txt")) as lines:
        for line in lines:
            if line.strip() and not line.startswith("#"):
                folder, number = line.split()
                layers[folder] = int(number)
    return layers


def folder_of(path, layers):
    """The folder of a path below src/, as docs/layers.txt names it; main_*.cc are layer `main`."""
    if "/" not in path:
        return "main"
    parts = path.split("/")
    for depth in (2, 1):
        name = "/".join(parts[:depth])
        if name in layers and len(parts) > depth:
            return name
    return None


def check_layers(path, text, layers):
    rel = path[len("src/"):]
    own = folder_of(rel, layers)
    if own is None:
        yield f"{path}: its folder has no layer in docs/layers.txt"
        return
    for number, line in enumerate(text.splitlines(), 1):
        match = INCLUDE.match(line)
        if not match or match.group(1).startswith("abi/") or "/" not in match.group(1):
            continue
        other = folder_of(match.group(1), layers)
        if other is None or other == own:
            continue
        if layers[other] >= layers[own]:
            yield f"{path}:{number}: {own} (layer {layers[own]}) includes {match.group(1)} (layer {layers[other]})"


def check_purity(path, text):
    if path.startswith("src/compile/") and not path.endswith("_test.cc"):
        for number, line in enumerate(text.splitlines(), 1):
            if IMPURE.search(line):
                yield f"{path}:{number}: compile/ is pure: {line.strip()}"


def check_shell(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        code = line.split("//")[0]
        if SHELL.search(code) and "tidy: allow-shell" not in line:
            yield f"{path}:{number}: no shell (docs/style.md): {line.strip()}"


def check_sizes(path, text):
    lines = text.splitlines()
    if len(lines) > MAX_FILE_LINES:
        yield f"{path}: {len(lines)} lines, the limit is {MAX_FILE_LINES}"
    limit = MAX_BPF_FUNCTION_LINES if path.startswith("bpf/") else MAX_FUNCTION_LINES
    start = None
    for number, line in enumerate(lines, 1):
        # Top-level definitions begin at column 0 and, by our format, end with a brace at column 0.
        if re.match(r"^[A-Za-z_].*[({]\s*$|^[A-Za-z_].*\)\s*(const)?\s*\{$|^\{$", line) and "namespace" not in line and 'R"' not in line and not line.startswith(("struct", "class", "enum", "union", "extern")):
            start = number if start is None or not line.startswith("{") else start
        elif line.startswith("}") and start is not None:
            if number - start > limit and not line.startswith("};"):
                yield f"{path}:{start}: a function of {number - start} lines, the limit is {limit}"
            start = None


def tracked_sources():
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", "src", "bpf", "tests", "bench"],
                         cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [p for p in out.split() if p.endswith((".cc", ".h", ".c"))]


def problems(files):
    layers = read_layers()
    for path, text in files:
        if path.startswith("src/"):
            yield from check_layers(path, text, layers)
        yield from check_purity(path, text)
        yield from check_shell(path, text)
        yield from check_sizes(path, text)


def self_test():
    broken = [
        ("src/net/a.cc", '#include "k8s/informer.h"\n', "layer"),
        ("src/unknown/a.cc", "int x;\n", "no layer"),
        ("src/compile/services/a.cc", "#include <chrono>\n", "pure"),
        ("src/lab/a.cc", "int main() { system(cmd); }\n", "no shell"),
        ("src/lab/a.cc", "int x;\n" * 601, "lines, the limit"),
        ("src/lab/a.cc", "int f() {\n" + "  x();\n" * 80 + "}\n", "a function of"),
    ]
    failed = 0
    for path, text, expected in broken:
        found = list(problems([(path, text)]))
        if not any(expected in p for p in found):
            print(f"FAIL: the rule \"{expected}\" did not fire on {path}: {found}")
            failed += 1
    good = list(problems([("src/net/a.cc", '#include "base/result.h"\nint f() {\n  return 0;\n}\n')]))
    failed += len(good)
    print(f"{len(broken) + 1 - failed} passed, {failed} failed, 0 skipped")
    return failed


def main():
    if "--self-test" in sys.argv:
        return 1 if self_test() else 0
    files = []
    for path in tracked_sources():
        full = os.path.join(ROOT, path)
        if os.path.exists(full):
            with open(full, errors="replace") as source:
                files.append((path, source.read()))
    found = list(problems(files))
    for problem in found:
        print(problem)
    print(f"{len(files)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
