#!/usr/bin/env python3
"""The rules of docs/style.md that a program can check: layers, sizes, purity of compile/, no shell, the format,
and that a file which a comment or a page names is there.

Run by ./dev check and ./dev lint; `tidy.py --self-test` shows that each rule can fail.
"""
import concurrent.futures
import os
import re
import shutil
import subprocess
import sys
import tempfile

ROOT = os.path.abspath(os.path.join(os.path.dirname(__file__), "..", ".."))
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70
MAX_BPF_FUNCTION_LINES = 100
INCLUDE = re.compile(r'^\s*#\s*include\s+"([^"]+)"')
IMPURE = re.compile(r'#\s*include\s+[<"](chrono|random|ctime|iostream|fstream|thread|sys/(log|file|process|netns|fd)\.h|unistd\.h|io/)')
SHELL = re.compile(r'(?<![\w:.>])(system|popen|execlp)\s*\(|"/bin/(ba)?sh"\s*,\s*"-c"')

NAMED = re.compile(r"(?<![\w./-])(?:src|bpf|tests|bench|docs|cmake|examples)/[\w./-]*\w")
FORMATTER = "clang-format-14"  # another version formats otherwise


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


def check_named(path, text):
    """Of C++, what stands in comments; of a page, all. A capital in the last part (x/NAME.cc) stands for any file."""
    for number, line in enumerate(text.splitlines(), 1):
        prose = line
        if not path.endswith(".md") and not line.lstrip().startswith(("/*", "*")):
            prose = line[line.index("//"):] if "//" in line else ""
        for name in NAMED.findall(prose):
            if re.search(r"[A-Z]", name.rsplit("/", 1)[-1]) and not name.endswith(("README.md", "CMakeLists.txt")):
                continue
            # A test binary or a file without its ending (reflect/cluster) is named by how it begins.
            folder, _, start = os.path.join(ROOT, name).rpartition("/")
            if not os.path.isdir(folder) or not any(entry.startswith(start) for entry in os.listdir(folder)):
                yield f"{path}:{number}: names {name}, which is not there"


def check_format(paths):
    """One problem a file that ./dev fmt would change; none where this version of clang-format is not installed."""
    if shutil.which(FORMATTER) is None:
        return

    def warnings(batch):
        return subprocess.run([FORMATTER, "--dry-run", *batch], cwd=ROOT, capture_output=True, text=True).stderr

    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for out in pool.map(warnings, [paths[i::16] for i in range(min(16, len(paths)))]):
            for path in sorted(set(re.findall(r"^(\S+?):\d+:\d+: warning: .*clang-format", out, re.M))):
                yield f"{path}: not as ./dev fmt writes it"


def tracked(endings, *folders):
    out = subprocess.run(["git", "ls-files", "--cached", "--others", "--exclude-standard", *folders],
                         cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [p for p in out.split() if p.endswith(endings) and os.path.exists(os.path.join(ROOT, p))]


def problems(files):
    layers = read_layers()
    for path, text in files:
        yield from check_named(path, text)
        if path.endswith(".md"):
            continue
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
        ("src/lab/a.cc", "// as in src/lab/no_such_file.h\n", "is not there"),
        ("docs/a.md", "see src/no_such_folder/x.cc\n", "is not there"),
    ]
    failed = 0
    for path, text, expected in broken:
        found = list(problems([(path, text)]))
        if not any(expected in p for p in found):
            print(f"FAIL: the rule \"{expected}\" did not fire on {path}: {found}")
            failed += 1
    with tempfile.NamedTemporaryFile("w", suffix=".cc", dir=os.path.join(ROOT, "tests/tidy")) as crooked:
        crooked.write("int   f( );\n")
        crooked.flush()
        if shutil.which(FORMATTER) and not list(check_format([os.path.relpath(crooked.name, ROOT)])):
            print("FAIL: the rule of the format did not fire")
            failed += 1
    good = list(problems([("src/net/a.cc", '#include "base/result.h"\nint f() {\n  return 0;\n}\n')]))
    failed += len(good)
    print(f"{len(broken) + 2 - failed} passed, {failed} failed, 0 skipped")
    return failed


def main():
    if "--self-test" in sys.argv:
        return 1 if self_test() else 0
    sources = tracked((".cc", ".h", ".c"), "src", "bpf", "tests", "bench")
    files = []
    for path in sources + tracked((".md",), "docs", "README.md"):
        with open(os.path.join(ROOT, path), errors="replace") as source:
            files.append((path, source.read()))
    found = list(problems(files)) + list(check_format(sources))
    for problem in found:
        print(problem)
    print(f"{len(files)} files, {len(found)} problems")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
