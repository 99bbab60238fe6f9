#!/usr/bin/python3
"""Holds the floors of src/: who may include whom, who owns which library, how large a file may grow.

The floor table is read from src/CMakeLists.txt, so that build and lint cannot disagree.
Usage: check_layers.py [REPOSITORY]
"""
import pathlib
import re
import subprocess
import sys

OWNERS = [  # (what may appear, in these modules only)
    (re.compile(r"#include\s*<openssl/"), {"crypto", "kube", "http"}),  # kube and http hand a TLS context to their library
    (re.compile(r"#include\s*<p11-kit/|\bCK_[A-Z]\w+|\bCK[RMAFOKU]_[A-Z]\w+"), {"pkcs11"}),
    (re.compile(r"#include\s*<cpprest/|\bweb::|\bpplx::"), {"kube"}),
    (re.compile(r"#include\s*<boost/|\bboost::"), {"http", "kube"}),  # kube: the relay, beside a library that is made of Boost.Asio itself
    (re.compile(r"#include\s*<yaml-cpp/|\bYAML::"), {"store", "config"}),
    (re.compile(r"#include\s*<(prometheus|spdlog)/"), {"obs"}),
    (re.compile(r"#include\s*<absl/|\babsl::"), {"policy"}),
    (re.compile(r"#include\s*<(seccomp\.h|linux/landlock\.h)"), {"process"}),
    (re.compile(r"#include\s*<CLI/"), set()),  # operator/, sidecar/ and cli/ only
]
CLOCKS = re.compile(r"(system_clock|steady_clock)::now|\btime\(nullptr\)|\bgettimeofday\b")
ENVIRONMENT = re.compile(r"\bgetenv\s*\(")
EXCEPTIONS_TO_CLOCK = {"base"}
LIMITS = {".hpp": 250, ".cpp": 600}
FUNCTION_LIMIT = 80
ENVIRONMENT_OF_CHILDREN = "src/base/environment.cpp"  # keeps what a variable was; nobody decides by it


def floors(root):
    table = {}
    for name, floor in re.findall(r"signet_module\((\w+) FLOOR (\d+)", (root / "src/CMakeLists.txt").read_text()):
        table[name] = int(floor)
    return table


def code_only(text):
    """Without comments and without the content of string literals."""
    text = re.sub(r"/\*.*?\*/", lambda m: "\n" * m.group(0).count("\n"), text, flags=re.S)
    return re.sub(r'("(?:\\.|[^"\\\n])*")|//[^\n]*', lambda m: '""' if m.group(1) else "", text)


def check_includes(path, module, lines, table):
    for number, line in enumerate(lines, 1):
        found = re.match(r'\s*#include\s*"([^"]+)"', line)
        if not found:
            continue
        target = found.group(1).split("/")[0]
        if "/" not in found.group(1):
            yield number, f'"{found.group(1)}" does not name its module'
        elif target not in table:
            yield number, f'"{found.group(1)}" is in no module of src/CMakeLists.txt'
        elif module is not None and target != module and table[target] >= table[module]:
            yield number, f"{module} (floor {table[module]}) must not include {target} (floor {table[target]})"


def check_ownership(name, module, code):
    for number, line in enumerate(code.split("\n"), 1):
        for pattern, owners in OWNERS:
            if module is not None and module not in owners and pattern.search(line):
                yield number, f"{pattern.search(line).group(0).strip()} belongs to {' and '.join(sorted(owners)) or 'floor 7'}"
        if module not in EXCEPTIONS_TO_CLOCK and CLOCKS.search(line):
            yield number, "time comes from base::Clock"
        if module is not None and name != ENVIRONMENT_OF_CHILDREN and ENVIRONMENT.search(line):
            yield number, "environment variables are read on floor 7 only"


def check_sizes(path, code):
    lines = code.split("\n")
    limit = LIMITS[path.suffix]
    if len(lines) - 1 > limit:
        yield 1, f"{len(lines) - 1} lines; the limit is {limit}"
    start = None
    for number, line in enumerate(lines, 1):  # clang-format puts a function's braces so that this is exact enough
        if re.match(r"^[A-Za-z].*\{$", line) and not re.match(r"^(namespace|class|struct|enum|union|extern|constexpr|const|static const)", line):
            start = number
        elif line == "}" and start is not None:
            if number - start + 1 > FUNCTION_LIMIT:
                yield start, f"function of {number - start + 1} lines; the limit is {FUNCTION_LIMIT}"
            start = None


def listed(root, *folders):
    return subprocess.run(["git", "-C", str(root), "ls-files", "--cached", "--others", "--exclude-standard", *folders],
                          check=True, capture_output=True, text=True).stdout.split()


def check_tests(root):
    """Tests and scripts are read by people too; layers and long test bodies are their own affair."""
    problems = 0
    for name in listed(root, "tests", "dev"):
        path = root / name
        if name.endswith((".cpp", ".hpp", ".py", ".sh", ".go")) and path.exists():
            lines = path.read_text().count("\n")
            if lines > LIMITS[".cpp"]:
                print(f"{name}:1: {lines} lines; the limit is {LIMITS['.cpp']}")
                problems += 1
    return problems


def check_listed(root, files):
    """CMake's lists of sources are written by hand: a file that is in none would be linked nowhere."""
    lists = {}
    for name in files:
        path = pathlib.Path(name)
        if path.suffix != ".cpp":
            continue
        where = pathlib.Path("src/CMakeLists.txt" if path.parts[0] == "src" else f"{path.parts[0]}/CMakeLists.txt")
        text = lists.setdefault(where, (root / where).read_text())
        if path.parts[0] == "src":
            text = re.search(rf"signet_module\({path.parts[1]} [^)]*\)", text).group(0)
        if not re.search(rf"(?<![\w.]){re.escape(path.name)}(?!\w)", text):
            yield f"{name}:1: not in the list of sources in {where}"


def main():
    root = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else ".").resolve()
    table = floors(root)
    files = listed(root, "src", "operator", "sidecar", "cli")
    problems = check_tests(root)
    for line in check_listed(root, files):
        print(line)
        problems += 1
    checked = 0
    for name in files:
        path = root / name
        if path.suffix not in LIMITS or not path.exists():
            continue
        checked += 1
        parts = pathlib.Path(name).parts
        module = parts[1] if parts[0] == "src" else None
        text = path.read_text()
        if module is not None and module not in table:
            print(f"{name}:1: module {module} is not in src/CMakeLists.txt")
            problems += 1
            continue
        found = list(check_sizes(path, text)) + list(check_ownership(name, module, code_only(text)))
        if module is not None:
            found += list(check_includes(path, module, text.split("\n"), table))
        if path.name == "main.cpp" and text.count("\n") > 200:
            found.append((1, "a main has at most 200 lines"))
        if path.suffix == ".hpp" and "#pragma once" not in text:
            found.append((1, "no #pragma once"))
        for line, what in found:
            print(f"{name}:{line}: {what}")
            problems += 1
    if checked == 0:
        print("no source files found")
        return 1
    print(f"{checked} files, {problems} problems")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
